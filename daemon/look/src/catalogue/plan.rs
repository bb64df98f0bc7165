//! `plan`, `plan-private`: find what is at the paths of edits, and print the plan with its bytes (a bundle of `remit-plan`).
//! **Invariant:** a base has the bytes, the owner, the capabilities and the times of one moment. A path that cannot be seen whole is an error.
//! **Invariant:** what `plan-private` prints depends on no byte of a file: it opens none, and its sandbox refuses that.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::sys::statvfs::{FsFlags, fstatvfs, statvfs};
use remit_common::caps;
use remit_edit::{Action, Edit, Edits, Found, Planned, Problem};
use remit_plan::{BUNDLE_BYTES, Base, Kind, OLD_BYTES, PlanPath, too_long};
use sha2::{Digest, Sha256};

use crate::catalogue::capabilities::capabilities;
use crate::catalogue::obstacles;
use crate::catalogue::plan_path::{Visibility, directory, link, stat};
use crate::text::{CANNOT, cannot_write, shown, unseen};

/// Bytes that all bases together may have: they are read to be hashed.
const HASHED: u64 = 1 << 30;
/// Errors that are printed; the others are counted.
const ERRORS: usize = 100;
const TRIES: usize = 3;
const NO_QUESTION: &str = "a private plan reads no file: give the whole new content, without 'replace', 'patch' and 'base_sha256'";
const CHANGES: &str = "it changes while it is read; plan again";
/// Times of changes are by the tick of the kernel's clock, or by seconds.
const TICK: Duration = Duration::from_millis(20);
const SECONDS: Duration = Duration::from_secs(2);

