//! Joined pages must equal the result of a search without pages.

use proptest::prelude::*;

use super::*;

impl Text for &[u8] {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        let length = rest.len().min(bytes.len()).min(5);
        bytes[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

const PART: usize = 8;

fn naive_lines(text: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let (mut all, mut offset) = (Vec::new(), 0);
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let whole = line.strip_suffix(b"\n").unwrap_or(line);
        let mut at = 0;
        loop {
            let end = whole.len().min(at + PART);
            let mut part = &whole[at..end];
            if end == whole.len() && line.ends_with(b"\n") {
                part = part.strip_suffix(b"\r").unwrap_or(part);
            }
            all.push((number, (offset + at) as u64, part));
            at = end;
            if at == whole.len() {
                break;
            }
        }
        offset += line.len();
    }
    all
}

/// Works as `grep -C`: number, offset, match flag.
fn naive(text: &[u8], pattern: &str, context: usize) -> Vec<(u64, u64, bool)> {
    let regex = regex::bytes::Regex::new(pattern).unwrap();
    let lines = naive_lines(text);
    let hits: Vec<bool> = lines
        .iter()
        .map(|(_, _, line)| regex.is_match(line))
        .collect();
    let near = |at: usize| {
        hits[at.saturating_sub(context)..hits.len().min(at + context + 1)].contains(&true)
    };
    (0..lines.len())
        .filter(|at| near(*at))
        .map(|at| (lines[at].0, lines[at].1, hits[at]))
        .collect()
}

fn shown(lines: &[Line]) -> Vec<(u64, u64, bool)> {
    lines
        .iter()
        .map(|line| (line.number, line.offset, line.matches))
        .collect()
}

const SMALL: Sizes = Sizes {
    part: PART,
    block: 11,
};

fn all(text: &[u8]) -> Range {
    Range {
        offset: 0,
        end: text.len() as u64,
        ended: true,
    }
}

const PATTERNS: [&str; 12] = [
    "a", "b+", "^a", "b$", "^$", "", r"\s", "[^a]", r"(?s)a.b", r"\bab\b", "ab|ba", r"\Ab\z",
];

proptest! {
    #[test]
    fn pages_together_are_the_whole(
        text in "[ab\r\n ]{0,120}",
        pattern in 0..PATTERNS.len(),
        context in 0..4_u32,
        matches in 1..4_u32,
        patience in 0..6_u32,
    ) {
        let text = text.as_bytes();
        let compiled = Pattern::new(PATTERNS[pattern]).unwrap();
        let expect = naive(text, PATTERNS[pattern], context as usize);
        let (mut range, mut lines) = (all(text), Vec::new());
        loop {
            let mut left = patience;
            let over = || { left = left.saturating_sub(1); left == 0 };
            let limits = SearchLimits { matches, context };
            let page = search(&text, &compiled, range, limits, SMALL, over).unwrap();
            prop_assert_eq!(page.from, range.offset);
            prop_assert!(page.matching <= matches);
            prop_assert_eq!(page.matching as usize, page.lines.iter().filter(|line| line.matches).count());
            lines.extend(page.lines);
            if page.next == text.len() as u64 {
                break;
            }
            prop_assert!(page.next > range.offset, "no progress at {}", range.offset);
            range.offset = page.next;
        }
        prop_assert_eq!(shown(&lines), expect);
        let texts = naive_lines(text);
        for line in lines {
            let (_, _, text) = texts.iter().find(|(_, offset, _)| *offset == line.offset).unwrap();
            prop_assert_eq!(line.text.as_slice(), *text);
        }
    }

    #[test]
    fn offset_inside_line_continues_at_next_line(text in "[ab\r\n]{0,60}", offset in 0..70_u64) {
        let text = text.as_bytes();
        let pattern = Pattern::new("").unwrap();
        let limits = SearchLimits { matches: 1000, context: 2 };
        let range = Range { offset, ..all(text) };
        let page = search(&text, &pattern, range, limits, SMALL, || false).unwrap();
        let expect: Vec<_> = naive(text, "", 0).into_iter().filter(|line| line.1 >= offset).collect();
        prop_assert_eq!(shown(&page.lines), expect.clone());
        prop_assert_eq!(page.from, expect.first().map_or(text.len() as u64, |line| line.1));
        prop_assert_eq!(page.next, text.len() as u64);
    }

    #[test]
    fn a_stream_that_grows_loses_nothing(text in "[ab\n]{0,80}", steps in prop::collection::vec(0..30_usize, 0..8), context in 0..3_u32) {
        let text = text.as_bytes();
        let pattern = Pattern::new("b").unwrap();
        let limits = SearchLimits { matches: 1000, context };
        let (mut offset, mut end, mut lines) = (0, 0, Vec::new());
        for step in steps.into_iter().map(Some).chain([None]) {
            end = step.map_or(text.len(), |step| text.len().min(end + step));
            let range = Range { offset, end: end as u64, ended: step.is_none() };
            let page = search(&&text[..end], &pattern, range, limits, SMALL, || false).unwrap();
            prop_assert!(page.next >= offset);
            offset = page.next;
            lines.extend(page.lines);
        }
        prop_assert_eq!(offset, text.len() as u64);
        let hits = |lines: Vec<(u64, u64, bool)>| lines.into_iter().filter(|line| line.2).collect::<Vec<_>>();
        prop_assert_eq!(hits(shown(&lines)), hits(naive(text, "b", 0)));
        let mut offsets: Vec<_> = lines.iter().map(|line| line.offset).collect();
        let count = offsets.len();
        offsets.dedup();
        prop_assert!(offsets.is_sorted() && offsets.len() == count);
    }
}

#[test]
fn unfinished_line_is_deferred_full_parts_are_searched() {
    let pattern = Pattern::new("x").unwrap();
    let limits = SearchLimits {
        matches: 9,
        context: 0,
    };
    for (text, matching, next) in [
        ("x\nx", 1, 2),
        ("x", 0, 0),
        ("xxxxxxxxx", 1, 8),
        ("xxxxxxxx", 0, 0),
    ] {
        let bytes = text.as_bytes();
        let range = Range {
            ended: false,
            ..all(bytes)
        };
        let page = search(&bytes, &pattern, range, limits, SMALL, || false).unwrap();
        assert_eq!((page.matching, page.next), (matching, next), "{text:?}");
    }
}

#[test]
fn a_page_ends_where_its_bytes_are_enough() {
    let text =
        (b'a'..=b'z').map(|byte| [byte; 2000].map(char::from).iter().collect::<String>() + "\n");
    let text: String = text.collect::<String>().repeat(20);
    let pattern = Pattern::new("[^b]").unwrap();
    let limits = SearchLimits {
        matches: 1000,
        context: 10,
    };
    let bytes = text.as_bytes();
    let mut offset = 0;
    let mut lines = 0;
    loop {
        let range = Range {
            offset,
            ..all(bytes)
        };
        let page = search(&bytes, &pattern, range, limits, SIZES, || false).unwrap();
        let taken: usize = page.lines.iter().map(|line| line.text.len()).sum();
        assert!(taken <= caps::PAGE && page.matching > 200 || page.next == bytes.len() as u64);
        lines += page.lines.len();
        offset = page.next;
        if offset == bytes.len() as u64 {
            break;
        }
    }
    assert_eq!(lines, 26 * 20);
}

#[test]
fn timed_out_page_ends_between_matches() {
    let text = &b"b\nb\nb\na\n"[..];
    let pattern = Pattern::new("b").unwrap();
    for context in [0, 1] {
        let limits = SearchLimits {
            matches: 9,
            context,
        };
        let page = search(&text, &pattern, all(text), limits, SMALL, || true).unwrap();
        assert_eq!((page.matching, page.next), (1, 2), "context {context}");
    }
}

#[test]
fn shortened_text_ends_early() {
    let pattern = Pattern::new("a").unwrap();
    let limits = SearchLimits {
        matches: 9,
        context: 0,
    };
    for (offset, found) in [(0, 1), (50, 0)] {
        let range = Range {
            offset,
            end: 100,
            ended: true,
        };
        let page = search(&&b"a\nb"[..], &pattern, range, limits, SMALL, || false).unwrap();
        assert_eq!(page.matching, found);
    }
}

/// Needs a new DFA state for every byte of a text of these two letters.
const HOSTILE: &str = "[ab]*a[ab]{3000}c|x";

fn letters(length: usize) -> Vec<u8> {
    let mut random = 1_u32;
    let mut letter = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if random >> 31 == 0 { b'a' } else { b'b' }
    };
    (0..length).map(|_| letter()).collect()
}

