//! Searches a stream page by page for matching lines with their context. A page ends at its limit of matches, bytes or time.
//! The next page continues there; no line is repeated or lost. Memory use is independent of the length of stream and lines.

mod pattern;
mod segment;

use std::io;

use memchr::{memchr_iter, memrchr};
use remit_common::caps;
use remit_wire::outcome::Line;

use self::pattern::TooHard;
use self::segment::{Segment, Window, fill, size};

pub use self::pattern::{BadPattern, Pattern};
pub use self::segment::{Sizes, Text};

pub const SIZES: Sizes = Sizes {
    part: 1 << 20,
    block: 1 << 20,
};
/// Maximum bytes of a line's fields in an answer, without its text.
const FIELDS: usize = 32;

#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The search starts at the first line that begins at or after this byte.
    pub offset: u64,
    pub end: u64,
    /// The stream has ended, so bytes after the last newline are a line too.
    pub ended: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct SearchLimits {
    pub matches: u32,
    pub context: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub lines: Vec<Line>,
    pub matching: u32,
    pub from: u64,
    /// Offset of the next page. It is at least one line after `from`, unless there was none.
    pub next: u64,
}

#[derive(Debug)]
pub enum Error {
    Read(io::Error),
    TooHard { number: u64, offset: u64 },
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Searches until the page is full or `over` returns true. Context lines that a running job has not written yet are
/// neither awaited nor returned later. [`Error::TooHard`] is only about the first line of the page.
pub fn search(
    text: &impl Text,
    pattern: &Pattern,
    range: Range,
    limits: SearchLimits,
    sizes: Sizes,
    over: impl FnMut() -> bool,
) -> Result<Found, Error> {
    let offset = range.offset.min(range.end);
    let (lines, line) = lines_before(text, offset, sizes)?;
    let part = size(sizes.part);
    // Offset of the last segment that begins before `offset`, or at it.
    let base = line + (offset - line).saturating_sub(1) / part * part;
    let window = Window::new(text, base, range.end, range.ended, sizes);
    let mut search = Search {
        window,
        pattern,
        limits,
        part: sizes.part,
        over,
        at: 0,
        number: lines + 1,
        from: base,
        shown: base,
        earlier: Vec::new(),
        after: 0,
        bytes: 0,
        found: Found::default(),
    };
    if base < offset && !search.skip()? {
        let next = if range.ended { range.end } else { offset };
        return Ok(Found::nothing(next));
    }
    search.run(range.ended)
}

/// Returns the number of newlines before `offset`, and the start of its line.
fn lines_before(text: &impl Text, offset: u64, sizes: Sizes) -> io::Result<(u64, u64)> {
    let mut block = vec![
        0;
        usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(sizes.block)
    ];
    let (mut at, mut lines, mut line) = (0, 0, 0);
    while at < offset {
        let length = usize::try_from(offset - at)
            .unwrap_or(usize::MAX)
            .min(block.len());
        let bytes = block.get_mut(..length).unwrap_or_default();
        let read = fill(|bytes, at| text.read_newlines_at(bytes, at), bytes, at)?;
        if read == 0 {
            break;
        }
        let bytes = block.get(..read).unwrap_or_default();
        lines += size(memchr_iter(b'\n', bytes).count());
        line = memrchr(b'\n', bytes).map_or(line, |last| at + size(last) + 1);
        at += size(read);
    }
    Ok((lines, line))
}

impl Found {
    pub fn nothing(next: u64) -> Self {
        Self {
            from: next,
            next,
            ..Self::default()
        }
    }
}

struct Search<'a, T, O> {
    window: Window<'a, T>,
    pattern: &'a Pattern,
    limits: SearchLimits,
    part: usize,
    over: O,
    /// Index in the window; always the start of a segment.
    at: usize,
    number: u64,
    from: u64,
    /// Lines that begin before this offset are already shown or not requested.
    shown: u64,
    earlier: Vec<Line>,
    after: u32,
    bytes: usize,
    found: Found,
}

