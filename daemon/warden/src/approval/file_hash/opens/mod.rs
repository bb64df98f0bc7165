//! Asks which ways to root, or to another account, a change of files opens. The child asks before it measures, and takes the
//! answer afterwards. An answer that is missing refuses nothing: the approver reads why it is missing.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};

use remit_common::escape::words;
use remit_common::prove::{Compared, Content, FileAfter, FileChange, OpenedPath};
use remit_plan::{
    Bundle, Change, Entry, FileCapabilities, Kind, New, Source, TABLE_BYTES, TableChange, View,
    changed_table,
};
use remit_policy::Policy;
use remit_settings::Accounts;
use remit_sys::sys;
use serde::{Deserialize, Serialize};

use crate::request::file_change::Undo;
use crate::service::prover::{Prover, ProverAnswer};

/// Time for looking at the machine, twice.
const LOOK_MS: u64 = 4_000;
/// Bytes of one file that the program gets, and of all. Others are unknown to it.
const FILE: usize = 1 << 20;
const FILES: usize = 16 << 20;
/// Bytes of all that is shown.
const SHOWN: usize = 32 << 10;
/// Bytes in a record.
const IN_SHORT: usize = 2 << 10;
/// Steps of a path that is too long.
const FIRST: usize = 8;
const CAPABILITIES: &CStr = c"security.capability";

/// Which ways a change opens, as an approver is shown them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opens {
    pub paths: Vec<OpenedPath>,
    /// Why it may open others, in sentences.
    pub unknown: Vec<String>,
}

/// A change of files, and what the question about it needs besides.
#[derive(Clone, Copy, Debug)]
pub struct OpensWanted<'a> {
    pub machine: &'a Path,
    pub accounts: &'a Accounts,
    /// In force.
    pub policy: &'a Policy,
    pub change: ChangeOfFiles<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum ChangeOfFiles<'a> {
    Commit(&'a Bundle),
    Undo(&'a Undo),
}

/// A question about a change, or why there is none.
#[derive(Debug)]
pub struct OpensAsked(Result<ProverAnswer, String>);

impl Opens {
    /// Bytes that it keeps in memory.
    pub fn held(&self) -> usize {
        let unknown: usize = self.unknown.iter().map(|why| held(why)).sum();
        self.paths.iter().map(path_held).sum::<usize>() + unknown
    }

    fn unknown(why: String) -> Self {
        Self {
            paths: Vec::new(),
            unknown: vec![why],
        }
    }

    /// Leaves out what is too much to keep and to read. Who reaches what counts more than each step.
    fn bounded(mut self) -> Self {
        let mut left = SHOWN;
        let mut more = 0_usize;
        self.paths.retain_mut(|path| {
            if path_held(path) > left.min(SHOWN / 2) {
                path.steps.truncate(FIRST);
                path.closed_by.truncate(FIRST);
            }
            let rest = left.checked_sub(path_held(path));
            left = rest.unwrap_or(left);
            more = more.saturating_add(usize::from(rest.is_none()));
            rest.is_some()
        });
        if more > 0 {
            self.unknown
                .insert(0, format!("{more} more paths are not shown"));
        }
        self
    }

    /// Names who reaches what, in one line.
    pub fn in_short(&self) -> Option<String> {
        let paths = self.paths.iter();
        in_short(paths.map(|path| format!("{} reaches {}", path.agent, path.goal)))
    }

    pub fn why_unknown(&self) -> Option<String> {
        in_short(self.unknown.iter().cloned())
    }
}

fn in_short(all: impl Iterator<Item = String>) -> Option<String> {
    let joined = all.collect::<Vec<_>>().join("; ");
    (!joined.is_empty()).then(|| words(&joined, IN_SHORT))
}

fn held(text: &str) -> usize {
    size_of::<String>().saturating_add(text.len())
}

fn path_held(path: &OpenedPath) -> usize {
    let lists = path.steps.iter().chain(&path.closed_by);
    let texts = lists.chain([&path.agent, &path.goal]);
    texts.map(|text| held(text)).sum()
}

impl OpensWanted<'_> {
    /// Starts the program, and returns when it has read the question.
    pub fn ask(&self) -> OpensAsked {
        OpensAsked(self.changes().and_then(|changes| {
            let compared = Compared {
                before: None,
                changes,
                milliseconds: LOOK_MS,
            };
            let prover = Prover::start(compared.patience());
            prover.ask(self.machine, self.accounts, self.policy.encode(), compared)
        }))
    }

    fn changes(&self) -> Result<Vec<FileChange>, String> {
        let mut bytes = FileBytes {
            machine: self.machine,
            left: FILES,
        };
        match self.change {
            ChangeOfFiles::Commit(bundle) => {
                let changes = bundle.views().map(|view| bytes.change(&view));
                Ok(changes.collect())
            }
            ChangeOfFiles::Undo(undo) => {
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

impl OpensAsked {
    /// Blocks until the answer is there, or the time is over.
    pub fn answer(self) -> Opens {
        match self.0.and_then(ProverAnswer::take) {
            Ok(opened) => Opens {
                paths: opened.paths,
                unknown: opened.incomplete.into_iter().chain(opened.limits).collect(),
            }
            .bounded(),
            Err(why) => Opens::unknown(why),
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
                    .and_then(|file| sys::xattr(&file, CAPABILITIES).ok());
                value.map_or(0, |value| permitted(&value))
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

/// Reads what the attribute gives, also in the versions that no plan has: capabilities(7).
fn permitted(value: &[u8]) -> u64 {
    let word = |at: usize| -> u64 {
        let bytes = value.get(at..at.saturating_add(4));
        let bytes = bytes.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        u32::from_le_bytes(bytes.unwrap_or_default()).into()
    };
    match value.get(3) {
        Some(1) => word(4),
        _ => word(4) | word(12) << 32,
    }
}

#[cfg(test)]
mod tests;
