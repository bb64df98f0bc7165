//! Lays the plan of a check into a view, before its job starts. A process with the rights of the view's root does it, as the job
//! could: it meets the same layers, and reads nothing that the view hides.
//!
//! **Invariant:** all of the plan is laid, or no job starts.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, pipe2};
use remit_core::view::PRIVATE;
use remit_spawn::{LaidAs, LaidBytes, LaidEntry, LaidKind, LaidPlan, NOWHERE, Staged, Why};
use sha2::{Digest, Sha256};

use super::hidden::{ACCOUNTS, Cover, Hidden};
use super::lines::changed_table;
use super::mask::ACCOUNTS_BYTES;
use super::name::{NameInView, kind};
use crate::steps::private_root::{c_string, open_dir, own};
use crate::steps::report::Fault;
use crate::sys::{self, ForkCall};
use remit_core::mount_table::is_in;

/// The home of a job, which is made after the plan.
const HOME: &[u8] = b"tmp/home";
/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;
/// Status of the process that has said why it failed.
const UNLAID: i32 = 1;

/// A plan for a view, with what has to be opened before the machine's own root is out of reach.
pub(crate) struct Laying {
    staged: Staged<LaidPlan>,
    uploads: Vec<io::Result<File>>,
    hidden: Hidden,
}

/// Why an entry cannot be laid.
struct Unlaid {
    why: Why,
    errno: i32,
}

impl From<io::Error> for Unlaid {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        // Nodes over what is hidden refuse so, and owners that the view does not know.
        let why = match errno {
            libc::EACCES | libc::EPERM => Why::Hidden,
            _ => Why::Errno,
        };
        Self { why, errno }
    }
}

