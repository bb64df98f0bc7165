//! Repairs what a kill or a power cut has left.

use std::fs::File;
use std::io;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use remit_plan::Direction::{Commit, Undo};
use remit_plan::{Journal, Phase, UndoMark};

use crate::failure::Failure;
use crate::journal::{JournalFile, is_id};
use crate::kept::{KeptUndo, expired, undo_bytes};
use crate::locks;
use crate::restore::{back, finish_undo, forget, forth, give_up, keep as keep_old};
use crate::run::{End, journal_error, restrict};
use crate::staying::{self, Public};
use crate::tree::{OWN, Operation, Tree};

/// Undos that one recovery forgets: each takes descriptors.
const EXPIRED: usize = 64;

/// What is counted for an undo beside the bytes of its files: inodes, names, and that each recovery reads its journal. So
/// the bound of bytes is one of their number, too.
const COST: u64 = 64 << 10;
/// Ids of one recovery whose undo must not be forgotten.
pub const KEEP: usize = 64;

/// Undos that a recovery may forget.
pub struct Forgetting {
    /// None of these ids, at most [`KEEP`].
    pub keep: Vec<String>,
    /// Without it none is too old.
    pub is_clock_right: bool,
}

/// Rolls back what is not done, and finishes what is. With `forgetting` it also forgets undos that are too old or too
/// large. It makes no step of a commit.
pub fn recover(
    state: &File,
    forgetting: Option<&Forgetting>,
    descriptors: usize,
) -> Result<End, String> {
    let tree = Tree::open(descriptors).map_err(journal_error)?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut ids = Vec::new();
    let mut directory = Dir::openat(state, ".", flags, Mode::empty()).map_err(journal_error)?;
    for entry in directory.iter() {
        let name = entry.map_err(journal_error)?;
        let name = name.file_name().to_string_lossy().into_owned();
        ids.extend(Some(name).filter(|name| is_id(name)));
    }
    ids.sort();
    let (mut opened, mut kept, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut wrong, mut done) = (Vec::new(), Vec::new());
    let mut left = descriptors.saturating_sub(OWN);
    for id in &ids {
        match JournalFile::open(state, id) {
            Ok(Some((journal, read))) if !read.phase.needs_recovery() => {
                // Directories with what others have made are kept until somebody moves them.
                let is_whole = read.marks.contains(&UndoMark::Whole);
                // Not counted either: a huge one would end those of others.
                if !is_whole && forgetting.is_some_and(|one| !one.keep.contains(id)) {
                    let (age_s, id) = (journal.age_s(), id.clone());
                    let own = journal.bytes().saturating_add(COST);
                    let bytes = undo_bytes(&read.plan).saturating_add(own);
                    kept.push(KeptUndo { id, age_s, bytes });
                }
            }
            Ok(Some((_, read))) if read.phase == Phase::Gone => gone.push(id),
            Ok(Some(one)) => match Tree::take(&one.1.plan, &mut left) {
                Ok(()) => opened.push(one),
                Err(why) => wrong.push(format!("'{id}': {why}")),
            },
            Ok(None) => {}
            Err(error) => wrong.push(unusable(id, &error)),
        }
    }
    // After all that was interrupted: none of these may take its descriptors.
    for id in gone {
        match JournalFile::open(state, id) {
            Ok(Some(one)) => match Tree::take(&one.1.plan, &mut left) {
                Ok(()) => opened.push(one),
                Err(why) => done.push(later(format!("'{id}': {why}"))),
            },
            Ok(None) => {}
            Err(error) => wrong.push(unusable(id, &error)),
        }
    }
    let is_clock_right = forgetting.is_some_and(|one| one.is_clock_right);
    let mut forgotten = 0;
    for id in expired(kept, is_clock_right) {
        if forgotten == EXPIRED {
            break;
        }
        let expired = JournalFile::open(state, &id).map(|one| {
            // Those that do not fit are for the next day. One of a file system that is away or read-only takes the turn of
            // no other.
            one.and_then(|(journal, mut read)| {
                let before = left;
                Tree::take(&read.plan, &mut left).ok()?;
                let (operations, lost) = tree.reachable(&read, &journal.id, &journal.kept);
                let is_there = lost.iter().all(Failure::is_changed);
                if !is_there || !operations.iter().all(|one| one.anchor.can_be_cleared()) {
                    left = before;
                    return None;
                }
                read.phase = Phase::Gone;
                Some((journal, read))
            })
        });
        match expired {
            Ok(one) => {
                forgotten += usize::from(one.is_some());
                opened.extend(one);
            }
            Err(error) => wrong.push(unusable(&id, &error)),
        }
    }
    let mut all = Vec::new();
    for (journal, read) in &opened {
        let (operations, lost) = tree.reachable(read, &journal.id, &journal.kept);
        match lost.iter().find(|failure| !failure.is_changed()) {
            Some(failure) if read.phase == Phase::Gone => done.push(later(failure.to_string())),
            Some(failure) => wrong.push(failure.to_string()),
            None => all.push((journal, read, operations, lost)),
        }
    }
    // As far as they are free: a recovery is not to be kept from its end.
    let interrupted = all.iter().filter(|(_, read, ..)| read.phase != Phase::Gone);
    let _locks: Vec<_> = interrupted
        .filter_map(|(_, read, ..)| locks::take(&read.plan).ok())
        .collect();
    let undone = all
        .iter()
        .filter(|(_, read, ..)| read.phase == Phase::Undone);
    let public = Public::new(&tree, undone.flat_map(|(.., operations, _)| operations));
    restrict(
        state,
        all.iter().flat_map(|(.., operations, _)| operations),
        None,
    )?;
    for (journal, read, mut operations, lost) in all {
        if matches!(read.phase, Phase::Undoing | Phase::Undone) {
            operations.reverse();
        }
        match repair((state, &public), journal, read, &mut operations, lost) {
            End::Done(line) | End::Nothing(line) => done.push(line),
            // The next undo finds out what somebody else has changed.
            End::Left(line) if matches!(read.phase, Phase::Undoing | Phase::Undone) => {
                match keep_old(journal, &operations) {
                    Ok(()) => done.push(format!("{line}; its undo can be tried again")),
                    Err(failure) => wrong.push(format!("{line}; {failure}")),
                }
            }
            End::Left(line) => match give_up(state, journal, &operations) {
                Ok(()) => done.push(format!(
                    "{line}; what is kept of it is in '{}', and no recovery tries it again",
                    journal.id
                )),
                Err(failure) => wrong.push(format!("{line}; {failure}")),
            },
            End::Mixed(line) if read.phase == Phase::Gone => done.push(later(line)),
            End::Mixed(line)
            | End::Busy(line)
            | End::Locked(line)
            | End::Unfinished(line)
            | End::Pending(line) => wrong.push(line),
        }
    }
    let lines = |lines: &[String]| lines.join("; ");
    Ok(match (wrong.is_empty(), done.is_empty()) {
        (true, true) => End::Done("nothing to recover".to_owned()),
        (true, false) => End::Done(format!("recovered: {}", lines(&done))),
        (false, _) => End::Mixed(lines(&wrong)),
    })
}

