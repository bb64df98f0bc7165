//! Which new directories an undo leaves at their path: those in which others have made something since the commit, as a
//! service does in its directories of logs and state. Pure.

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

/// Returns the positions of directories that stay. `entries` are those that are not undone yet, each with its position;
/// `names` counts the names in the directory of an entry, `None` if it is not the one that the commit made.
#[must_use]
pub fn staying<'a>(
    entries: impl IntoIterator<Item = (usize, &'a Entry)>,
    names: impl Fn(usize) -> Option<usize>,
) -> BTreeSet<usize> {
    let mut made: Vec<_> = entries
        .into_iter()
        .filter(|(_, entry)| matches!(entry.change, Change::Create { .. }))
        .collect();
    // What is beneath a directory comes before it.
    made.sort_by(|(_, a), (_, b)| b.path.cmp(&a.path));
    let (mut leaving, mut staying) = (BTreeMap::<&[u8], usize>::new(), BTreeSet::new());
    for (at, entry) in made {
        let own = leaving.get(entry.path.as_bytes()).copied().unwrap_or(0);
        match entry.may_stay() && names(at).is_some_and(|names| names > own) {
            true => _ = staying.insert(at),
            false => *leaving.entry(entry.path.parent()).or_default() += 1,
        }
    }
    staying
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::{Content, Metadata, Source};
    use crate::{Plan, PlanPath};

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
        // Paths that the commit made, the names that are in its directories now, and those that stay.
        for (made, now, expect) in [
            (&["/a/"][..], &[("/a", 0)][..], none),
            (&["/a/"], &[("/a", 1)], &["/a"][..]),
            (&["/a/", "/a/x"], &[("/a", 1)], none),
            (&["/a/", "/a/x"], &[("/a", 2)], &["/a"]),
            // Beneath one that stays, those that are empty go; above one, all stay.
            (
                &["/a/", "/a/b/", "/a/c/"],
                &[("/a", 2), ("/a/b", 1), ("/a/c", 0)],
                &["/a", "/a/b"],
            ),
            (
                &["/a/", "/a/b/", "/a/b/x"],
                &[("/a", 2), ("/a/b", 1)],
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
