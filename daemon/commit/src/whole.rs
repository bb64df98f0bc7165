//! New directories that an undo takes away with all that is in them.
//!
//! **Invariant:** such a directory is moved by one rename and kept until somebody moves it: what is in it is neither read nor removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use remit_plan::Direction::Undo;
use remit_plan::{Change, Kind, New, OwnNames, Plan, whole};

use crate::failure::Failure;
use crate::stage::check;
use crate::tree::Operation;

/// Mount points, as proc_pid_mountinfo(5) has them.
#[derive(Debug)]
pub struct Mounts(Vec<u8>);

impl Mounts {
    /// Reads them before Landlock refuses it.
    pub fn read() -> io::Result<Self> {
        fs::read("/proc/self/mountinfo").map(Self)
    }

    fn are_in(&self, path: &[u8]) -> bool {
        let mut own = Vec::new();
        for byte in path {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' => own.extend(format!("\\{byte:03o}").bytes()),
                byte => own.push(*byte),
            }
        }
        let points = self.0.split(|byte| *byte == b'\n');
        let mut points = points.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
        points.any(|point| {
            let rest = point.strip_prefix(own.as_slice());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }
}

/// Checks all operations but those of `undone`. Returns those that are due, and the positions of what goes with a directory. Fails if
/// others have changed something in no new directory. `lost`: why a directory of the plan was not found.
pub fn split<'a>(
    plan: &Plan,
    operations: Vec<Operation<'a>>,
    undone: &[Operation<'_>],
    (lost, mounts): (Option<Failure>, &Mounts),
) -> Result<(Vec<Operation<'a>>, BTreeSet<usize>), Failure> {
    let directories: BTreeMap<&[u8], usize> = operations
        .iter()
        .map(|one| (one.entry.path.as_bytes(), one.at))
        .collect();
    let own = OwnNames::new(operations.iter().map(|one| (one.at, one.entry)));
    let mut reached: BTreeSet<usize> = undone.iter().map(|one| one.at).collect();
    let mut changed: BTreeMap<usize, Failure> = BTreeMap::new();
    let mut due = Vec::new();
    for mut operation in operations {
        let (at, entry) = (operation.at, operation.entry);
        reached.insert(at);
        let fail = |error: io::Error| Failure::new(entry, &error);
        let others = match is_new(&operation) && entry.change.makes() == Some(New::Directory) {
            true => operation.others(&own).map_err(fail)?,
            false => None,
        };
        let is_full = others > Some(0);
        let failure = match check(&mut operation, Undo) {
            Err(failure) if !failure.is_changed() => return Err(failure),
            Err(failure) => Some(failure),
            Ok(()) => is_full.then(|| Failure::changed(entry, "it is not empty")),
        };
        if let Some(failure) = failure {
            // A directory that is gone, or another one, is a change of the one above.
            let position = match entry.change.makes() {
                Some(New::Directory) if others.is_none() => {
                    directories.get(entry.path.parent()).copied()
                }
                _ => Some(at),
            };
            match position {
                Some(position) => _ = changed.entry(position).or_insert(failure),
                None => return Err(failure),
            }
        }
        due.push(operation);
    }
    let found = whole(plan, &changed.keys().copied().collect()).map_err(|at| {
        let entry = plan.entries().get(at);
        let decides = || {
            let entry = entry.map_or_else(String::new, |entry| format!("'{}': ", entry.path));
            Failure::Changed(format!(
                "{entry}it decides about logins, the network or the boot, so it does not go with what others have changed beside it"
            ))
        };
        changed.remove(&at).unwrap_or_else(decides)
    })?;
    let is_found = |at: &usize| reached.contains(at) || found.inside.contains(at);
    if let (Some(failure), false) = (lost, (0..plan.entries().len()).all(|at| is_found(&at))) {
        return Err(failure);
    }
    due.retain(|one| !found.inside.contains(&one.at));
    let whole = due
        .iter_mut()
        .filter(|one| found.directories.contains(&one.at));
    for operation in whole {
        operation.is_whole = true;
        operation.held = None;
        operation.check_whole(mounts)?;
    }
    Ok((due, found.inside))
}

/// Adds the way out to the reason why an undo is refused, if there is one.
pub fn hint(plan: &Plan, operation: &Operation<'_>, failure: Failure) -> Failure {
    let is_gone = operation.entry.change.makes() == Some(New::Directory)
        && operation
            .others(&OwnNames::default())
            .is_ok_and(|others| others.is_none());
    match failure {
        Failure::Changed(line)
            if !is_gone && whole(plan, &BTreeSet::from([operation.at])).is_ok() =>
        {
            Failure::Changed(format!(
                "{line}; an undo with contents (--with-contents) takes its directory away with all that is in it"
            ))
        }
        failure => failure,
    }
}

fn is_new(operation: &Operation<'_>) -> bool {
    matches!(operation.entry.change, Change::Create { .. })
}

impl Operation<'_> {
    /// It has the owner and mode that others have given it.
    fn check_whole(&self, mounts: &Mounts) -> Result<(), Failure> {
        let entry = self.entry;
        let found = self.target().map_err(|error| Failure::new(entry, &error))?;
        let changed = |why: &str| Err(Failure::changed(entry, why));
        match found {
            None => changed("it does not exist"),
            Some(found) if (found.stat.kind, found.stat.ino) != (Kind::Directory, self.inode) => {
                changed("it is another file")
            }
            Some(found) => match found.obstacle() {
                Some(why) => changed(&why),
                None if mounts.are_in(entry.path.as_bytes()) => {
                    changed("a file system is mounted in it")
                }
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_in_a_directory_are_found() {
        let table = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      22 21 8:2 / /srv/a\\040b rw - ext4 /dev/sdb1 rw\n\
                      23 21 8:2 / /srv/data/x rw shared:1 - ext4 /dev/sdb1 rw\n";
        let mounts = Mounts(table.to_vec());
        for (path, expect) in [
            ("/srv", true),
            ("/srv/data", true),
            ("/srv/data/x", true),
            ("/srv/data/x/y", false),
            ("/srv/dat", false),
            ("/srv/a b", true),
            ("/srv/a", false),
            ("/etc", false),
        ] {
            assert_eq!(mounts.are_in(path.as_bytes()), expect, "{path}");
        }
    }
}
