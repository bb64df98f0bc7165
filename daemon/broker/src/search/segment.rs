//! Finds the boundaries of lines, and cuts lines for display. Pure. A line ends at a newline, with a carriage return
//! before it. A longer line than a part is split: each part is searched and shown as a line with the same number.

use std::io;
use std::ops::Range;

use memchr::{memchr, memrchr};
use remit_common::caps;
use remit_wire::outcome::Line;

use crate::output::page;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub start: usize,
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

/// Returns the start of the segment with `byte`. `from`: the start of one at or before it. Newlines belong to none.
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

/// Bytes before the match in the shown part of a long line.
const BEFORE: usize = caps::GREP_LINE / 4;

/// Returns the whole line if it fits, otherwise the part around its match, cut between characters.
pub fn cut(number: u64, offset: u64, line: &[u8], found: Option<Range<usize>>) -> Line {
    let matches = found.is_some();
    let start = found.map_or(0, |found| found.start.saturating_sub(BEFORE));
    let start = start.min(line.len().saturating_sub(caps::GREP_LINE));
    let end = line.len().min(start + caps::GREP_LINE);
    let mut text = line.get(start..end).unwrap_or_default();
    if start > 0 {
        text = text.get(page::whole_start(text)..).unwrap_or_default();
    }
    if end < line.len() {
        text = text.get(..page::whole_end(text)).unwrap_or_default();
    }
    let omitted = u64::try_from(line.len() - text.len()).unwrap_or(u64::MAX);
    Line {
        number,
        offset,
        matches,
        text: text.to_vec().into(),
        omitted,
    }
}

pub trait Text {
    /// As pread(2).
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Same as `read_at`, but only the newlines must be right: other bytes can be unredacted.
    fn read_newlines_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(bytes, offset)
    }
}

impl Text for std::fs::File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, offset)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The longest line that is searched as one.
    pub part: usize,
    pub block: usize,
}

/// The part of a stream in memory during a search: a block and the remainder of the previous one.
pub struct Window<'a, T> {
    text: &'a T,
    end: u64,
    ended: bool,
    sizes: Sizes,
    bytes: Vec<u8>,
    base: u64,
    whole: usize,
}

impl<'a, T: Text> Window<'a, T> {
    pub fn new(text: &'a T, base: u64, end: u64, ended: bool, sizes: Sizes) -> Self {
        let bytes = Vec::with_capacity(sizes.part.saturating_add(sizes.block));
        Self {
            text,
            end,
            ended,
            sizes,
            bytes,
            base,
            whole: 0,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.whole).unwrap_or_default()
    }

    pub fn offset(&self, index: usize) -> u64 {
        self.base.saturating_add(size(index))
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// Drops the whole segments and reads until there is another one. Returns false at the end.
    pub fn advance(&mut self) -> io::Result<bool> {
        self.base = self.offset(self.whole);
        self.bytes.drain(..self.whole);
        self.whole = 0;
        while self.whole == 0 && self.offset(self.bytes.len()) < self.end {
            self.read()?;
            let all = self.offset(self.bytes.len()) >= self.end && self.ended;
            self.whole = if all {
                self.bytes.len()
            } else {
                whole(&self.bytes, self.sizes.part)
            };
        }
        Ok(self.whole > 0)
    }

    fn read(&mut self) -> io::Result<()> {
        let at = self.offset(self.bytes.len());
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let filled = self.bytes.len();
        self.bytes.resize(filled + left.min(self.sizes.block), 0);
        let read = fill(
            |bytes, at| self.text.read_at(bytes, at),
            self.bytes.get_mut(filled..).unwrap_or_default(),
            at,
        );
        let length = *read.as_ref().unwrap_or(&0);
        self.bytes.truncate(filled + length);
        if length == 0 {
            self.end = at;
        }
        read.map(drop)
    }
}

pub fn fill(
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read_at(rest, offset.saturating_add(size(filled))) {
            Ok(0) => break,
            Ok(some) => filled += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

pub fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
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

    #[test]
    fn long_line_is_cut_around_match_and_counted() {
        let long = "a".repeat(3000);
        let euros = "\u{20ac}".repeat(1000);
        for (line, found, start, length) in [
            ("short", None, 0, 5),
            ("", Some(0..0), 0, 0),
            (&long, None, 0, caps::GREP_LINE),
            (&long, Some(0..1), 0, caps::GREP_LINE),
            (&long, Some(1000..2000), 1000 - BEFORE, caps::GREP_LINE),
            (
                &long,
                Some(2999..3000),
                3000 - caps::GREP_LINE,
                caps::GREP_LINE,
            ),
            (
                &long[..caps::GREP_LINE],
                Some(1000..1001),
                0,
                caps::GREP_LINE,
            ),
            // Characters of three bytes: byte 744 starts one, byte 1768 is inside one.
            (&euros, Some(1000..1003), 744, 1023),
        ] {
            let cut = cut(7, 9, line.as_bytes(), found.clone());
            let expect = &line[start..start + length];
            assert_eq!(cut.text.as_slice(), expect.as_bytes(), "{found:?}");
            assert_eq!(cut.omitted as usize, line.len() - length);
            assert_eq!(
                (cut.number, cut.offset, cut.matches),
                (7, 9, found.is_some())
            );
        }
    }
}
