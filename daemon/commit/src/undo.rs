//! An undo: all of it or nothing; or, if it is asked for, all but what somebody else has changed since. In both a new
//! directory stays if others have made something in it. A third kind takes such directories away whole, and keeps them.
//!
//! **Invariant:** a partial undo is one step after another, each whole. Its paths and slots alone say which were made, so
//! nothing has to be recovered after a kill: the next one goes on.

use std::collections::BTreeSet;
use std::fs::File;

use remit_plan::Direction::Undo;
use remit_plan::{Journal, Kind, Phase, UndoMark};

use crate::disks;
use crate::failure::Failure;
use crate::journal::JournalFile;
use crate::locks;
use crate::restore::{finish_undo, forth};
use crate::run::{End, changes, journal_error, make_all, restrict, sync};
use crate::stage::{check, check_directories};
use crate::staying::{self, Public};
use crate::tree::{Operation, Tree};
use crate::whole::{self, Mounts};

/// Bytes of a file that does not delay others: it is compared by hash, and the time of a job is bounded.
const SMALL: u64 = 1 << 20;

/// What an undo does if others have changed something since the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nothing is undone. New directories with names of others stay.
    Refuse,
    /// It is left as it is, and the rest is undone.
    Leave,
    /// In new directories: those go with all that is in them, which is kept. Elsewhere nothing is undone.
    Take,
}

/// Undoes a commit.
pub fn undo(state: &File, id: &str, others: Others, descriptors: usize) -> Result<End, String> {
    let opened = JournalFile::open(state, id).map_err(journal_error)?;
    let (journal, read) = match opened {
        Some(one) if one.1.phase == Phase::Kept => one,
        Some((_, read)) if read.phase.needs_recovery() => {
            let line =
                format!("nothing was undone: '{id}' was interrupted; a recovery has to finish it");
            return Ok(End::Pending(line));
        }
        _ => return Err(format!("'{id}' is not a commit that is done and kept")),
    };
    let _locks = match locks::take(&read.plan) {
        Ok(locks) => locks,
        // This one is not to be kept from its paths by anybody.
        Err(_) if others == Others::Leave => Vec::new(),
        Err(why) => return Ok(why.into()),
    };
    let tree = Tree::open(descriptors).map_err(journal_error)?;
    tree.check_descriptors(&read.plan)?;
    let (mut operations, lost) = tree.reachable(&read, id, &journal.kept);
    operations.reverse();
    let public = Public::new(&tree, &operations);
    let mounts = (others == Others::Take).then(Mounts::read).transpose();
    let mounts = mounts.map_err(journal_error)?;
    restrict(state, &operations, None)?;
    let scene = (state, &tree, &public);
    match others {
        Others::Leave => {
            // Those of an earlier undo, which was taken back.
            let clear = vec![UndoMark::Due; read.marks.len()];
            let cleared = journal.set_marks(&clear);
            cleared.map_err(journal_error)?;
            partly(scene, &journal, operations, lost)
        }
        Others::Refuse | Others::Take => {
            let lost = lost.into_iter().next();
            all(scene, (&journal, &read), operations, (lost, mounts))
        }
    }
}

/// The directory of the commits, that of the machine, and what all may list in it.
type Scene<'a> = (&'a File, &'a Tree, &'a Public<'a>);

