//! The lines of a snapshot: how a section adds its own, and how two snapshots are compared.

use std::cmp::Ordering;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use remit_common::hex::hex;
use remit_common::{calendar, text};
use remit_wire::host::Gap;
use sha2::{Digest, Sha256};

use crate::read::Why;

/// Bytes of a key and of a value that are shown. A path of Linux has at most 4,096.
const KEY: usize = 1024;
const VALUE: usize = 256;
/// Bytes of all lines. A section has at most three quarters of what those before it leave.
pub const LINES: usize = 7 << 19;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sorted lines, each with its newline. Control characters are escaped, so no key or value has a tab or newline.
    pub lines: String,
    pub gaps: Vec<Gap>,
}

pub(super) fn gap(section: &str, why: &str) -> Gap {
    Gap {
        fact: section.to_owned(),
        why: why.to_owned(),
    }
}

#[derive(Debug, Default)]
pub(super) struct SnapshotLines {
    lines: Vec<String>,
    bytes: usize,
    gaps: Vec<Gap>,
}

pub(super) struct SnapshotSection<'a> {
    name: &'static str,
    lines: &'a mut Vec<String>,
    /// Bytes that are left for lines of it.
    left: usize,
    left_out: usize,
}

impl SnapshotSection<'_> {
    pub(super) fn add(&mut self, key: &[u8], value: &str) {
        let (key, value) = (shortened(key, KEY), shortened(value.as_bytes(), VALUE));
        let line = format!("{}\t{key}\t{value}\n", self.name);
        match self.left.checked_sub(line.len()) {
            Some(left) => {
                self.left = left;
                self.lines.push(line);
            }
            None => self.left_out += 1,
        }
    }
}

/// Returns one line. A truncated one ends in a hash of the whole: it differs if something behind its end does.
fn shortened(bytes: &[u8], cap: usize) -> String {
    let line = text::line(bytes, cap);
    match line.ends_with('…') {
        true => format!("{line} sha256 {}", hash(bytes)),
        false => line,
    }
}

/// Returns the first 16 digits of a hash, which tell one version from another.
pub(super) fn hash(bytes: &[u8]) -> String {
    let mut digits = hex(&Sha256::digest(bytes));
    digits.truncate(16);
    digits
}

impl SnapshotLines {
    /// Reads a section. On failure its lines so far are kept, and the gap says that it is incomplete.
    pub(super) fn section(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut SnapshotSection<'_>) -> Result<(), Why>,
    ) {
        let most = LINES.saturating_sub(self.bytes) / 4 * 3;
        let mut section = SnapshotSection {
            name,
            lines: &mut self.lines,
            left: most,
            left_out: 0,
        };
        let failed = read(&mut section).err();
        self.bytes += most - section.left;
        let left_out = section.left_out;
        let is_long = (left_out > 0)
            .then(|| format!("it has more than {most} bytes: {left_out} lines of it are left out"));
        self.gaps
            .extend(failed.or(is_long).map(|why| gap(name, &why)));
    }

    pub(super) fn finish(mut self) -> Snapshot {
        self.lines.sort_unstable();
        self.lines.dedup();
        Snapshot {
            lines: self.lines.concat(),
            gaps: self.gaps,
        }
    }
}

/// Returns in words when the content of a file changed, with the nanoseconds.
pub(super) fn modified(meta: &Metadata) -> String {
    let seconds = u64::try_from(meta.mtime()).unwrap_or_default();
    let utc = calendar::utc(seconds.saturating_mul(1000));
    let utc = utc.trim_end_matches(" UTC");
    format!("modified {utc}.{:09} UTC", meta.mtime_nsec())
}

/// A key whose line is in one snapshot only, or has another value there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference<'a> {
    pub section: &'a str,
    pub key: &'a str,
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
}

/// Lists the differences, sorted by section and key. Several lines of one key, as of stacked mounts, are reported as one.
pub fn differences<'a>(before: &'a str, after: &'a str) -> Vec<Difference<'a>> {
    let (mut old, mut new) = (parsed(before).peekable(), parsed(after).peekable());
    let mut found = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        let difference = match order {
            Ordering::Equal => {
                old.next();
                new.next();
                continue;
            }
            Ordering::Less => old.next().map(|line| line.difference(true)),
            Ordering::Greater => new.next().map(|line| line.difference(false)),
        };
        found.extend(difference);
        merge_last(&mut found);
    }
}

/// The removed and the added line of one key are a changed value.
fn merge_last(found: &mut Vec<Difference<'_>>) {
    let [.., first, second] = found.as_slice() else {
        return;
    };
    if (first.section, first.key) == (second.section, second.key) {
        let merged = Difference {
            before: first.before.or(second.before),
            after: first.after.or(second.after),
            ..*first
        };
        found.truncate(found.len().saturating_sub(2));
        found.push(merged);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ParsedLine<'a> {
    section: &'a str,
    key: &'a str,
    value: &'a str,
}

impl<'a> ParsedLine<'a> {
    fn difference(self, is_old: bool) -> Difference<'a> {
        Difference {
            section: self.section,
            key: self.key,
            before: is_old.then_some(self.value),
            after: (!is_old).then_some(self.value),
        }
    }
}

fn parsed(text: &str) -> impl Iterator<Item = ParsedLine<'_>> {
    text.lines().filter_map(|line| {
        let (section, rest) = line.split_once('\t')?;
        let (key, value) = rest.split_once('\t')?;
        Some(ParsedLine {
            section,
            key,
            value,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_reported_once() {
        let before = "a\tgone\t1\na\tkept\t1\na\tnew value\t1\nb\tx\t1\n";
        let after = "a\tkept\t1\na\tnew value\t0\na\tnew value!\t1\nb\tx\t1\nc\ty\t2\n";
        let reported: Vec<_> = differences(before, after)
            .into_iter()
            .map(|found| (found.section, found.key, found.before, found.after))
            .collect();
        let expect = [
            ("a", "gone", Some("1"), None),
            ("a", "new value", Some("1"), Some("0")),
            ("a", "new value!", None, Some("1")),
            ("c", "y", None, Some("2")),
        ];
        assert_eq!(reported, expect);
        assert_eq!(differences(before, before), []);
    }

    #[test]
    fn long_sections_leave_bytes_for_later_ones() {
        let mut lines = SnapshotLines::default();
        let path = "x".repeat(KEY);
        for section in ["first", "second", "third"] {
            lines.section(section, |section| {
                for number in 0..20_000 {
                    section.add(format!("{number} {path}").as_bytes(), "x");
                }
                Ok(())
            });
        }
        lines.section("last", |section| {
            section.add(b"key", "value");
            Ok(())
        });
        let taken = lines.finish();
        assert!((LINES * 9 / 10..LINES).contains(&taken.lines.len()));
        assert!(taken.lines.contains("last\tkey\tvalue\n"));
        assert!(taken.lines.contains("third\t"));
        let gaps: Vec<&str> = taken.gaps.iter().map(|gap| gap.fact.as_str()).collect();
        assert_eq!(gaps, ["first", "second", "third"]);
        assert!(taken.gaps[0].why.contains("lines of it are left out"));
    }

    #[test]
    fn line_without_a_value_is_skipped() {
        assert_eq!(differences("a\tb\n\n", "a\n"), []);
    }
}
