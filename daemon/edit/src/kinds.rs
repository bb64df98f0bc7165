//! How many paths of each kind a plan changes.

use remit_plan::{Change, New, Plan};

/// Paths that nobody counts by reading them: a page of more has their [`kinds`].
pub const COUNTED: usize = 20;

/// Returns how many paths of each kind it changes: `2 new files, 1 new directory, 3 removed`.
#[must_use]
pub fn kinds(plan: &Plan) -> String {
    let kinds = [
        ("new file", "new files"),
        ("new directory", "new directories"),
        ("new symbolic link", "new symbolic links"),
        ("other content", "other contents"),
        ("other mode or owner", "other modes or owners"),
        ("removed", "removed"),
    ];
    let mut counts = [0_usize; 6];
    for entry in plan.entries() {
        let kind = match entry.change {
            Change::Create { new, .. } => match new {
                New::File(_) => 0,
                New::Directory => 1,
                New::Link(_) => 2,
            },
            change if change.keeps_target() => 4,
            Change::Replace { .. } | Change::ReplaceKind { .. } => 3,
            Change::SetMetadata { .. } => 4,
            Change::Remove { .. } => 5,
        };
        if let Some(count) = counts.get_mut(kind) {
            *count += 1;
        }
    }
    let all = kinds
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0);
    let words = all.map(|((one, many), count)| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use remit_plan::{Base, Content, Entry, Kind, Metadata, PlanPath, Source, Stat, sha256};

    use super::*;

    const META: Metadata = Metadata {
        mode: 0o777,
        uid: 0,
        gid: 0,
    };

    fn counted(changes: &[Change]) -> String {
        let entry = |(at, change): (usize, &Change)| Entry {
            path: PlanPath::new(format!("/{at}")).unwrap(),
            change: *change,
        };
        kinds(&Plan::new(changes.iter().enumerate().map(entry).collect()).unwrap())
    }

    #[test]
    fn paths_are_counted_by_what_becomes_of_them() {
        let content = Content {
            size: 1,
            sha256: sha256(b"y"),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let file = Change::Create {
            new: New::File(content),
            meta: META,
        };
        let directory = Change::Create {
            new: New::Directory,
            meta: META,
        };
        let link = |old: &[u8]| {
            let stat = Stat {
                kind: Kind::Symlink,
                dev: 1,
                ino: 2,
                ctime_ns: 3,
                size: 1,
                meta: META,
            };
            Change::Replace {
                base: Base::new(stat, Some(sha256(old))),
                content,
                meta: Metadata { uid: 33, ..META },
            }
        };
        for (changes, expect) in [
            (&[file, file, file][..], "3 new files"),
            (&[file, directory], "1 new file, 1 new directory"),
            // A link that gets an owner keeps its target.
            (&[link(b"y")], "1 other mode or owner"),
            (&[link(b"z")], "1 other content"),
        ] {
            assert_eq!(counted(changes), expect);
        }
    }
}
