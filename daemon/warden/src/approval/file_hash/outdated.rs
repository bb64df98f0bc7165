//! Finds changes of files that cannot be made any more, before an approver reads of them. It compares what lstat(2) says of
//! the paths, and reads no file of them; `remit-commit` compares all of it again.
//! **Invariant:** it looks with the rights of the requester alone, so a refusal says nothing of what that cannot see.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use remit_plan::{
    Direction, Entry, Journal, Kind, Metadata, New, Phase, Plan, PlanPath, Side, Stat,
};

use super::{ReaderIdentity, Unmeasured, Word, is_own_program};
use crate::approval::opens::ChangeOfFiles;
use crate::request::file_change::{Undo, read_journal};

/// Journals that are read for the commit that is in the way, newest first.
const JOURNALS: usize = 256;

/// A path that is not as a plan or a journal has it.
#[derive(Debug, PartialEq, Eq)]
struct PathConflict {
    path: PlanPath,
    why: &'static str,
    /// Inode numbers of what is expected there and of what is there. `None`: nothing.
    expected: Option<u64>,
    now: Option<u64>,
}

/// Fails for a change whose paths have changed since its plan or its commit. `commits`: the directory of the journals.
pub fn check(
    files: ChangeOfFiles<'_>,
    commits: Option<&Path>,
    requester: &ReaderIdentity,
) -> Result<(), Unmeasured> {
    match files {
        ChangeOfFiles::Commit(bundle) => {
            let plan = bundle.plan();
            match requester.look(|| Ok(of_plan(plan)))? {
                None => Ok(()),
                Some(conflict) => {
                    let by = commits.and_then(|commits| conflict.commit(commits, None));
                    Err(conflict.of_plan(&plan.id(), by))
                }
            }
        }
        ChangeOfFiles::Undo(undo) => {
            let journal = undo.committed()?;
            match requester.look(|| Ok(of_undo(&journal)))? {
                None => Ok(()),
                Some(conflict) => Err(conflict.of_undo(undo)),
            }
        }
    }
}

/// Returns the directory of the journals, if it is a commit by the package's own program.
pub fn commits(argv: &[Word]) -> Option<&Path> {
    let words: Vec<&CStr> = argv.iter().map_while(literal).collect();
    match words[..] {
        [program, word, commits, ..] if word == c"commit" && is_own_program(program) => {
            Some(Path::new(OsStr::from_bytes(commits.to_bytes())))
        }
        _ => None,
    }
}

fn literal(word: &Word) -> Option<&CStr> {
    match word {
        Word::Literal(text) => Some(text),
        Word::Text(_) | Word::Path { .. } | Word::Settled => None,
    }
}

impl PathConflict {
    fn of_plan(&self, id: &str, by: Option<String>) -> Unmeasured {
        let Self { path, why, .. } = self;
        let plan_again = "plan again: the page of a new plan has what is there now";
        let (since, next) = match by {
            Some(by) if by == id => (
                ", because this plan is committed already".to_owned(),
                format!("to take it back, undo commit {id}; for another change, plan again"),
            ),
            Some(by) => (
                format!("; commit {by} has changed it"),
                plan_again.to_owned(),
            ),
            None => (String::new(), plan_again.to_owned()),
        };
        let why = format!("the plan cannot be committed any more: '{path}': {why}{since}");
        Unmeasured::Outdated { why, next }
    }

    fn of_undo(&self, undo: &Undo) -> Unmeasured {
        let Self { path, why, .. } = self;
        let (since, next) = match self.commit(undo.directory(), Some(undo.id())) {
            Some(by) => (
                format!("; the later commit {by} has changed it"),
                format!("undo commit {by} first, or plan the change that you want"),
            ),
            None => (
                String::new(),
                "plan the change that you want: no commit that can be undone made what is there now"
                    .to_owned(),
            ),
        };
        let why =
            format!("the commit cannot be undone as its files are now: '{path}': {why}{since}");
        Unmeasured::Outdated { why, next }
    }