impl From<nix::errno::Errno> for Unlaid {
    fn from(errno: nix::errno::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

const fn because(why: Why) -> Unlaid {
    Unlaid { why, errno: 0 }
}

impl Laying {
    pub(crate) fn read(sealed: BorrowedFd<'_>) -> io::Result<Self> {
        let staged: Staged<LaidPlan> = Staged::read(sealed)?;
        let uploads = staged.list.uploads.iter().zip(0..);
        let uploads = uploads.map(|(path, at)| upload(path, needed(&staged.list, at)));
        Ok(Self {
            uploads: uploads.collect(),
            staged,
            hidden: Hidden::new(),
        })
    }

    /// Adds what the view hides, which is known once it is built.
    pub(crate) fn in_view(self, hidden: Hidden) -> Self {
        Self { hidden, ..self }
    }

    /// Lays all of it, by a child that does `become_root` first. `/` is the view.
    pub(crate) fn lay(
        &self,
        call: ForkCall,
        become_root: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (said, say) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        let child = || {
            let laid = match become_root() {
                Ok(()) => self.lay_all(),
                Err(_) => Err((None, because(Why::Unmet))),
            };
            let Err((at, Unlaid { why, errno })) = laid else {
                return 0;
            };
            let at = at.and_then(|at| u16::try_from(at).ok());
            let [low, high] = at.unwrap_or(NOWHERE).to_le_bytes();
            let [a, b, c, d] = errno.to_le_bytes();
            let _ = sys::write(say.as_fd(), &[why as u8, low, high, a, b, c, d]);
            UNLAID
        };
        let (pid, _pidfd) = sys::fork(call, None, child)?;
        drop(say);
        let mut text = Vec::new();
        File::from(said).take(16).read_to_end(&mut text)?;
        let ended = sys::wait(pid, 0)?;
        match (ended.and_then(|(status, _)| status.code()), text.as_slice()) {
            (Some(0), []) => Ok(()),
            (Some(UNLAID), &[why, low, high, a, b, c, d]) => {
                let errno = i32::from_le_bytes([a, b, c, d]);
                let at = u16::from_le_bytes([low, high]);
                Err(Fault::because(Why::from_byte(why)).with_errno(errno).at(at))
            }
            _ => Err(Fault::because(Why::Died)),
        }
    }

    /// Lays the entries in their order. An error has the position of the entry that has failed.
    fn lay_all(&self) -> Result<(), (Option<usize>, Unlaid)> {
        let root = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY);
        let root = root.map_err(|error| (None, error.into()))?;
        let made = made(&self.staged.list);
        let mut all = self.staged.list.entries.iter().enumerate();
        all.try_for_each(|(at, entry)| {
            self.lay_one(root.as_fd(), entry, &made)
                .map_err(|why| (Some(at), why))
        })
    }

    fn lay_one(
        &self,
        root: BorrowedFd<'_>,
        entry: &LaidEntry,
        made: &BTreeSet<&[u8]>,
    ) -> Result<(), Unlaid> {
        if !is_plain(entry.path.to_bytes()) {
            return Err(because(Why::Unmet));
        }
        if is_hidden(&self.hidden, entry) {
            return Err(because(Why::Hidden));
        }
        let path = Path::new(OsStr::from_bytes(entry.path.to_bytes()));
        let name = path.file_name().ok_or(because(Why::Unmet))?;
        let name = c_string(name.as_bytes())?;
        let directory = |path: &Path| {
            let path = match path.as_os_str().as_bytes() {
                [] => c".".to_owned(),
                path => c_string(path)?,
            };
            sys::open_plain(root, &path, libc::O_PATH | libc::O_DIRECTORY)
        };
        let above = directory(path.parent().unwrap_or(path))?;
        let is_made = |dir: &&Path| made.contains(dir.as_os_str().as_bytes());
        let anchor = path.ancestors().skip(1).find(|dir| !is_made(dir));
        let anchor = directory(anchor.unwrap_or(Path::new("")))?;
        let target = NameInView {
            above: above.as_fd(),
            name: &name,
            before: entry.before,
            anchor: sys::stat_of(anchor.as_fd())?.st_uid,
        };
        let old = target.found()?;
        if old.as_ref().map(kind) != entry.before.map(Some) {
            return Err(because(Why::WrongKind));
        }
        self.put(&target, old.as_ref(), &entry.what)
    }

    fn put(
        &self,
        target: &NameInView<'_>,
        old: Option<&libc::stat>,
        what: &LaidAs,
    ) -> Result<(), Unlaid> {
        match what {
            LaidAs::Gone => Ok(target.remove()?),
            LaidAs::Metadata(owner) => Ok(own(target.open(libc::O_RDONLY)?.as_fd(), *owner)?),
            LaidAs::Directory(owner) => {
                sys::make_dir_at(target.above, target.name, 0o700)?;
                let made = open_dir(target.above, target.name)?;
                sys::remove_lists_of(target.anchor, &made, owner.uid)?;
                Ok(own(made.as_fd(), *owner)?)
            }
            LaidAs::Link {
                owner,
                start,
                length,
            } => {
                if target.before.is_some() {
                    target.remove()?;
                }
                let to = c_string(self.text(*start, *length, libc::PATH_MAX as usize)?)?;
                sys::make_link_at(&to, target.above, target.name)?;
                let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                Ok(fchownat(
                    target.above,
                    target.name,
                    Some(uid),
                    Some(gid),
                    flags,
                )?)
            }
            LaidAs::Lines {
                owner,
                start,
                length,
            } => {
                let table = target.read(ACCOUNTS_BYTES)?;
                let changes = self.text(*start, *length, ACCOUNTS_BYTES)?;
                let table = changed_table(&table, &changes).ok_or(because(Why::WrongKind))?;
                let mut file = target.open(libc::O_WRONLY | libc::O_TRUNC)?;
                file.write_all(&table)?;
                Ok(own(file.as_fd(), *owner)?)
            }
            LaidAs::File {
                owner,
                bytes,
                capabilities,
                mtime,
            } => {
                let mut file = target.new_file()?;
                self.copy(*bytes, &mut file)?;
                if target.before != Some(LaidKind::File) {
                    sys::remove_lists_of(target.anchor, &file, owner.uid)?;
                }
                own(file.as_fd(), *owner)?;
                // A new owner takes them away.
                if let Some(value) = capabilities {
                    sys::set_xattr(&file, sys::FILE_CAPABILITIES, value)?;
                }
                // As remit-commit does: nobody may take the new file for the old one.
                let is_later = |time: &i64| {
                    let old = old.filter(|_| target.before == Some(LaidKind::File));
                    old.is_none_or(|old| time.div_euclid(SECOND) > old.st_mtime)
                };
                if let Some(time) = mtime.filter(is_later) {
                    let time = TimeSpec::new(time.div_euclid(SECOND), time.rem_euclid(SECOND));
                    futimens(&file, &TimeSpec::UTIME_OMIT, &time)?;
                }
                Ok(())
            }
        }
    }

    fn text(&self, start: u64, length: u64, most: usize) -> Result<Vec<u8>, Unlaid> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut text = vec![0; length.min(most)];
        self.staged.fill(start, &mut text)?;
        Ok(text)
    }

    fn copy(&self, bytes: LaidBytes, to: &mut File) -> Result<(), Unlaid> {
        let from = match bytes.upload {
            None => None,
            Some((upload, _)) => match self.uploads.get(usize::from(upload)) {
                Some(Ok(file)) => Some(file),
                Some(Err(error)) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let why = Why::Changed;
                    return Err(Unlaid { why, errno });
                }
                None => return Err(because(Why::Unmet)),
            },
        };
        let (mut hash, mut buffer, mut done) = (Sha256::new(), vec![0; 1 << 16], 0);
        while done < bytes.length {
            let length = usize::try_from(bytes.length - done).unwrap_or(usize::MAX);
            let length = length.min(buffer.len());
            let part = buffer.get_mut(..length).unwrap_or_default();
            let at = bytes.start.saturating_add(done);
            match from {
                None => self.staged.fill(at, part)?,
                Some(file) => file
                    .read_exact_at(part, at)
                    .map_err(|_| because(Why::Changed))?,
            }
            if from.is_some() {
                hash.update(&*part);
            }
            to.write_all(part)?;
            done += part.len() as u64;
        }
        match bytes.upload {
            Some((_, sha256)) if <[u8; 32]>::from(hash.finalize()) != sha256 => {
                Err(because(Why::Changed))
            }
            _ => Ok(()),
        }
    }
}

