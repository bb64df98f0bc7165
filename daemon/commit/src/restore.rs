//! The way back after an error or a kill, and what is kept or removed at the end.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{RenameFlags, renameat2};
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_plan::Direction::{Commit, Undo};
use remit_plan::{Kind, New, Phase, Plan, UndoMark};

use crate::failure::Failure;
use crate::journal::JournalFile;
use crate::run::{End, journal_error, sync};
use crate::stage::is_untouched;
use crate::tree::{Operation, about, look};

/// Puts everything back to the state before the commit, and removes what was staged. `lost` cannot be put back.
pub fn back(
    state: &File,
    journal: &JournalFile,
    operations: &[Operation<'_>],
    is_staged: bool,
    why: String,
    lost: Vec<Failure>,
) -> End {
    let mut left = lost;
    if is_staged {
        let reverted = operations
            .iter()
            .rev()
            .map(|operation| operation.revert(journal, Commit));
        left.extend(reverted.filter_map(Result::err));
        left.extend(sync(state, operations).err().map(Failure::Machine));
    }
    let mut notes = vec![why];
    if left.is_empty() {
        let new = operations.iter().rev();
        for operation in new.filter(|operation| operation.entry.change.makes().is_some()) {
            match withdraw(journal, operation, is_staged) {
                Ok(note) => notes.extend(note),
                Err(failure) => left.push(failure),
            }
        }
    }
    if left.is_empty() {
        // Beside the reason there is only what is kept.
        let phase = if notes.len() == 1 {
            Phase::Back
        } else {
            Phase::Left
        };
        left.extend(finish(state, journal, operations, phase).err());
    }
    if left.is_empty() {
        journal.remove(state);
    }
    end(notes, &left)
}

fn end(mut notes: Vec<String>, left: &[Failure]) -> End {
    notes.extend(left.iter().map(Failure::to_string));
    let line = notes.join("; ");
    match left {
        [] => End::Nothing(line),
        left if left.iter().all(Failure::is_changed) => End::Left(line),
        _ => End::Mixed(line),
    }
}

fn finish(
    state: &File,
    journal: &JournalFile,
    operations: &[Operation<'_>],
    phase: Phase,
) -> Result<(), Failure> {
    remove_besides(operations)?;
    let set = journal.set_phase(phase).map_err(journal_error);
    set.and_then(|()| sync(state, operations))
        .map_err(Failure::Machine)
}

/// Ends a commit that somebody else keeps from going back: new files are removed, and all others in its private
/// directories are moved beside the journal. No recovery tries it again.
pub fn give_up(
    state: &File,
    journal: &JournalFile,
    operations: &[Operation<'_>],
) -> Result<(), Failure> {
    for operation in operations {
        let fail = |error: io::Error| Failure::new(operation.entry, &error);
        let Ok(Some(beside)) = operation.anchor.beside() else {
            continue;
        };
        let found = look(beside, &operation.slot).map_err(fail)?;
        let is_new = found.is_some_and(|found| found.stat.ino == operation.inode);
        let is_removed = is_new && withdraw(journal, operation, true).is_ok();
        if !is_removed {
            put_beside_journal(journal, operation, beside);
        }
    }
    finish(state, journal, operations, Phase::Left)
}

/// Returns where the file is now.
fn put_beside_journal(
    journal: &JournalFile,
    operation: &Operation<'_>,
    slots: &OwnedFd,
) -> &'static str {
    let slot = operation.slot.as_c_str();
    let (kept, flags) = (&journal.kept, RenameFlags::RENAME_NOREPLACE);
    match renameat2(slots, slot, kept, slot, flags) {
        Ok(()) | Err(nix::Error::EEXIST) => "beside the journal",
        Err(_) => "in its private directory",
    }
}

fn keep_written(journal: &JournalFile, operation: &Operation<'_>, slots: &OwnedFd) -> String {
    let to = put_beside_journal(journal, operation, slots);
    let slot = operation.slot.to_string_lossy();
    let line = match operation.entry.change.makes() {
        Some(New::Directory) => format!("it is kept with all that is in it, {to}, as '{slot}'"),
        _ => format!("somebody wrote to its new file, which is kept {to}"),
    };
    about(operation.entry, line)
}

/// Removes a new file that is not at its path. If somebody has written to it, it is kept.
fn withdraw(
    journal: &JournalFile,
    operation: &Operation<'_>,
    is_staged: bool,
) -> Result<Option<String>, Failure> {
    let fail = |error: io::Error| Failure::doing(operation.entry, "remove its new file", &error);
    let Some(slots) = operation.slots(journal).map_err(fail)? else {
        return Ok(None);
    };
    let slot = operation.slot.as_c_str();
    let Some(found) = look(slots, slot).map_err(fail)? else {
        return Ok(None);
    };
    if is_staged && !is_untouched(operation, slots).map_err(fail)? {
        return Ok(Some(keep_written(journal, operation, slots)));
    }
    let flag = match found.stat.kind {
        Kind::Directory => UnlinkatFlags::RemoveDir,
        Kind::File | Kind::Symlink | Kind::Special => UnlinkatFlags::NoRemoveDir,
    };
    unlinkat(slots, slot, flag).map_err(|error| fail(error.into()))?;
    Ok(None)
}

/// Puts everything back to the state before an undo. `lost` cannot be put back.
pub fn forth(
    (journal, plan): (&JournalFile, &Plan),
    operations: &[Operation<'_>],
    why: String,
    lost: Vec<Failure>,
) -> End {
    let reverted = operations
        .iter()
        .rev()
        .map(|operation| operation.revert(journal, Undo));
    let mut left = lost;
    left.extend(reverted.filter_map(Result::err));
    if left.is_empty() {
        match keep(journal, operations) {
            Ok(()) => {
                // Nothing of others is kept any more. Marks that stay only keep the journal longer.
                let clear = vec![UndoMark::Due; plan.entries().len()];
                let _ = journal.set_marks(&clear);
            }
            Err(failure) => left.push(failure),
        }
    }
    end(vec![why], &left)
}

/// Moves the old files beside the journal, if that is on their file system. Otherwise they stay in private directories.
pub fn keep(journal: &JournalFile, operations: &[Operation<'_>]) -> Result<(), Failure> {
    for operation in operations {
        let fail = |error: io::Error| Failure::new(operation.entry, &error);
        let Some(beside) = operation.anchor.beside().map_err(fail)? else {
            continue;
        };
        let slot = operation.slot.as_c_str();
        let (kept, flags) = (&journal.kept, RenameFlags::RENAME_NOREPLACE);
        match renameat2(beside, slot, kept, slot, flags) {
            Ok(()) | Err(nix::Error::ENOENT | nix::Error::EXDEV) => {}
            Err(error) => return Err(fail(error.into())),
        }
    }
    remove_besides(operations)?;
    let set = journal.set_phase(Phase::Kept).map_err(journal_error);
    set.map_err(Failure::Machine)
}

/// Removes what is kept of a commit that nobody undoes any more.
pub fn forget(
    state: &File,
    journal: &JournalFile,
    operations: &[Operation<'_>],
) -> Result<(), Failure> {
    // Without this phase a recovery would take a missing new file for a step that was not made.
    let started = journal.begin(Phase::Gone);
    started.map_err(|error| Failure::Machine(journal_error(error)))?;
    empty_slots(journal, operations)?;
    remove_besides(operations)?;
    journal.remove(state);
    Ok(())
}

/// Ends an undo: removes the new files of `made`. The old files of what was `left`, unless nothing was, stay beside the
/// journal, and new files that somebody has written to. Returns a sentence for each of these.
pub fn finish_undo(
    state: &File,
    journal: &JournalFile,
    made: &[Operation<'_>],
    left: Option<&[Operation<'_>]>,
) -> Result<Vec<String>, Failure> {
    let (mut written, mut own) = (Vec::new(), Vec::new());
    for operation in made {
        let is_written = is_written(operation, journal);
        match is_written.map_err(|error| Failure::new(operation.entry, &error))? {
            true => written.push(operation),
            false => own.push(operation),
        }
    }
    if left.is_none() && written.is_empty() {
        return forget(state, journal, made).map(|()| Vec::new());
    }
    let started = journal.begin(Phase::Parted);
    started.map_err(|error| Failure::Machine(journal_error(error)))?;
    let left = left.unwrap_or_default();
    for operation in left {
        if let Ok(Some(beside)) = operation.anchor.beside() {
            put_beside_journal(journal, operation, beside);
        }
    }
    let kept = written.iter().filter_map(|operation| {
        let slots = operation.slots(journal).ok().flatten()?;
        Some(keep_written(journal, operation, slots))
    });
    let kept = kept.collect();
    empty_slots(journal, own)?;
    remove_besides(made.iter().chain(left))?;
    Ok(kept)
}

/// Returns true if its new file is in its slot, and others than planned are its bytes.
fn is_written(operation: &Operation<'_>, journal: &JournalFile) -> io::Result<bool> {
    if operation.entry.change.makes() == Some(New::Directory) {
        return operation.holds_others(journal);
    }
    let Some(slots) = operation.slots(journal)? else {
        return Ok(false);
    };
    let found = look(slots, &operation.slot)?;
    let is_new = found.is_some_and(|found| found.stat.ino == operation.inode);
    // What cannot be read is not removed.
    Ok(is_new && !is_untouched(operation, slots).unwrap_or(false))
}

fn empty_slots<'a, 'b: 'a>(
    journal: &JournalFile,
    operations: impl IntoIterator<Item = &'a Operation<'b>>,
) -> Result<(), Failure> {
    for operation in operations {
        let fail = |error: io::Error| Failure::new(operation.entry, &error);
        let Some(slots) = operation.slots(journal).map_err(fail)? else {
            continue;
        };
        let slot = operation.slot.as_c_str();
        let own = [
            Some(operation.inode),
            operation.entry.change.base().map(|base| base.stat.ino),
        ];
        let flag = match look(slots, slot).map_err(fail)? {
            // The owner of a directory can rename another private one to this name.
            Some(found) if !own.contains(&Some(found.stat.ino)) => continue,
            None => continue,
            Some(found) if found.stat.kind == Kind::Directory => UnlinkatFlags::RemoveDir,
            Some(_) => UnlinkatFlags::NoRemoveDir,
        };
        unlinkat(slots, slot, flag).map_err(|error| fail(error.into()))?;
    }
    Ok(())
}

/// A private directory that somebody else has replaced or filled stays.
fn remove_besides<'a, 'b: 'a>(
    operations: impl IntoIterator<Item = &'a Operation<'b>>,
) -> Result<(), Failure> {
    operations.into_iter().try_for_each(|operation| {
        let removed = operation.anchor.remove_beside();
        let failed = removed
            .map_err(|error| Failure::doing(operation.entry, "remove a private directory", &error));
        failed.or_else(|failure| match failure.is_changed() {
            true => Ok(()),
            false => Err(failure),
        })
    })
}
