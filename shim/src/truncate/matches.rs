//! Truncates search results so that a continued search, which finds matches from its start with the lines around, misses no
//! line. A cut lies before a match or its leading context, never between a match and lines that only it shows.

use remit_wire::Bytes;
use remit_wire::outcome::{Line, Matches};

use super::char_start;

/// Returns the first `count` lines, or more if these cannot be separated. `context` lines surround a match.
pub fn first(matches: &Matches, count: usize, context: u32) -> Matches {
    let lines = &matches.lines;
    if count >= lines.len() {
        return matches.clone();
    }
    let may_cut = |at: &usize| leads_to_match(lines.get(*at..).unwrap_or_default(), context);
    let at = (1..=count)
        .rev()
        .find(may_cut)
        .or_else(|| (count + 1..lines.len()).find(may_cut));
    match at.and_then(|at| lines.split_at_checked(at)) {
        Some((shown, [next, ..])) => Matches {
            lines: shown.to_vec(),
            // The number of matches was counted as u32 before.
            matching: shown.iter().map(|line| u32::from(line.matches)).sum(),
            next: next.offset,
            eof: false,
            ..matches.clone()
        },
        _ => matches.clone(),
    }
}

/// Returns true if the first line is a match or its leading context. Parts of one line share a number.
fn leads_to_match(lines: &[Line], context: u32) -> bool {
    let next = lines.iter().zip(0..).find(|(line, _)| line.matches);
    match (lines.first(), next) {
        (Some(first), Some((next, lines_before))) => {
            lines_before.max(next.number.saturating_sub(first.number)) <= u64::from(context)
        }
        _ => false,
    }
}

/// Truncates the shown text of each line to `size` bytes.
pub fn shortened(matches: &Matches, size: usize) -> Matches {
    let short = |line: &Line| {
        let end = char_start(&line.text, size);
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
    use remit_wire::outcome::Stream;

    use super::*;

    fn search(text: &str, offset: u64, context: u64) -> Matches {
        let mut all = Vec::new();
        let mut at = 0;
        for (number, line) in (1..).zip(text.lines()) {
            all.push(Line {
                number,
                offset: at,
                matches: line == "m",
                text: Bytes::from(line),
                omitted: 0,
            });
            at += line.len() as u64 + 1;
        }
        all.retain(|line| line.offset >= offset);
        let found: Vec<u64> = all.iter().filter(|l| l.matches).map(|l| l.number).collect();
        all.retain(|line| found.iter().any(|m| m.abs_diff(line.number) <= context));
        Matches {
            stream: Stream::Stdout,
            lines: all,
            matching: u32::try_from(found.len()).unwrap(),
            offset,
            next: at,
            total: at,
            eof: true,
        }
    }

    #[test]
    fn joined_pages_are_the_whole() {
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
    fn lines_are_cut_except_inseparable_ones() {
        let numbers = |context, count| -> Vec<u64> {
            let whole = search("a\nm\nb\nc\nm\nd\n", 0, u64::from(context));
            let cut = first(&whole, count, context);
            cut.lines.iter().map(|line| line.number).collect()
        };
        assert_eq!(numbers(0, 1), [2]);
        assert_eq!(numbers(1, 4), [1, 2, 3, 4]);
        assert_eq!(numbers(1, 3), [1, 2, 3]);
        assert_eq!(numbers(1, 2), [1], "3 is shown only for 2");
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
