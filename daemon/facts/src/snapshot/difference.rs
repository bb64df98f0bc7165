//! Compares two snapshots by one pass over their sorted lines.

use std::cmp::Ordering;

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
    fn line_without_a_value_is_skipped() {
        assert_eq!(differences("a\tb\n\n", "a\n"), []);
    }
}
