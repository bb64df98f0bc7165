//! New directories that an undo takes away with all that is in them.
//!
//! **Invariant:** such a directory is moved by one rename and kept until somebody moves it: what is in it is neither read nor removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use remit_common::mount_table::{is_in, mounts};
use remit_plan::Direction::Undo;
use remit_plan::{Change, Kind, New, OwnNames, Plan, lock_out};

use crate::failure::Failure;
use crate::stage::check;
use crate::tree::Operation;

/// What an undo takes away with all that is in it, by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Whole {
    /// Each directory is moved by one step.
    directories: BTreeSet<usize>,
    /// What the commit made in them: it has no step of its own.
    inside: BTreeSet<usize>,
}

/// Returns the lowest new directories which have all that others have made or changed. `changed`: positions of directories
/// with names of others, or with another mode or owner, and of all else that is not as the commit left it. Fails with
/// a position that is in no such directory, or where logins, network or boot are decided.
fn whole(plan: &Plan, changed: &BTreeSet<usize>) -> Result<Whole, usize> {
    let entries = plan.entries();
    let created = |at: &usize| {
        let entry = entries.get(*at)?;
        matches!(entry.change, Change::Create { .. }).then_some(entry)
    };
    let new: BTreeMap<&[u8], usize> = (0..entries.len())
        .filter_map(|at| Some((created(&at)?.path.as_bytes(), at)))
        .collect();
    let mut found: BTreeMap<&[u8], usize> = BTreeMap::new();
    for at in changed {
        let entry = created(at).ok_or(*at)?;
        let directory = match entry.change.makes() {
            Some(New::Directory) => entry.path.as_bytes(),
            _ => entry.path.parent(),
        };
        found.insert(directory, *new.get(directory).ok_or(*at)?);
    }
    let mut whole = Whole::default();
    for (at, entry) in (0..).zip(entries) {
        match found.get(entry.path.as_bytes()) {
            _ if entry
                .path
                .ancestors()
                .any(|above| found.contains_key(above)) =>
            {
                whole.inside.insert(at)
            }
            Some(_) => whole.directories.insert(at),
            None => continue,
        };
        // It is removed, so what lies above logins counts, too.
        if lock_out(entry)
            .or_else(|| lock_out(&entry.reversed()))
            .is_some()
        {
            return Err(at);
        }
    }
    Ok(whole)
}

/// Mounts, as proc_pid_mountinfo(5) has them.
#[derive(Debug)]
pub struct Mounts(Vec<u8>);

impl Mounts {
    /// Reads them before Landlock refuses it.
    pub fn read() -> io::Result<Self> {
        fs::read("/proc/self/mountinfo").map(Self)
    }

    fn are_in(&self, path: &[u8]) -> bool {
        // A line that cannot be read may be of any mount.
        mounts(&self.0).any(|mount| mount.is_none_or(|mount| is_in(&mount.point, path)))
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
#[allow(clippy::unwrap_used)]
mod tests {
    use remit_plan::{Content, Entry, Metadata, PlanPath, Source};

    use super::*;

    fn plan(paths: &[&str]) -> Plan {
        let entry = |path: &&str| Entry {
            path: PlanPath::new(path.trim_end_matches('/')).unwrap(),
            change: Change::Create {
                new: match path.ends_with('/') {
                    true => New::Directory,
                    false => New::File(Content {
                        size: 1,
                        sha256: [1; 32],
                        source: Source::Bundle,
                        capabilities: None,
                        mtime: None,
                    }),
                },
                meta: Metadata {
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                },
            },
        };
        Plan::new(paths.iter().map(entry).collect()).unwrap()
    }

    #[test]
    fn directories_with_changes_of_others_go_whole() {
        // Paths that the commit made, those that others have changed, the directories that go whole, and what is in them.
        type Case<'a> = (
            &'a [&'a str],
            &'a [&'a str],
            Result<[&'a [&'a str]; 2], &'a str>,
        );
        let cases: &[Case<'_>] = &[
            (&["/a/", "/a/x"], &[], Ok([&[], &[]])),
            (&["/a/", "/a/x"], &["/a/x"], Ok([&["/a"], &["/a/x"]])),
            (
                &["/a/", "/a/b/", "/a/b/x"],
                &["/a/b"],
                Ok([&["/a/b"], &["/a/b/x"]]),
            ),
            (
                &["/a/", "/a/b/", "/a/b/c/", "/a/b/c/x", "/a/y", "/a-b"],
                &["/a/b/c/x", "/a/b"],
                Ok([&["/a/b"], &["/a/b/c", "/a/b/c/x"]]),
            ),
            (
                &["/a/", "/a/x", "/b/"],
                &["/a/x", "/b"],
                Ok([&["/a", "/b"], &["/a/x"]]),
            ),
            // In a directory that was there before.
            (&["/a/", "/x"], &["/a", "/x"], Err("/x")),
            (&["/etc/pam.d/"], &["/etc/pam.d"], Err("/etc/pam.d")),
            (&["/home/bob/"], &["/home/bob"], Err("/home/bob")),
            (
                &["/etc/systemd/", "/etc/systemd/x"],
                &["/etc/systemd/x"],
                Err("/etc/systemd"),
            ),
            (
                &["/etc/a/", "/etc/a/ssh.service.d/", "/etc/x"],
                &["/etc/a"],
                Ok([&["/etc/a"], &["/etc/a/ssh.service.d"]]),
            ),
            (&["/boot/x/", "/boot/x/y"], &["/boot/x/y"], Err("/boot/x")),
        ];
        for (made, changed, expect) in cases {
            let plan = plan(made);
            let path = |at: usize| plan.entries().get(at).unwrap().path.to_string();
            let all = 0..plan.entries().len();
            let changed: BTreeSet<usize> = all
                .filter(|at| changed.contains(&path(*at).as_str()))
                .collect();
            let paths = |all: BTreeSet<usize>| all.into_iter().map(path).collect::<Vec<_>>();
            let found = whole(&plan, &changed);
            let found = found.map(|found| [paths(found.directories), paths(found.inside)]);
            let expect =
                expect.map(|both| both.map(|all| all.iter().map(ToString::to_string).collect()));
            assert_eq!(
                found,
                expect.map_err(|path| plan
                    .entries()
                    .iter()
                    .position(|entry| entry.path.to_string() == path)
                    .unwrap()),
                "{made:?} {changed:?}"
            );
        }
    }

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
