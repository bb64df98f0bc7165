//! An undo: all of it or nothing; or, if it is asked for, all but what somebody else has changed since.

use std::fs::File;

use remit_plan::Direction::Undo;
use remit_plan::{Movement, Phase};

use crate::failure::Failure;
use crate::journal::JournalFile;
use crate::restore::{forget, forth};
use crate::run::{End, changes, journal_error, make_all, restrict};
use crate::stage::{check, check_directories};
use crate::tree::{Operation, Tree};

/// What is left because somebody else has changed it.
struct Left<'a> {
    is_allowed: bool,
    operations: Vec<Operation<'a>>,
    reasons: Vec<String>,
}

impl<'a> Left<'a> {
    /// Takes the operation at this position of the plan out of `all`, and those that cannot be made without it. Fails if
    /// nothing may be left, or if the machine is the reason.
    fn take(
        &mut self,
        all: &mut Vec<Operation<'a>>,
        at: usize,
        failure: Failure,
    ) -> Result<(), Failure> {
        if !self.is_allowed || !failure.is_changed() {
            return Err(failure);
        }
        self.reasons.push(failure.into());
        let one = all.iter().find(|operation| operation.at == at);
        // What was beneath a directory that is not made again.
        let above = one.filter(|one| one.entry.change.movement(Undo) == Movement::Enter);
        let above = above.map(|one| one.entry.path.as_bytes());
        let is_left = |operation: &Operation<'_>| {
            let mut dirs = operation.entry.path.ancestors();
            operation.at == at || above.is_some_and(|above| dirs.any(|dir| dir == above))
        };
        let (left, rest): (Vec<_>, Vec<_>) = std::mem::take(all).into_iter().partition(is_left);
        // Their leases end.
        let left = left.into_iter().map(|one| Operation { held: None, ..one });
        self.operations.extend(left);
        *all = rest;
        Ok(())
    }
}

/// Undoes a commit. `is_partly`: what somebody else has changed since is left as it is, and the rest is undone.
pub fn undo(state: &File, id: &str, is_partly: bool, descriptors: usize) -> Result<End, String> {
    let opened = JournalFile::open(state, id).map_err(journal_error)?;
    let Some((journal, read)) = opened.filter(|(_, read)| read.phase == Phase::Kept) else {
        return Err(format!("'{id}' is not a commit that is done and kept"));
    };
    let tree = Tree::open(descriptors).map_err(journal_error)?;
    tree.check_descriptors(&read.plan)?;
    let (mut operations, lost) = tree.reachable(&read.plan, read.rows(), id, Some(&journal.kept));
    operations.reverse();
    let mut left = Left {
        is_allowed: is_partly,
        operations: Vec::new(),
        reasons: Vec::new(),
    };
    for failure in lost {
        match is_partly && failure.is_changed() {
            true => left.reasons.push(failure.into()),
            false => return Err(failure.into()),
        }
    }
    restrict(state, &operations)?;
    check_all(&mut operations, &mut left, &journal)?;
    loop {
        let started = journal.set_phase(Phase::Undoing);
        let started = started.and_then(|()| journal.sync());
        started.map_err(journal_error)?;
        let Err((at, failure)) = make_all(state, &tree, &journal, &operations, Undo) else {
            break;
        };
        match at.filter(|_| is_partly && failure.is_changed()) {
            Some(at) => {
                let again = take_back(&mut operations, &mut left, &journal, (at, failure));
                if let Err(failure) = again {
                    let why = failure.to_string();
                    return Ok(forth(&journal, &operations, why, Vec::new()));
                }
            }
            None => return Ok(forth(&journal, &operations, failure.into(), Vec::new())),
        }
    }
    let mut line = format!("undone: {}", changes(&operations));
    if !left.reasons.is_empty() {
        let those = left.reasons.join("; ");
        line = format!(
            "{line}; left as somebody else has changed it: {those}; the old files of that are kept in '{id}'"
        );
    }
    if let Err(why) = forget(state, &journal, &operations, &left.operations) {
        line = format!("{line}; a recovery has to finish: {why}");
    }
    Ok(End::Done(line))
}

/// Compares every path with what the commit made of it.
fn check_all<'a>(
    operations: &mut Vec<Operation<'a>>,
    left: &mut Left<'a>,
    journal: &JournalFile,
) -> Result<(), Failure> {
    let positions: Vec<usize> = operations.iter().map(|operation| operation.at).collect();
    for at in positions {
        let Some(operation) = operations.iter_mut().find(|operation| operation.at == at) else {
            continue;
        };
        // A lease of an earlier try would be in the way of a new one.
        operation.held = None;
        let checked = check(operation, Undo).and_then(|()| operation.check_slot(journal));
        if let Err(failure) = checked {
            left.take(operations, at, failure)?;
        }
    }
    while let Err((at, failure)) = check_directories(operations, Undo) {
        left.take(operations, at, failure)?;
    }
    Ok(())
}

/// Takes the steps back after one of them failed, so that the others can be made again without it.
fn take_back<'a>(
    operations: &mut Vec<Operation<'a>>,
    left: &mut Left<'a>,
    journal: &JournalFile,
    (at, failure): (usize, Failure),
) -> Result<(), Failure> {
    let reverted = operations.iter().rev().map(|operation| {
        let reverted = operation.revert(journal, Undo);
        reverted.map_err(|failure| (operation.at, failure))
    });
    let changed: Vec<(usize, Failure)> = reverted.filter_map(Result::err).collect();
    for (at, failure) in changed.into_iter().chain([(at, failure)]) {
        left.take(operations, at, failure)?;
    }
    check_all(operations, left, journal)
}