/// `mounts`: new directories go with what others have changed in them.
fn all(
    (state, tree, public): Scene<'_>,
    (journal, read): (&JournalFile, &Journal),
    operations: Vec<Operation<'_>>,
    (lost, mounts): (Option<Failure>, Option<Mounts>),
) -> Result<End, String> {
    let is_undone = |operation: &Operation<'_>| operation.is_undone(journal).unwrap_or(false);
    let (undone, operations): (Vec<_>, Vec<_>) = operations.into_iter().partition(is_undone);
    let (staying, mut operations, inside) = match (mounts, lost) {
        (Some(mounts), lost) => {
            let (due, inside) = whole::split(&read.plan, operations, &undone, (lost, &mounts))?;
            (Vec::new(), due, inside)
        }
        (None, Some(failure)) => return Err(failure.into()),
        (None, None) => {
            let (staying, mut due) = staying::split(operations);
            due.iter_mut().try_for_each(|operation| {
                check(operation, Undo)
                    .map_err(|failure| whole::hint(&read.plan, operation, failure))
            })?;
            (staying, due, BTreeSet::new())
        }
    };
    for operation in &operations {
        operation.check_slot(journal)?;
    }
    check_directories(&operations, Undo)?;
    // Otherwise neither its steps nor the way back would work.
    disks::check_writable(&operations)?;
    let of = |operations: &[Operation<'_>]| operations.iter().map(|one| one.at).collect();
    let whole = operations.iter().filter(|one| one.is_whole);
    let found = [
        (of(&undone), UndoMark::Undone),
        (of(&staying), UndoMark::Stays),
        (whole.map(|one| one.at).collect(), UndoMark::Whole),
        (inside.clone(), UndoMark::Inside),
    ];
    let is_due = |(positions, _): &(BTreeSet<usize>, _)| positions.is_empty();
    if !(found.iter().all(is_due) && read.marks.is_empty()) {
        let mark = |at| {
            let mut found = found.iter();
            let found = found.find(|(positions, _)| positions.contains(&at));
            found.map_or(UndoMark::Due, |(_, mark)| *mark)
        };
        let marks: Vec<UndoMark> = (0..read.plan.entries().len()).map(mark).collect();
        let marked = journal.set_marks(&marks);
        marked.map_err(journal_error)?;
    }
    if let Err(error) = journal.begin(Phase::Undoing) {
        let why = journal_error(error);
        // It may be set and not on disk. With it no undo could be tried again.
        return match journal.set_phase(Phase::Kept) {
            Ok(()) => Err(why),
            Err(_) => Ok(End::Pending(format!(
                "nothing was undone; a recovery has to finish: {why}"
            ))),
        };
    }
    if let Err(why) = make_all(state, tree, journal, &operations, Undo) {
        return Ok(forth(
            (journal, &read.plan),
            &operations,
            why.into(),
            Vec::new(),
        ));
    }
    let line = format!("undone: {}", changes(operations.len() + inside.len()));
    let stays = staying::lines(staying.iter().rev(), public);
    operations.extend(undone.into_iter().chain(staying));
    Ok(match finish_undo(state, journal, &operations, None) {
        Ok(kept) => End::Done(with_lines([vec![line], kept].concat().join("; "), stays)),
        Err(why) => {
            let line = format!("{line}; a recovery has to finish: {why}");
            End::Pending(with_lines(line, stays))
        }
    })
}

/// Each directory that stays has a line of its own.
fn with_lines(line: String, stays: Vec<String>) -> String {
    [vec![line], stays].concat().join("\n")
}

fn partly(
    (state, tree, public): Scene<'_>,
    journal: &JournalFile,
    operations: Vec<Operation<'_>>,
    lost: Vec<Failure>,
) -> Result<End, String> {
    let (mut failed, mut reasons) = (Vec::new(), Vec::new());
    let mut on_failure = |failure: Failure| match failure.is_changed() {
        true => reasons.push(failure.to_string()),
        false => failed.push(failure.to_string()),
    };
    lost.into_iter().for_each(&mut on_failure);
    let (mut made, mut left, mut later) = (Vec::new(), Vec::new(), Vec::new());
    let mut staying = Vec::new();
    for mut operation in operations {
        let is_small = operation.target().is_ok_and(|now| {
            now.is_none_or(|now| now.stat.kind != Kind::File || now.stat.size <= SMALL)
        });
        match is_small.then(|| step(&mut operation, tree, journal)) {
            Some(Ok(())) => made.push(operation),
            Some(Err(_)) | None => later.push(operation),
        }
    }
    for mut operation in later {
        match step(&mut operation, tree, journal) {
            Ok(()) => made.push(operation),
            Err(failure) if failure.is_changed() && operation.stays() => staying.push(operation),
            Err(failure) => {
                on_failure(failure);
                left.push(operation);
            }
        }
    }
    let mut line = format!("undone: {}", changes(made.len()));
    if let Err(why) = sync(state, &made) {
        return Ok(End::Unfinished(format!("{line}; {why}")));
    }
    if !failed.is_empty() {
        let those = [failed, reasons].concat().join("; ");
        return Ok(End::Unfinished(format!("{line}; not undone: {those}")));
    }
    let stays = staying::lines(staying.iter().rev(), public);
    made.append(&mut staying);
    let left = (!reasons.is_empty()).then_some(left.as_slice());
    let ended = finish_undo(state, journal, &made, left);
    if !reasons.is_empty() {
        line = format!(
            "{line}; left as somebody else has changed it: {}; the old files of that are kept in '{}'",
            reasons.join("; "),
            journal.id
        );
    }
    let line = match ended {
        Ok(kept) => [vec![line], kept].concat().join("; "),
        Err(why) => {
            let line = format!("{line}; a recovery has to finish: {why}");
            return Ok(End::Pending(with_lines(line, stays)));
        }
    };
    Ok(End::Done(with_lines(line, stays)))
}

/// Undoes one path, or leaves it as it is. Then it holds nothing open any more.
fn step(operation: &mut Operation<'_>, tree: &Tree, journal: &JournalFile) -> Result<(), Failure> {
    let done = try_step(operation, tree, journal);
    operation.held = None;
    operation.attributes.clear();
    done.map_err(|failure| operation.blamed(failure))
}

fn try_step(
    operation: &mut Operation<'_>,
    tree: &Tree,
    journal: &JournalFile,
) -> Result<(), Failure> {
    let entry = operation.entry;
    let is_undone = operation.is_undone(journal);
    if is_undone.map_err(|error| Failure::new(entry, &error))? {
        return Ok(());
    }
    check(operation, Undo)?;
    operation.check_slot(journal)?;
    check_directories(std::slice::from_ref(operation), Undo)?;
    let made = operation.make(tree, journal, Undo).and_then(|()| {
        operation.check_anchor(tree)?;
        operation.check_leases()
    });
    made.or_else(|failure| {
        operation.revert(journal, Undo)?;
        Err(failure)
    })
}