pub fn show(visibility: Visibility) -> Result<ExitCode, String> {
    let mut bytes = Vec::new();
    let cannot = |error: &dyn Display| format!("cannot read the edits: {error}");
    let mut input = io::stdin().take(caps::STDIN as u64 + 1);
    let read = input.read_to_end(&mut bytes);
    read.map_err(|error| cannot(&error))?;
    let edits = Edits::decode(&bytes).map_err(|error| cannot(&error))?;
    let mut finder = Finder::new(&edits, visibility)?;
    let (mut planned, mut errors) = (Vec::new(), Vec::new());
    for edit in &edits.edits {
        match finder.plan(edit) {
            Ok(one) => planned.extend(one),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        match remit_edit::bundle(planned) {
            Ok(bundle) => {
                let mut out = io::stdout().lock();
                let written = out.write_all(bundle.as_bytes()).and_then(|()| out.flush());
                written.map_err(cannot_write)?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    let more = errors.len().saturating_sub(ERRORS);
    for error in errors.iter().take(ERRORS) {
        eprintln!("remit-look: {error}");
    }
    if more > 0 {
        eprintln!("remit-look: {more} more edits cannot be made");
    }
    Ok(ExitCode::from(CANNOT))
}

struct Finder<'a> {
    created: BTreeSet<&'a [u8]>,
    removed: BTreeSet<&'a [u8]>,
    left: u64,
    visibility: Visibility,
    /// Whether the job sees the host's tree read-only, so that what it can write is its own.
    is_sandbox: bool,
}

impl<'a> Finder<'a> {
    fn new(edits: &'a Edits, visibility: Visibility) -> Result<Self, String> {
        let paths = |is_wanted: fn(&Action) -> bool| {
            let all = edits.edits.iter();
            let wanted = all.filter(move |edit| is_wanted(&edit.action));
            wanted.map(|edit| edit.path.as_bytes()).collect()
        };
        let root = statvfs("/").map_err(|errno| format!("cannot look at '/': {errno}"))?;
        Ok(Self {
            created: paths(|action| matches!(action, Action::CreateDirectory)),
            removed: paths(|action| matches!(action, Action::Remove)),
            left: HASHED,
            visibility,
            is_sandbox: root.flags().contains(FsFlags::ST_RDONLY),
        })
    }

    fn plan(&mut self, edit: &Edit) -> Result<Option<Planned>, String> {
        let cannot = |why| format!("cannot edit '{}': {why}", edit.path);
        let found = self.answerable(edit).and_then(|()| self.find(edit));
        let applied = edit.apply(found.map_err(cannot)?.as_ref());
        let planned = applied.map_err(|error| error.to_string())?;
        if let Some(planned) = &planned {
            let parent = directory(&edit.path, self.visibility).map_err(cannot)?;
            let checked = parent.map_or(Ok(()), |parent| {
                obstacles::check(&planned.entry, &parent, self.visibility)
            });
            checked.map_err(cannot)?;
        }
        Ok(planned)
    }

    /// An answer that depends on old bytes would tell them, one question after the other.
    fn answerable(&self, edit: &Edit) -> Result<(), String> {
        let asks = matches!(edit.action, Action::Replace(_) | Action::Patch(_));
        let is_refused =
            self.visibility == Visibility::Names && (asks || edit.base_sha256.is_some());
        (!is_refused)
            .then_some(())
            .ok_or_else(|| NO_QUESTION.to_owned())
    }

    fn find(&mut self, edit: &Edit) -> Result<Option<Found>, String> {
        let path = &edit.path;
        let Some(parent) = directory(path, self.visibility)? else {
            return match self.created.contains(path.parent()) {
                true => Ok(None),
                false => Err("its directory does not exist; add a 'mkdir' of it".to_owned()),
            };
        };
        self.check_private(path, &parent)?;
        let name = OsStr::from_bytes(path.name());
        let seen = match fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(seen) => seen,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(unseen(path.parent(), errno)),
        };
        match (Kind::from_mode(seen.st_mode), &edit.action) {
            (Kind::File, _) if self.visibility == Visibility::Names => {
                unread(path, &parent).map(Some)
            }
            (Kind::File, _) => self.file(edit, &parent).map(Some),
            (Kind::Symlink, Action::Remove | Action::Link(_))
                if self.visibility == Visibility::Names =>
            {
                Ok(Some(without_bytes(&seen)))
            }
            (Kind::Symlink, Action::Remove | Action::Link(_)) => {
                linked(name, &parent, &seen).map(Some)
            }
            (Kind::Symlink, _) => Err(link(path.as_bytes(), &parent, name, self.visibility)),
            (Kind::Directory, Action::Remove) => {
                self.check_empty(path, &parent)?;
                Ok(Some(without_bytes(&seen)))
            }
            (Kind::Directory | Kind::Special, _) => Ok(Some(without_bytes(&seen))),
        }
    }

    /// A private directory hides what is at this path outside of the sandbox.
    fn check_private(&self, path: &PlanPath, parent: &OwnedFd) -> Result<(), String> {
        let system = fstatvfs(parent).map_err(|errno| unseen(path.parent(), errno))?;
        match self.is_sandbox && !system.flags().contains(FsFlags::ST_RDONLY) {
            true => Err(format!(
                "'{}' is private to the sandbox of this command, which does not see the machine's own; plan a path \
                 elsewhere",
                shown(path.parent())
            )),
            false => Ok(()),
        }
    }

    /// Everything in a directory that is removed has to be removed by the same plan.
    fn check_empty(&self, path: &PlanPath, parent: &OwnedFd) -> Result<(), String> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let name = OsStr::from_bytes(path.name());
        let cannot = |errno| unseen(path.as_bytes(), errno);
        let mut listed = Dir::openat(parent, name, flags, Mode::empty()).map_err(cannot)?;
        for entry in listed.iter() {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name().to_bytes();
            let beneath = [path.as_bytes(), b"/", name].concat();
            if ![&b"."[..], b".."].contains(&name) && !self.removed.contains(beneath.as_slice()) {
                let beneath = shown(&beneath);
                return Err(format!(
                    "it is not empty; remove '{beneath}' in the same plan"
                ));
            }
        }
        Ok(())
    }

    fn file(&mut self, edit: &Edit, parent: &OwnedFd) -> Result<Found, String> {
        let path = &edit.path;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let name = OsStr::from_bytes(path.name());
        let opened = openat(parent, name, flags | OFlag::O_CLOEXEC, Mode::empty());
        let mut file = File::from(opened.map_err(|errno| match errno {
            Errno::EACCES | Errno::EPERM => Problem::Unreadable.to_string(),
            errno => format!("cannot open it: {errno}"),
        })?);
        for _ in 0..TRIES {
            let before = settled(&file)?;
            if Kind::from_mode(before.st_mode) != Kind::File {
                continue;
            }
            let size = before.st_size.unsigned_abs();
            too_long(size).map_or(Ok(()), Err)?;
            let most = most_kept(&edit.action);
            let is_needed = matches!(edit.action, Action::Replace(_) | Action::Patch(_));
            if is_needed && size > most {
                return Err(format!(
                    "it has {size} bytes; files of at most {most} can be edited by 'replace' and 'patch'"
                ));
            }
            self.left = self.left.checked_sub(size).ok_or_else(|| {
                format!("the files have more than {HASHED} bytes; split the plan")
            })?;
            let (sha256, bytes) = read(&mut file, size, size <= most)?;
            let capabilities = capabilities(&file);
            let after = fstat(&file).map_err(|errno| format!("cannot look at it: {errno}"))?;
            if stat(&before) == stat(&after) {
                let base = Base {
                    capabilities,
                    ..Base::new(stat(&before), Some(sha256))
                };
                return Ok(Found { base, bytes });
            }
        }
        Err(CHANGES.to_owned())
    }
}

/// Looks at a file that is not opened to read.
fn unread(path: &PlanPath, parent: &OwnedFd) -> Result<Found, String> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let name = OsStr::from_bytes(path.name());
    let opened = openat(parent, name, flags, Mode::empty());
    let file = File::from(opened.map_err(|errno| unseen(path.parent(), errno))?);
    let seen = settled(&file)?;
    too_long(seen.st_size.unsigned_abs()).map_or(Ok(()), Err)?;
    let is_file = Kind::from_mode(seen.st_mode) == Kind::File;
    is_file
        .then(|| without_bytes(&seen))
        .ok_or_else(|| CHANGES.to_owned())
}

