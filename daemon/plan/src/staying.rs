//! What an undo does with new directories in which others have made or changed something since the commit, as a service
//! does in its directories of logs and state: it leaves them at their path. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::lockout::lock_out;
use crate::plan::{Change, Entry, New};

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::PlanPath;
    use crate::plan::{Content, Metadata, Plan, Source};

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

    const fn none_of() -> &'static [(&'static str, usize)] {
        &[]
    }
}
