//! Finds the boundaries of lines. Pure. A line ends at a newline; a carriage return directly before it belongs to
//! the line end. A line longer than a part is split: each part is searched and shown as its own line with the same
//! number.

use memchr::{memchr, memrchr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub start: usize,
    /// Excludes the line end.
    pub end: usize,
    pub next: usize,
    pub ends_line: bool,
}

pub fn at(bytes: &[u8], start: usize, part: usize) -> Segment {
    let rest = bytes.get(start..).unwrap_or_default();
    // A newline directly after a full part ends that part.
    let near = rest.get(..=part).unwrap_or(rest);
    match memchr(b'\n', near) {
        Some(length) => {
            let line = near.get(..length).unwrap_or_default();
            let returns = usize::from(line.ends_with(b"\r"));
            Segment {
                start,
                end: start + length - returns,
                next: start + length + 1,
                ends_line: true,
            }
        }
        None => {
            let end = start + rest.len().min(part);
            Segment {
                start,
                end,
                next: end,
                ends_line: false,
            }
        }
    }
}

/// Returns the start of the segment that contains `byte`. `from` is the start of a segment at or before it. Newlines
/// belong to no segment.
pub fn start_of(bytes: &[u8], from: usize, byte: usize, part: usize) -> usize {
    let before = bytes.get(from..byte).unwrap_or_default();
    let line = memrchr(b'\n', before).map_or(from, |at| from + at + 1);
    line + (byte - line) / part * part
}

/// Returns the start of the segment before `start`, and true if it is on another line. `bytes` begin with a segment.
pub fn before(bytes: &[u8], start: usize, part: usize) -> Option<(usize, bool)> {
    let last = start.checked_sub(1)?;
    let of_another = bytes.get(last) == Some(&b'\n');
    let end = if of_another { last } else { start };
    // `end` minus one is its last byte. An empty line has none and begins where it ends.
    let line = bytes.get(..end).unwrap_or_default();
    let line = memrchr(b'\n', line).map_or(0, |at| at + 1);
    Some((
        line + (end - line).saturating_sub(1) / part * part,
        of_another,
    ))
}

/// Returns how many of `bytes` are whole segments, whatever follows. `bytes` begin with a segment.
pub fn whole(bytes: &[u8], part: usize) -> usize {
    let line = memrchr(b'\n', bytes).map_or(0, |at| at + 1);
    line + (bytes.len() - line).saturating_sub(1) / part * part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], part: usize) -> Vec<Segment> {
        let mut found = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let segment = at(text, start, part);
            start = segment.next;
            found.push(segment);
        }
        found
    }

    fn texts(text: &str, part: usize) -> Vec<&str> {
        all(text.as_bytes(), part)
            .iter()
            .map(|s| &text[s.start..s.end])
            .collect()
    }

    #[test]
    fn lines_and_parts_of_long_ones() {
        assert_eq!(texts("a\n\nb\r\nc", 9), ["a", "", "b", "c"]);
        assert_eq!(texts("a\r", 9), ["a\r"], "no newline, no end");
        assert_eq!(texts("\r\r\n\r\n", 9), ["\r", ""]);
        assert_eq!(
            texts("abc\nabcd\nabcdefg", 3),
            ["abc", "abc", "d", "abc", "def", "g"]
        );
        assert_eq!(texts("abcdef\n", 3), ["abc", "def"]);
        assert_eq!(
            texts("abc\r\n", 3),
            ["abc", ""],
            "the return is all of the second part"
        );
    }

    #[test]
    fn backwards_is_as_forwards() {
        for text in [
            "",
            "\n",
            "a",
            "a\n",
            "\n\n",
            "abc\nabcd\r\n\nabcdefg",
            "abcdef\nx",
            "abcdefabc",
        ] {
            let bytes = text.as_bytes();
            let segments = all(bytes, 3);
            for pair in segments.windows(2) {
                let expect = Some((pair[0].start, pair[0].ends_line));
                assert_eq!(before(bytes, pair[1].start, 3), expect, "{text:?}");
            }
            assert_eq!(before(bytes, 0, 3), None);
            for segment in &segments {
                for byte in segment.start..segment.end {
                    assert_eq!(
                        start_of(bytes, 0, byte, 3),
                        segment.start,
                        "{text:?} {byte}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_what_more_bytes_cannot_change_is_whole() {
        for (text, expect) in [
            ("", 0),
            ("a", 0),
            ("a\n", 2),
            ("a\nb", 2),
            ("abc", 0),
            ("abcd", 3),
            ("abcdefg", 6),
            ("abcdef", 3),
        ] {
            assert_eq!(whole(text.as_bytes(), 3), expect, "{text:?}");
        }
    }
}