/// The simulation would take minutes.
#[test]
fn too_hard_line_is_reported_after_earlier_matches() {
    let text = [&b"x\na\n"[..], &letters(1 << 20), b"\nx\n"].concat();
    let text = &text[..];
    let limits = SearchLimits {
        matches: 9,
        context: 0,
    };
    let page = |offset| {
        let range = Range {
            offset,
            ..all(text)
        };
        let pattern = Pattern::new(HOSTILE).unwrap();
        search(&text, &pattern, range, limits, SIZES, || false)
    };
    let first = page(0).unwrap();
    assert_eq!((shown(&first.lines), first.next), (vec![(1, 0, true)], 4));
    let too_hard = page(first.next).unwrap_err();
    assert!(
        matches!(
            too_hard,
            Error::TooHard {
                number: 3,
                offset: 4
            }
        ),
        "{too_hard:?}"
    );
    let behind = page(5).unwrap();
    let offset = text.len() as u64 - 2;
    assert_eq!(shown(&behind.lines), [(4, offset, true)]);
}

#[test]
fn short_lines_are_searched_whatever_the_pattern() {
    let lines = letters(300_000);
    let lines = lines.chunks(500).flat_map(|line| [line, b"xz\n"].concat());
    let text: Vec<u8> = lines.collect();
    let (text, pattern) = (&text[..], "[ab]*a[ab]{300}(x|c)");
    let compiled = Pattern::new(pattern).unwrap();
    let limits = SearchLimits {
        matches: 1000,
        context: 0,
    };
    let page = search(&text, &compiled, all(text), limits, SIZES, || false).unwrap();
    assert!(page.lines.len() > 200 && page.lines.len() < 600);
    let expect = regex::bytes::Regex::new(pattern).unwrap();
    for line in &page.lines {
        assert!(expect.is_match(&line.text));
    }
    let hits = text
        .split(|byte| *byte == b'\n')
        .filter(|line| expect.is_match(line));
    assert_eq!(page.lines.len(), hits.count());
}

#[test]
fn edges_of_words_are_found_beside_any_character() {
    let text = "a\u{e9}b b\u{e9} \u{e9}b\nb \u{e9}\n\u{e9}b\n".as_bytes();
    let pattern = Pattern::new(r"\bb\b").unwrap();
    let limits = SearchLimits {
        matches: 9,
        context: 0,
    };
    let page = search(&text, &pattern, all(text), limits, SIZES, || false).unwrap();
    let numbers: Vec<_> = page.lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, [2]);
}