    /// Returns the newest commit that made what is there now, or took away what is expected there, by the inode numbers of
    /// its journal. Reads journals, which only root can.
    fn commit(&self, commits: &Path, other_than: Option<&str>) -> Option<String> {
        let names = fs::read_dir(commits).ok()?.flatten();
        let journals = names.filter_map(|name| {
            let id = name.file_name().into_string().ok()?;
            let journal = fs::symlink_metadata(name.path().join("journal")).ok()?;
            Some(((journal.mtime(), journal.mtime_nsec()), id))
        });
        let mut journals: Vec<_> = journals.collect();
        journals.sort();
        let ids = journals.into_iter().rev().map(|(_, id)| id);
        let others = ids.filter(|id| Some(id.as_str()) != other_than);
        others.take(JOURNALS).find(|id| {
            let journal = read_journal(commits, id);
            journal.is_ok_and(|journal| self.is_of(&journal))
        })
    }

    fn is_of(&self, journal: &Journal) -> bool {
        let entries = journal.plan.entries();
        let Ok(at) = entries.binary_search_by(|entry| entry.path.cmp(&self.path)) else {
            return false;
        };
        let made = journal.inodes.get(at).copied().filter(|inode| *inode != 0);
        let base = entries.get(at).and_then(|entry| entry.change.base());
        let took = base.map(|base| base.stat.ino);
        let is_one = |one: Option<u64>, other| one.is_some() && one == other;
        journal.phase == Phase::Kept && (is_one(made, self.now) || is_one(took, self.expected))
    }
}

/// Returns the first path at which the commit would find something else than the plan has.
fn of_plan(plan: &Plan) -> Option<PathConflict> {
    plan.entries().iter().find_map(|Entry { path, change }| {
        let now = seen(path)?;
        let base = change.base().map(|base| base.stat);
        let why = match (base, now) {
            (None, None) => None,
            (None, Some(_)) => Some("it exists"),
            (Some(_), None) => Some("it does not exist"),
            (Some(base), Some(now)) => base.difference(&now, true),
        };
        Some(PathConflict {
            path: path.clone(),
            why: why?,
            expected: base.map(|base| base.ino),
            now: now.map(|now| now.ino),
        })
    })
}

/// Returns the first path at which the undo would find something else than the commit left. What may stay, or may be undone
/// already by an undo that goes on, is not among them.
fn of_undo(journal: &Journal) -> Option<PathConflict> {
    let entries = journal.plan.entries();
    let is_new_directory = |entry: &Entry| entry.change.makes() == Some(New::Directory);
    let directories: Vec<&PlanPath> = entries
        .iter()
        .filter(|entry| is_new_directory(entry))
        .map(|entry| &entry.path)
        .collect();
    let goes_along = |path: &PlanPath| directories.iter().any(|above| path.is_in(above.as_bytes()));
    let mut rows = entries.iter().zip(&journal.inodes);
    rows.find_map(|(Entry { path, change }, inode)| {
        let left = change.leaving(Direction::Undo, *inode);
        let is_unknown = left.is_some_and(|left| left.inode == 0);
        if is_unknown || goes_along(path) {
            return None;
        }
        let now = seen(path)?;
        let before = change.base().map(|base| base.stat.ino);
        let why = match (left, now) {
            _ if before == now.map(|now| now.ino) => None,
            (None, None) => None,
            (None, Some(_)) => Some("it exists"),
            (Some(_), None) => Some("it does not exist"),
            // An undo goes on from an owner that was set without its mode.
            (Some(left), Some(now)) => Side {
                meta: now.meta,
                ..left
            }
            .difference(&now),
        };
        Some(PathConflict {
            path: path.clone(),
            why: why?,
            expected: left.map(|left| left.inode),
            now: now.map(|now| now.ino),
        })
    })
}

/// Looks at a path with the rights of this process, and follows no link at its end. `None` if it cannot be seen.
fn seen(path: &PlanPath) -> Option<Option<Stat>> {
    let found = match fs::symlink_metadata(Path::new(OsStr::from_bytes(path.as_bytes()))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(None),
        found => found.ok()?,
    };
    let kind = match found.file_type() {
        one if one.is_file() => Kind::File,
        one if one.is_dir() => Kind::Directory,
        one if one.is_symlink() => Kind::Symlink,
        _ => Kind::Special,
    };
    Some(Some(Stat {
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
