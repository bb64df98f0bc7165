//! Describes a change of files to `remit-prove`: with the new bytes, as far as they are at hand.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};

use remit_common::prove::{Content, FileAfter, FileChange};
use remit_plan::{
    Bundle, Change, Entry, FileCapabilities, Kind, New, Source, TABLE_BYTES, TableChange, View,
    changed_table, permitted_capabilities,
};
use remit_sys::sys;

use crate::request::file_change::Undo;

/// Bytes of one file that the program gets, and of all. Others are unknown to it.
const FILE: usize = 1 << 20;
const FILES: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
pub enum ChangeOfFiles<'a> {
    /// With the directory of the journals.
    Commit(&'a Bundle, Option<&'a Path>),
    /// A check sees the files of a plan, and changes none.
    Check(&'a Bundle),
    Undo(&'a Undo),
}

impl ChangeOfFiles<'_> {
    pub(super) fn described(self, machine: &Path) -> Result<Vec<FileChange>, String> {
        let mut bytes = FileBytes {
            machine,
            left: FILES,
        };
        match self {
            Self::Commit(bundle, _) | Self::Check(bundle) => {
                let changes = bundle.views().map(|view| bytes.change(&view));
                Ok(changes.collect())
            }
            Self::Undo(undo) => {
                let old = undo.put_back(FILE, FILES)?;
                let changes = old.iter().map(|(entry, old)| {
                    let new = old.as_deref();
                    bytes.change(&View {
                        entry,
                        old: None,
                        new,
                    })
                });
                Ok(changes.collect())
            }
        }
    }
}

/// The new bytes of files, as far as they are at hand.
struct FileBytes<'a> {
    machine: &'a Path,
    left: usize,
}

impl FileBytes<'_> {
    fn change(&mut self, view: &View<'_>) -> FileChange {
        let Entry { path, change } = view.entry;
        let after = change.meta().map(|meta| FileAfter {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            capabilities: self.capabilities(view.entry),
            content: match change.makes() {
                None => Content::Same,
                Some(New::Directory) => Content::Directory,
                Some(New::Link(_)) => match view.new {
                    Some(target) => Content::Link(target.to_vec().into()),
                    None => Content::Unknown,
                },
                Some(New::File(content)) => match content.source {
                    Source::Lines => self.table(view),
                    Source::Bundle | Source::Upload => self.known(view.new),
                },
            },
        });
        FileChange {
            path: path.as_bytes().to_vec().into(),
            after,
        }
    }

    fn known(&mut self, bytes: Option<&[u8]>) -> Content {
        let fitting = bytes.filter(|bytes| bytes.len() <= FILE);
        let taken = fitting.and_then(|bytes| Some((bytes, self.left.checked_sub(bytes.len())?)));
        match taken {
            Some((bytes, left)) => {
                self.left = left;
                Content::File(bytes.to_vec().into())
            }
            None => Content::Unknown,
        }
    }

    /// Only the lines are in the plan: the machine has the others.
    fn table(&mut self, view: &View<'_>) -> Content {
        let changes = TableChange::decode(view.new.unwrap_or_default()).ok();
        let now = self.read(view.entry, TABLE_BYTES);
        let table = now.zip(changes);
        let table = table.and_then(|(now, changes)| changed_table(&now, &changes).ok());
        self.known(table.as_deref())
    }

    /// Of a file whose bytes stay those that the machine has, if the plan does not say which.
    fn capabilities(&self, entry: &Entry) -> u64 {
        let own = |own: FileCapabilities| own.permitted;
        let base = match entry.change {
            Change::SetMetadata { base, .. } if base.stat.kind == Kind::File => base,
            change => {
                let new = change.content().and_then(|content| content.capabilities);
                return new.map_or(0, own);
            }
        };
        base.capabilities.known().map_or_else(
            || {
                let value = self
                    .open(entry)
                    .and_then(|file| sys::xattr(&file, sys::FILE_CAPABILITIES).ok());
                value.map_or(0, |value| permitted_capabilities(&value))
            },
            own,
        )
    }

    /// Opens a regular file beneath the machine's directory. Its path leads through no link, as that of a commit.
    fn open(&self, entry: &Entry) -> Option<File> {
        let path = entry.path.as_bytes();
        let path = Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
        let machine = File::open(self.machine).ok()?;
        let resolve = ResolveFlag::RESOLVE_IN_ROOT
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(resolve);
        let found = openat2(machine.as_fd(), path, how).ok()?;
        // A device may do something when it is opened.
        let is_file = SFlag::from_bits_truncate(fstat(&found).ok()?.st_mode) & SFlag::S_IFMT;
        (is_file == SFlag::S_IFREG).then_some(())?;
        File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()
    }

    fn read(&self, entry: &Entry, most: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut some = self.open(entry)?.take(most as u64 + 1);
        some.read_to_end(&mut bytes).ok()?;
        (bytes.len() <= most).then_some(bytes)
    }
}

#[cfg(test)]
mod tests;
