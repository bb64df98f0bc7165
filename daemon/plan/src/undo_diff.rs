//! The diff of what an undo puts back, as lines for an approver.

use remit_common::escape;

use crate::diff::Tabs;
use crate::plan::{Entry, Plan};
use crate::view::View;

/// Begins a line of a diff. No other line of an undo begins with a blank.
pub const UNDO_DIFF: &str = "  ";
/// Bytes of the longest diff, and the least number that one is cut to.
const LONGEST: usize = 16 << 10;
const LEAST: usize = 1 << 10;

/// Bytes of a file as the commit left it, and as the undo makes it again. `None`: there is no file.
pub type UndoBytes = [Option<Vec<u8>>; 2];

impl Plan {
    /// Returns a line for each file with its path, then its diff, in at most about `most` bytes. `bytes` has those of an entry
    /// that the reader may see: without them there is no diff.
    #[must_use]
    pub fn undo_diffs(
        &self,
        bytes: impl Fn(usize, &Entry) -> Option<UndoBytes>,
        most: usize,
    ) -> Vec<String> {
        let (mut lines, mut left, mut more) = (Vec::new(), most, 0_usize);
        for (at, entry) in self.entries().iter().enumerate() {
            let Some([now, again]) = bytes(at, entry) else {
                continue;
            };
            if left < LEAST {
                more += 1;
                continue;
            }
            let view = View {
                entry: &entry.reversed(),
                old: now.as_deref(),
                new: again.as_deref(),
            };
            let diff = view.brief(left.min(LONGEST), Tabs::Escaped);
            if diff.is_empty() {
                continue;
            }
            let path = escape::in_quotes(entry.path.as_bytes(), usize::MAX);
            lines.push(format!("diff of '{path}':"));
            lines.extend(diff.lines().map(|line| format!("{UNDO_DIFF}{line}")));
            // A line costs its end and its blanks, too.
            let size = diff.len() + path.len() + 16 + 4 * diff.lines().count();
            left = left.saturating_sub(size);
        }
        lines.extend((more > 0).then(|| format!("diffs that are not shown: {more}")));
        lines
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::{Base, Change, Content, Kind, Metadata, New, Source, Stat};
    use crate::{PlanPath, sha256};

    const META: Metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };

    fn base(text: &[u8]) -> Base {
        let stat = Stat {
            kind: Kind::File,
            dev: 1,
            ino: 2,
            ctime_ns: 3,
            size: text.len() as u64,
            meta: META,
        };
        Base::new(stat, Some(sha256(text)))
    }

    fn content(text: &[u8]) -> Content {
        Content {
            size: text.len() as u64,
            sha256: sha256(text),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        }
    }

    fn plan(changes: Vec<(&str, Change)>) -> Plan {
        let entry = |(path, change)| Entry {
            path: PlanPath::new(path).unwrap(),
            change,
        };
        Plan::new(changes.into_iter().map(entry).collect()).unwrap()
    }

    #[test]
    fn undo_has_the_diff_of_its_commit_the_other_way_round() {
        let (old, new) = (&b"a\nold\n"[..], &b"a\nRISK: new\n"[..]);
        let some = |text: &[u8]| Some(text.to_vec());
        let replaced = Change::Replace {
            base: base(old),
            content: content(new),
            meta: META,
        };
        let made = Change::Create {
            new: New::File(content(new)),
            meta: META,
        };
        let removed = Change::Remove { base: base(old) };
        for (change, bytes, expect) in [
            (
                replaced,
                Some([some(new), some(old)]),
                &["  -RISK: new", "  +old"][..],
            ),
            (made, Some([some(new), None]), &["  -a", "  -RISK: new"]),
            (removed, Some([None, some(old)]), &["  +a", "  +old"]),
            (replaced, None, &[]),
        ] {
            let lines = plan(vec![("/it's", change)]).undo_diffs(|_, _| bytes.clone(), 9999);
            let first = (!expect.is_empty()).then_some("diff of '/it\\'s':");
            assert_eq!(lines.first().map(String::as_str), first, "{lines:?}");
            let changed: Vec<&String> = lines
                .iter()
                .filter(|line| line.starts_with("  -") || line.starts_with("  +"))
                .collect();
            assert_eq!(changed, expect, "{lines:?}");
            let own = |line: &&String| line.starts_with(UNDO_DIFF) || Some(line.as_str()) == first;
            assert!(lines.iter().all(|line| own(&line)), "{lines:?}");
        }
    }

    #[test]
    fn diffs_beyond_the_bound_are_counted() {
        let text = "line\n".repeat(2000);
        let made = Change::Create {
            new: New::File(content(text.as_bytes())),
            meta: META,
        };
        let plan = plan(vec![("/a", made), ("/b", made), ("/c", made)]);
        let bytes = |_: usize, _: &Entry| Some([Some(text.clone().into_bytes()), None]);
        for (most, more) in [(20_000, 2), (500, 3)] {
            let lines = plan.undo_diffs(bytes, most);
            let size: usize = lines.iter().map(|line| line.len() + 1).sum();
            assert!(size < most + 7000, "{size}");
            let last = format!("diffs that are not shown: {more}");
            assert_eq!(lines.last(), Some(&last));
        }
    }
}