/// Says so of a commit that is forgotten: what is left of it keeps no other commit from its paths.
fn later(why: String) -> String {
    format!("{why}; it goes with the next recovery")
}

/// Says what helps if trying again does not: the journal is damaged or of another release, or was lost.
fn unusable(id: &str, error: &io::Error) -> String {
    let way_out = match error.raw_os_error() {
        None | Some(libc::ENOTEMPTY | libc::ENOTDIR) => format!(
            "; look at the paths of this commit, then move 'commits/{id}', with the old files in it, out of 'commits'"
        ),
        Some(_) => String::new(),
    };
    format!("'{id}': {error}{way_out}")
}

/// Puts one commit or undo back, or finishes it. `lost` are paths whose directories are gone.
fn repair<'a>(
    (state, public): (&File, &Public<'_>),
    journal: &JournalFile,
    read: &Journal,
    operations: &mut Vec<Operation<'a>>,
    lost: Vec<Failure>,
) -> End {
    let mark = |one: &Operation<'_>| read.marks.get(one.at);
    // It has gone with its directory, or comes back with it.
    operations.retain(|one| mark(one) != Some(&UndoMark::Inside));
    for operation in operations.iter_mut() {
        operation.is_whole = mark(operation) == Some(&UndoMark::Whole);
    }
    let stays = |one: &Operation<'_>| mark(one) == Some(&UndoMark::Stays);
    let has_lasted = |direction| {
        let lasted: io::Result<Vec<bool>> = operations
            .iter()
            .filter(|one| direction == Commit || !stays(one))
            .map(|operation| operation.has_lasted(journal, direction))
            .collect();
        lasted.is_ok_and(|lasted| !lasted.contains(&false))
    };
    let ended = |made: Result<String, Failure>| match made {
        Ok(line) => End::Done(format!("'{}' {line}", journal.id)),
        Err(failure) if failure.is_changed() => End::Left(failure.into()),
        Err(failure) => End::Mixed(failure.into()),
    };
    let why = format!("'{}' was interrupted", journal.id);
    match read.phase {
        Phase::Done if has_lasted(Commit) => {
            let kept = keep_old(journal, operations);
            ended(kept.map(|()| "was done".to_owned()))
        }
        Phase::Undone if has_lasted(Undo) => {
            let settled = finish_undo(state, journal, operations, None);
            if settled.as_ref().is_ok_and(Vec::is_empty) && !lost.is_empty() {
                journal.discard(state);
            }
            let stays = staying::lines(operations.iter().filter(|one| stays(one)), public);
            let own = vec!["is undone".to_owned()];
            let line = |kept| [own, kept, stays].concat().join("; ");
            ended(settled.map(line))
        }
        Phase::Gone => {
            let forgotten = forget(state, journal, operations);
            if forgotten.is_ok() && !lost.is_empty() {
                journal.discard(state);
            }
            ended(forgotten.map(|()| "is forgotten".to_owned()))
        }
        Phase::Undoing | Phase::Undone => {
            // An earlier undo has made those.
            operations.retain(|one| mark(one) != Some(&UndoMark::Undone));
            forth((journal, &read.plan), operations, why, lost)
        }
        Phase::Applying | Phase::Done if read.is_staged() => {
            back(state, journal, operations, true, why, lost)
        }
        // No step was made, so nothing is missing in a directory that is gone.
        _ => back(state, journal, operations, false, why, Vec::new()),
    }
}