fn is_plain(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/');
    parts.all(|part| ![&b""[..], b".", b".."].contains(&part))
}

/// Returns true if the view does not show what the entry changes. In a directory that it shows empty, new names can be made.
fn is_hidden(hidden: &Hidden, entry: &LaidEntry) -> bool {
    let path = entry.path.to_bytes();
    let is_new = entry.before.is_none();
    if PRIVATE.iter().any(|own| is_in(path, own.as_bytes())) {
        return !is_new || is_in(path, HOME);
    }
    if ACCOUNTS.contains(&path) {
        return false;
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let mut ends = slashes.map(|(end, _)| end).chain([path.len()]);
    ends.any(|end| {
        let above = path.get(..end).and_then(|above| CString::new(above).ok());
        let cover = above.and_then(|above| hidden.get(&above).copied());
        match cover {
            None => false,
            Some(Cover::Closed) => true,
            Some(Cover::Empty) if end == path.len() => !matches!(entry.what, LaidAs::Metadata(_)),
            Some(Cover::Empty) => !is_new,
        }
    })
}

/// Returns the directories that the plan makes.
fn made(plan: &LaidPlan) -> BTreeSet<&[u8]> {
    let is_made = |entry: &&LaidEntry| matches!(entry.what, LaidAs::Directory(_));
    let made = plan.entries.iter().filter(is_made);
    made.map(|entry| entry.path.to_bytes()).collect()
}

/// Returns the length of the upload at this position.
fn needed(plan: &LaidPlan, at: u16) -> u64 {
    let ends = plan.entries.iter().filter_map(|entry| match &entry.what {
        LaidAs::File { bytes, .. } => {
            let (upload, _) = bytes.upload?;
            (upload == at).then_some(bytes.start.saturating_add(bytes.length))
        }
        _ => None,
    });
    ends.max().unwrap_or(0)
}

/// Opens an upload at a path of the daemon's. Its name is no link. Its hash is compared when it is copied.
fn upload(path: &CStr, length: u64) -> io::Result<File> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir: OwnedFd = File::open(dir)?.into();
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = sys::open_plain(dir.as_fd(), &c_string(name.as_bytes())?, flags)?;
    let stat = sys::stat_of(file.as_fd())?;
    let is_whole = u64::try_from(stat.st_size) == Ok(length);
    match stat.st_mode & libc::S_IFMT == libc::S_IFREG && is_whole {
        true => Ok(file.into()),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use remit_spawn::Owner;

    use super::*;

    #[test]
    fn hidden_entries_are_found() {
        let hidden = Hidden::from([
            (c"etc/app.key".to_owned(), Cover::Closed),
            (c"home".to_owned(), Cover::Closed),
            (c"etc/shadow".to_owned(), Cover::Closed),
            (c"etc/ssl/private".to_owned(), Cover::Empty),
        ]);
        let owner = Owner {
            uid: 0,
            gid: 0,
            mode: 0o644,
        };
        let new = LaidAs::Directory(owner);
        let mode = LaidAs::Metadata(owner);
        let file = Some(LaidKind::File);
        for (path, before, what, expect) in [
            ("etc/new", None, &new, false),
            ("etc/app.keys", None, &new, false),
            ("etc/app.key", file, &mode, true),
            ("etc/app.key", file, &LaidAs::Gone, true),
            ("etc/app.key", None, &new, true),
            ("home/bob/x", None, &new, true),
            ("etc/shadow", file, &mode, false),
            (
                "etc/ssl/private",
                Some(LaidKind::Directory),
                &LaidAs::Gone,
                true,
            ),
            ("etc/ssl/private", Some(LaidKind::Directory), &mode, false),
            ("etc/ssl/private/new", None, &new, false),
            ("etc/ssl/private/new/in", None, &new, false),
            ("etc/ssl/private/key", file, &mode, true),
            ("etc/ssl/private/key", file, &LaidAs::Gone, true),
            ("etc/ssl/privates", file, &mode, false),
            ("tmp/x", None, &new, false),
            ("tmp/x", file, &mode, true),
            ("tmp/home", None, &new, true),
            ("tmp/home/x", None, &new, true),
            ("tmp/homes", None, &new, false),
            ("var/tmp/x", file, &LaidAs::Gone, true),
        ] {
            let entry = LaidEntry {
                path: CString::new(path).unwrap(),
                before,
                what: what.clone(),
            };
            assert_eq!(is_hidden(&hidden, &entry), expect, "{path} {what:?}");
        }
    }
}
