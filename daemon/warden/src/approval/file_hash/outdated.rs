//! Finds changes of files that cannot be made any more, before an approver reads of them. It compares what lstat(2) says of
//! the paths, and reads no file of them; `remit-commit` compares all of it again.
//! **Invariant:** it looks with the rights of the requester alone, so a refusal says nothing of what that cannot see. It names no
//! other commit: its requester is not known here.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use libc::{O_DIRECTORY, O_NOFOLLOW, O_PATH, O_RDONLY};
use remit_plan::{Conflict, Kind, Metadata, PlanPath, Stat};
use remit_sys::sys;

use super::{ReaderIdentity, Unmeasured};
use crate::approval::opens::ChangeOfFiles;
use crate::request::file_change::changed_paths;

/// Time for all paths, between two of them. What was not looked at then refuses nothing. A path at which the kernel hangs
/// holds the child until its own time limit.
const LOOKING: Duration = Duration::from_secs(2);

/// Fails for a change that finds a path otherwise than its plan or its commit has it, if the requester can see that.
pub fn check(files: ChangeOfFiles<'_>, requester: &ReaderIdentity) -> Result<(), Unmeasured> {
    check_within(files, requester, LOOKING)
}

fn check_within(
    files: ChangeOfFiles<'_>,
    requester: &ReaderIdentity,
    time: Duration,
) -> Result<(), Unmeasured> {
    match files {
        ChangeOfFiles::Commit(bundle, journals) => {
            let plan = bundle.plan();
            let found = looking(requester, (false, time), |look| plan.conflict(look))?;
            let Some(conflict) = found else {
                return Ok(());
            };
            let id = plan.id();
            let is_kept = journals.is_some_and(|journals| !changed_paths(journals, &id).is_empty());
            Err(of_plan(&conflict, is_kept.then_some(&*id)))
        }
        // It sees what the plan makes, whatever is there now.
        ChangeOfFiles::Check(_) => Ok(()),
        ChangeOfFiles::Undo(undo) => {
            let journal = undo.journal()?;
            let found = looking(requester, (true, time), |look| journal.conflict(look))?;
            found.map_or(Ok(()), |conflict| Err(of_undo(&conflict)))
        }
    }
}

/// `undo`: the id of the commit of this plan, if there was one and it can be undone.
fn of_plan(Conflict { path, why }: &Conflict, undo: Option<&str>) -> Unmeasured {
    let undo = undo.map_or_else(String::new, |id| {
        format!("; to take back the commit of this plan, undo {id}")
    });
    Unmeasured::Outdated {
        why: format!("the plan cannot be committed any more: '{path}': {why}"),
        next: format!("plan again: the page of a new plan has what is there now{undo}"),
    }
}

fn of_undo(Conflict { path, why }: &Conflict) -> Unmeasured {
    Unmeasured::Outdated {
        why: format!("the commit cannot be undone as its files are now: '{path}': {why}"),
        next: "undo a later commit of it first, or plan the change that you want".to_owned(),
    }
}

/// `is_listed`: looks only in directories that the requester can list, as the paths are not the requester's own.
fn looking(
    requester: &ReaderIdentity,
    (is_listed, time): (bool, Duration),
    find: impl FnOnce(&mut dyn FnMut(&PlanPath) -> io::Result<Option<Stat>>) -> Option<Conflict>,
) -> Result<Option<Conflict>, String> {
    let end = Instant::now() + time;
    requester.look(|| {
        let root = sys::open(c"/", O_PATH | O_DIRECTORY)
            .map_err(|error| format!("cannot look at files: {error}"))?;
        Ok(find(&mut |path| match Instant::now() < end {
            true => look(root.as_fd(), path, is_listed),
            false => Err(io::ErrorKind::TimedOut.into()),
        }))
    })
}

/// Looks at a path as `remit-commit` does: without following a link in any part of it.
fn look(root: BorrowedFd<'_>, path: &PlanPath, is_listed: bool) -> io::Result<Option<Stat>> {
    let open = |path: &[u8], flags| {
        let relative = match path.strip_prefix(b"/") {
            None | Some(b"") => c".".to_owned(),
            Some(relative) => CString::new(relative)?,
        };
        sys::open_plain(root, &relative, flags)
    };
    if is_listed {
        open(path.parent(), O_RDONLY | O_DIRECTORY)?;
    }
    let found = match open(path.as_bytes(), O_PATH | O_NOFOLLOW) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => File::from(found?).metadata()?,
    };
    let kind = match found.file_type() {
        one if one.is_file() => Kind::File,
        one if one.is_dir() => Kind::Directory,
        one if one.is_symlink() => Kind::Symlink,
        _ => Kind::Special,
    };
    Ok(Some(Stat {
        kind,
        dev: found.dev(),
        ino: found.ino(),
        ctime_ns: i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec()),
        size: found.size(),
        meta: Metadata {
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
        },
    }))
}

#[cfg(test)]
mod tests;