impl<T: Text, O: FnMut() -> bool> Search<'_, T, O> {
    /// Skips the segment that begins before the first requested one. Returns false if no whole segment exists.
    fn skip(&mut self) -> io::Result<bool> {
        if !self.window.advance()? {
            return Ok(false);
        }
        let segment = self.segment();
        self.pass(segment);
        self.from = self.position();
        self.shown = self.from;
        Ok(true)
    }

    fn run(mut self, ended: bool) -> Result<Found, Error> {
        let next = loop {
            if self.at >= self.window.bytes().len() {
                self.earlier = self.behind();
                let more = self.window.advance()?;
                self.at = 0;
                if !more {
                    break if ended {
                        self.window.end()
                    } else {
                        self.go_back()
                    };
                }
            }
            let stopped = if self.after > 0 {
                self.follow()
            } else {
                self.find()?
            };
            if let Some(next) = stopped {
                break next;
            }
        };
        self.found.from = self.from;
        self.found.next = next;
        Ok(self.found)
    }

    /// Shows the next segment as context after a match. Returns the offset for the next page if this page is full.
    fn follow(&mut self) -> Option<u64> {
        let segment = self.segment();
        let found = self.pattern.find(self.text(segment));
        match found {
            // The next page reports the error if it still exists there.
            Err(TooHard) => return Some(self.position()),
            Ok(Some(_)) if self.is_full() || (self.over)() => return Some(self.position()),
            Ok(Some(found)) => {
                self.show(segment, Some(found));
                self.after = self.limits.context;
            }
            Ok(None) => {
                self.show(segment, None);
                self.after -= 1;
            }
        }
        self.pass(segment);
        self.shown = self.position();
        None
    }

    fn find(&mut self) -> Result<Option<u64>, Error> {
        if self.is_full() {
            return Ok(Some(self.position()));
        }
        if (self.over)() {
            let next = self.go_back();
            if next > self.from {
                return Ok(Some(next));
            }
        }
        let rest = self.window.bytes().get(self.at..).unwrap_or_default();
        let Some(candidate) = self.pattern.candidate(rest) else {
            self.go_to(self.window.bytes().len());
            return Ok(None);
        };
        let candidate = self.at + candidate;
        self.go_to(segment::start_of(
            self.window.bytes(),
            self.at,
            candidate,
            self.part,
        ));
        let segment = self.segment();
        let Ok(found) = self.pattern.find(self.text(segment)) else {
            return self.give_up();
        };
        if let Some(found) = found {
            for line in self.behind() {
                self.add(line);
            }
            self.show(segment, Some(found));
            self.after = self.limits.context;
            self.pass(segment);
            self.shown = self.position();
        } else {
            self.pass(segment);
        }
        Ok(None)
    }

    fn give_up(&self) -> Result<Option<u64>, Error> {
        let next = self.go_back();
        if next > self.from {
            return Ok(Some(next));
        }
        Err(Error::TooHard {
            number: self.number,
            offset: self.position(),
        })
    }

    fn is_full(&self) -> bool {
        let lines = usize::try_from(self.limits.context)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        let most = lines
            .saturating_add(1)
            .saturating_mul(caps::GREP_LINE + FIELDS);
        self.found.matching >= self.limits.matches || self.bytes.saturating_add(most) > caps::PAGE
    }

    fn position(&self) -> u64 {
        self.window.offset(self.at)
    }

    /// Returns the offset from which the next page can still show the context before a later match.
    fn go_back(&self) -> u64 {
        self.behind()
            .first()
            .map_or(self.position(), |line| line.offset)
    }

    fn behind(&self) -> Vec<Line> {
        let most = usize::try_from(self.limits.context).unwrap_or(usize::MAX);
        let (mut lines, mut start, mut number) = (Vec::new(), self.at, self.number);
        while lines.len() < most && self.window.offset(start) > self.shown {
            let Some((earlier, of_another)) =
                segment::before(self.window.bytes(), start, self.part)
            else {
                let older = self
                    .earlier
                    .iter()
                    .rev()
                    .filter(|line| line.offset >= self.shown);
                lines.extend(older.take(most - lines.len()).cloned());
                break;
            };
            start = earlier;
            number -= u64::from(of_another);
            let segment = segment::at(self.window.bytes(), start, self.part);
            lines.push(segment::cut(
                number,
                self.window.offset(start),
                self.text(segment),
                None,
            ));
        }
        lines.reverse();
        lines
    }

    fn segment(&self) -> Segment {
        segment::at(self.window.bytes(), self.at, self.part)
    }

    fn text(&self, segment: Segment) -> &[u8] {
        self.window
            .bytes()
            .get(segment.start..segment.end)
            .unwrap_or_default()
    }

    fn pass(&mut self, segment: Segment) {
        self.at = segment.next;
        self.number += u64::from(segment.ends_line);
    }

    fn go_to(&mut self, at: usize) {
        let passed = self.window.bytes().get(self.at..at).unwrap_or_default();
        self.number += size(memchr_iter(b'\n', passed).count());
        self.at = at;
    }

    fn show(&mut self, segment: Segment, found: Option<std::ops::Range<usize>>) {
        let offset = self.window.offset(segment.start);
        self.add(segment::cut(self.number, offset, self.text(segment), found));
    }

    fn add(&mut self, line: Line) {
        self.bytes = self.bytes.saturating_add(line.text.len() + FIELDS);
        self.found.matching += u32::from(line.matches);
        self.found.lines.push(line);
    }
}

#[cfg(test)]
mod tests;
