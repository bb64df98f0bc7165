//! Cutting lines that match so that going on from the cut loses none.
//!
//! A search that goes on somewhere finds the matches from there on and the lines around those. So a
//! cut stands before a match, or before the lines that lead to it; never between a match and lines
//! after it that only that one shows. Pure.

use remit_common::outcome::{Line, Matches};
use remit_common::wire::Bytes;

use super::floor;

/// The first lines, at most `count`, but at least as many as can stand alone; `context` is how many
/// lines around each match were asked for.
pub fn first(matches: &Matches, count: usize, context: u32) -> Matches {
    let lines = &matches.lines;
    if count >= lines.len() {
        return matches.clone();
    }
    let may_cut = |place: &usize| leads_to_match(lines.get(*place..).unwrap_or_default(), context);
    let place = (1..=count)
        .rev()
        .find(may_cut)
        .or_else(|| (count + 1..lines.len()).find(may_cut));
    match place.and_then(|place| lines.split_at_checked(place)) {
        Some((shown, [next, ..])) => Matches {
            lines: shown.to_vec(),
            // They were counted in as many bits.
            matching: shown.iter().map(|line| u32::from(line.matches)).sum(),
            next: next.offset,
            eof: false,
            ..matches.clone()
        },
        _ => matches.clone(),
    }
}

/// Whether the first of these lines is a match, or is shown for one that comes after it. Parts of one
/// line have one number, so the places count too.
fn leads_to_match(lines: &[Line], context: u32) -> bool {
    let next = lines.iter().zip(0..).find(|(line, _)| line.matches);
    match (lines.first(), next) {
        (Some(first), Some((next, places))) => {
            places.max(next.number.saturating_sub(first.number)) <= u64::from(context)
        }
        _ => false,
    }
}

/// The same lines, of each at most the first `size` bytes of what is shown.
pub fn shortened(matches: &Matches, size: usize) -> Matches {
    let short = |line: &Line| {
        let end = floor(&line.text, size);
        match line.text.get(..end) {
            Some(text) if text.len() < line.text.len() => Line {
                text: Bytes::from(text.to_vec()),
                omitted: line.omitted + (line.text.len() - text.len()) as u64,
                ..line.clone()
            },
            _ => line.clone(),
        }
    };
    Matches {
        lines: matches.lines.iter().map(short).collect(),
        ..matches.clone()
    }
}

#[cfg(test)]
mod tests {
    use remit_common::outcome::Stream;

    use super::*;

    /// What a search for `m` in these lines gives, from a byte on.
    fn search(text: &str, offset: u64, context: u64) -> Matches {
        let mut all = Vec::new();
        let mut place = 0;
        for (number, line) in (1..).zip(text.lines()) {
            all.push(Line {
                number,
                offset: place,
                matches: line == "m",
                text: Bytes::from(line),
                omitted: 0,
            });
            place += line.len() as u64 + 1;
        }
        all.retain(|line| line.offset >= offset);
        let found: Vec<u64> = all.iter().filter(|l| l.matches).map(|l| l.number).collect();
        all.retain(|line| found.iter().any(|m| m.abs_diff(line.number) <= context));
        Matches {
            stream: Stream::Stdout,
            lines: all,
            matching: u32::try_from(found.len()).unwrap(),
            offset,
            next: place,
            total: place,
            eof: true,
        }
    }

    #[test]
    fn pages_joined_are_the_whole_however_they_are_cut() {
        for text in [
            "m\n",
            "m\nm\nm\nm\n",
            "a\nm\nb\nc\nd\ne\nm\nf\n",
            "a\nb\nm\nc\nm\nd\ne\nf\ng\nh\nm\nm\ni\nj\nk\nl\nm\n",
            "a\nb\nc\n",
        ] {
            for context in [0, 1, 2, 3, 10] {
                for count in 0..20 {
                    let whole = search(text, 0, context.into());
                    let (mut joined, mut matching, mut offset) = (vec![], 0, 0);
                    loop {
                        let page = first(&search(text, offset, context.into()), count, context);
                        let case = format!("{text:?} {context} {count} {offset}");
                        joined.extend(page.lines.clone());
                        matching += page.matching;
                        if page.eof {
                            break;
                        }
                        assert!(page.next > offset && !page.lines.is_empty(), "{case}");
                        offset = page.next;
                    }
                    assert_eq!(joined, whole.lines, "{text:?} {context} {count}");
                    assert_eq!(matching, whole.matching);
                }
            }
        }
    }

    #[test]
    fn no_more_lines_are_shown_than_fit_unless_they_belong_together() {
        let numbers = |context, count| -> Vec<u64> {
            let whole = search("a\nm\nb\nc\nm\nd\n", 0, u64::from(context));
            let cut = first(&whole, count, context);
            cut.lines.iter().map(|line| line.number).collect()
        };
        assert_eq!(numbers(0, 1), [2]);
        assert_eq!(numbers(1, 4), [1, 2, 3, 4]);
        assert_eq!(numbers(1, 3), [1, 2, 3]);
        assert_eq!(numbers(1, 2), [1], "3 is shown for 2 alone");
        assert_eq!(numbers(1, 0), [1]);
        assert_eq!(numbers(1, 9), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_shortened_line_counts_what_it_lost() {
        let mut whole = search("m\n", 0, 0);
        whole.lines[0].text = Bytes::from("ab\u{fc}cd");
        whole.lines[0].omitted = 10;
        for (size, text, omitted) in [
            (0, "", 16),
            (3, "ab", 14),
            (4, "ab\u{fc}", 12),
            (6, "ab\u{fc}cd", 10),
        ] {
            let line = &shortened(&whole, size).lines[0];
            assert_eq!(
                (line.text.as_slice(), line.omitted),
                (text.as_bytes(), omitted)
            );
        }
    }
}