fn linked(name: &OsStr, parent: &OwnedFd, seen: &FileStat) -> Result<Found, String> {
    let target = readlinkat(parent, name);
    let target = target.map_err(|errno| format!("cannot read where it leads: {errno}"))?;
    let (bytes, stat) = (target.into_vec(), stat(seen));
    let sha256 = Some(remit_plan::sha256(&bytes));
    let (base, bytes) = (Base::new(stat, sha256), Some(bytes));
    Ok(Found { base, bytes })
}

/// Bytes up to which an edit or its bundle needs the old file.
const fn most_kept(action: &Action) -> u64 {
    match action {
        Action::Replace(_) | Action::Patch(_) => BUNDLE_BYTES as u64,
        Action::Write(_)
        | Action::Remove
        | Action::CreateDirectory
        | Action::Keep
        | Action::Link(_)
        | Action::Upload(_) => OLD_BYTES,
    }
}

/// Waits until another change has another time: otherwise a base could mix one's time and another's bytes.
fn settled(file: &File) -> Result<FileStat, String> {
    for _ in 0..TRIES {
        let seen = fstat(file).map_err(|errno| format!("cannot look at it: {errno}"))?;
        let changed = stat(&seen).ctime_ns;
        let unit = match changed % 1_000_000_000 {
            0 => SECONDS,
            _ => TICK,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let age = i128::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(0) - changed;
        let unit_ns = i128::try_from(unit.as_nanos()).unwrap_or(0);
        match age {
            age if age > unit_ns => return Ok(seen),
            age if age < -unit_ns => {
                return Err(
                    "its time of change (ctime) is in the future: the clock was set back; touch it, or wait"
                        .to_owned(),
                );
            }
            _ => thread::sleep(unit),
        }
    }
    Err(CHANGES.to_owned())
}

fn read(file: &mut File, size: u64, is_kept: bool) -> Result<([u8; 32], Option<Vec<u8>>), String> {
    let cannot = |error: io::Error| format!("cannot read it: {error}");
    file.rewind().map_err(cannot)?;
    let mut from = file.take(size);
    if is_kept {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(cannot)?;
        return Ok((remit_plan::sha256(&bytes), Some(bytes)));
    }
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        let length = from.read(&mut piece).map_err(cannot)?;
        match piece.get(..length) {
            None | Some([]) => return Ok((hash.finalize().into(), None)),
            Some(bytes) => hash.update(bytes),
        }
    }
}

const fn without_bytes(seen: &FileStat) -> Found {
    Found {
        base: Base::new(stat(seen), None),
        bytes: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{env, fs, process};

    use remit_wire::edits::keep;

    use super::*;

    /// It is one hole, and is not read.
    #[test]
    fn file_that_no_commit_compares_is_refused_with_the_bound_of_a_file() {
        let path = env::temp_dir().join(format!("look-long-{}", process::id()));
        File::create(&path).unwrap().set_len(HASHED + 1).unwrap();
        let edits = Edits {
            edits: vec![Edit {
                action: Action::Remove,
                ..keep(PlanPath::new(path.as_os_str().as_bytes()).unwrap())
            }],
        };
        for visibility in [Visibility::Content, Visibility::Names] {
            let mut finder = Finder::new(&edits, visibility).unwrap();
            finder.is_sandbox = false;
            let why = finder.plan(&edits.edits[0]).unwrap_err();
            assert!(
                why.contains("a plan changes files of at most 1073741824"),
                "{why}"
            );
        }
        fs::remove_file(&path).unwrap();
    }
}
