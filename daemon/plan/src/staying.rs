//! What an undo does with new directories in which others have made or changed something since the commit, as a service
//! does in its directories of logs and state: it leaves them at their path, or it takes them away whole. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::lockout::lock_out;
use crate::plan::{Change, Entry, New, Plan};

impl Entry {
    /// Returns true if it makes a directory that may stay in an undo. One where logins, network or boot are decided may
    /// not: with what is in it the machine would not be as it was.
    #[must_use]
    pub fn may_stay(&self) -> bool {
        self.change.makes() == Some(New::Directory) && lock_out(self).is_none()
    }
}

/// The names that a commit makes in each directory.
#[derive(Debug, Default)]
pub struct OwnNames<'a>(BTreeMap<&'a [u8], BTreeMap<&'a [u8], usize>>);

impl<'a> OwnNames<'a> {
    /// `entries`: each with its position.
    pub fn new(entries: impl IntoIterator<Item = (usize, &'a Entry)>) -> Self {
        let mut own = Self::default();
        for (at, entry) in entries {
            if matches!(entry.change, Change::Create { .. }) {
                let names = own.0.entry(entry.path.parent()).or_default();
                names.insert(entry.path.name(), at);
            }
        }
        own
    }

    /// Returns the position of the entry that makes this name.
    #[must_use]
    pub fn at(&self, directory: &[u8], name: &[u8]) -> Option<usize> {
        self.0.get(directory)?.get(name).copied()
    }
}

/// Returns the positions of directories that stay. `entries` are those that are not undone yet, each with its position;
/// `others` counts the names in the directory of an entry that the commit did not make, `None` if it is not the one that the
/// commit made.
#[must_use]
pub fn staying<'a>(
    entries: impl IntoIterator<Item = (usize, &'a Entry)>,
    others: impl Fn(usize) -> Option<usize>,
) -> BTreeSet<usize> {
    let mut made: Vec<_> = entries
        .into_iter()
        .filter(|(_, entry)| matches!(entry.change, Change::Create { .. }))
        .collect();
    // What is beneath a directory comes before it.
    made.sort_by(|(_, a), (_, b)| b.path.cmp(&a.path));
    let (mut holding, mut staying) = (BTreeSet::<&[u8]>::new(), BTreeSet::new());
    for (at, entry) in made.into_iter().filter(|(_, entry)| entry.may_stay()) {
        let Some(others) = others(at) else {
            continue;
        };
        if others > 0 || holding.contains(entry.path.as_bytes()) {
            staying.insert(at);
            holding.insert(entry.path.parent());
        }
    }
    staying
}

/// What an undo takes away with all that is in it, by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Each directory is moved by one step.
    pub directories: BTreeSet<usize>,
    /// What the commit made in them: it has no step of its own.
    pub inside: BTreeSet<usize>,
}

/// Returns the lowest new directories which have all that others have made or changed. `changed`: positions of directories
/// with names of others, or with another mode or owner, and of all else that is not as the commit left it. Fails with
/// a position that is in no such directory, or where logins, network or boot are decided.
pub fn whole(plan: &Plan, changed: &BTreeSet<usize>) -> Result<Whole, usize> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::PlanPath;
    use crate::plan::{Content, Metadata, Source};

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
    fn directories_with_names_of_others_stay() {
        let none = &[][..];
        // Paths that the commit made, the names of others that are in its directories now, and those that stay.
        for (made, now, expect) in [
            (&["/a/"][..], &[("/a", 0)][..], none),
            (&["/a/"], &[("/a", 1)], &["/a"][..]),
            (&["/a/", "/a/x"], &[("/a", 0)], none),
            (&["/a/", "/a/x"], &[("/a", 1)], &["/a"]),
            // Beneath one that stays, those that are empty go; above one, all stay.
            (
                &["/a/", "/a/b/", "/a/c/"],
                &[("/a", 0), ("/a/b", 1), ("/a/c", 0)],
                &["/a", "/a/b"],
            ),
            (
                &["/a/", "/a/b/", "/a/b/x"],
                &[("/a", 1), ("/a/b", 0)],
                &["/a"],
            ),
            (&["/a/", "/a-b/"], &[("/a", 0), ("/a-b", 1)], &["/a-b"]),
            // Another directory is there now, or none: its check says so.
            (&["/a/"], none_of(), none),
            // With what decides about logins and the boot the machine would not be as it was.
            (&["/etc/pam.d/"], &[("/etc/pam.d", 1)], none),
            (&["/etc/nologin/"], &[("/etc/nologin", 1)], none),
            (&["/boot/x/"], &[("/boot/x", 1)], none),
            (
                &["/etc/systemd/system/ssh.service.d/"],
                &[("/etc/systemd/system/ssh.service.d", 1)],
                none,
            ),
        ] {
            let plan = plan(made);
            let at = |at: usize| plan.entries().get(at).unwrap().path.to_string();
            let names = |position: usize| {
                let found = now.iter().find(|(path, _)| *path == at(position));
                found.map(|(_, count)| *count)
            };
            let found = staying(plan.entries().iter().enumerate(), names);
            let found: Vec<String> = found.into_iter().map(at).collect();
            assert_eq!(found, expect, "{made:?} {now:?}");
        }
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

    const fn none_of() -> &'static [(&'static str, usize)] {
        &[]
    }
}
