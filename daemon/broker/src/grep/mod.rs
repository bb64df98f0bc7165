//! Searching a stream, page by page: which lines match, and those around them.
//!
//! Knows bytes, no job. A page ends where its matches are as many as asked for, where its bytes are enough for an
//! answer, or where its time is over; the next one goes on from there and neither repeats nor loses a line. What
//! is in memory does not depend on the length of the stream or of its lines.

mod engine;
mod line;
mod pattern;
mod segment;
mod window;

use std::io;

use memchr::{memchr_iter, memrchr};
use remit_common::caps;
use remit_common::outcome::Line;

use self::engine::TooHard;
pub use self::pattern::Pattern;
use self::segment::Segment;
pub use self::window::{Sizes, Text};
use self::window::{Window, fill, size};

/// As every search but those of tests goes.
pub const SIZES: Sizes = Sizes {
    part: 1 << 20,
    block: 1 << 20,
};
/// What a line costs in an answer beside its text, at most.
const FIELDS: usize = 32;

/// What to search, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// From the first line on that begins here or after.
    pub offset: u64,
    /// Bytes there are.
    pub end: u64,
    /// Nothing will follow them: what stands after the last newline is a line too.
    pub ended: bool,
}

/// How much to answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lines that match, at least one.
    pub matches: u32,
    /// Lines before and after each.
    pub context: u32,
}

/// A page of lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In their order.
    pub lines: Vec<Line>,
    /// How many of them match.
    pub matching: u32,
    /// Where the first line searched begins.
    pub from: u64,
    /// Where the next page goes on. At least one line after `from`, unless there was none.
    pub next: u64,
}

/// Why there is no page.
#[derive(Debug)]
pub enum Error {
    /// The text cannot be read.
    Read(io::Error),
    /// The first line to search takes too long for this pattern.
    TooHard {
        /// Its number.
        number: u64,
        /// Where it begins, or the part of it.
        offset: u64,
    },
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Searches until the page is full or `over` says so.
///
/// Lines after a match that a running job has yet to write are not waited for, and do not come later either.
///
/// # Errors
/// [`Error`].
pub fn search(
    text: &impl Text,
    pattern: &Pattern,
    range: Range,
    limits: Limits,
    sizes: Sizes,
    over: impl FnMut() -> bool,
) -> Result<Found, Error> {
    let offset = range.offset.min(range.end);
    let (lines, line) = lines_before(text, offset, sizes)?;
    let part = size(sizes.part);
    // The last segment that begins before the offset, or the one that begins at it.
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

/// Newlines before `offset`, and where the line of that byte begins.
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
    /// Nothing is there to search.
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
    limits: Limits,
    part: usize,
    over: O,
    /// Where it is, in the window: where a segment begins.
    at: usize,
    /// The number of that line.
    number: u64,
    from: u64,
    /// What begins before this is shown, or not asked for.
    shown: u64,
    /// The last lines before the window that may still be shown.
    earlier: Vec<Line>,
    /// Lines to show after the last match.
    after: u32,
    /// What the lines found take.
    bytes: usize,
    found: Found,
}

impl<T: Text, O: FnMut() -> bool> Search<'_, T, O> {
    /// Leaves out the segment that begins before the first one asked for; false when none is whole.
    fn skip(&mut self) -> io::Result<bool> {
        if !self.window.advance()? {
            return Ok(false);
        }
        let segment = self.segment();
        self.pass(segment);
        self.from = self.place();
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

    /// Shows the next segment, which stands after a match; where to go on if it has to wait for another page.
    fn follow(&mut self) -> Option<u64> {
        let segment = self.segment();
        let found = self.pattern.find(self.text(segment));
        match found {
            // The next page says so, if it cannot help it.
            Err(TooHard) => return Some(self.place()),
            Ok(Some(_)) if self.is_full() || (self.over)() => return Some(self.place()),
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
        self.shown = self.place();
        None
    }

    /// Looks for the next match in the window; where to go on if the page ends before.
    fn find(&mut self) -> Result<Option<u64>, Error> {
        if self.is_full() {
            return Ok(Some(self.place()));
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
            self.shown = self.place();
        } else {
            self.pass(segment);
        }
        Ok(None)
    }

    /// The line here takes too long: the page ends before it, unless it is the first.
    fn give_up(&self) -> Result<Option<u64>, Error> {
        let next = self.go_back();
        if next > self.from {
            return Ok(Some(next));
        }
        Err(Error::TooHard {
            number: self.number,
            offset: self.place(),
        })
    }

    /// Whether another match, with the lines around it, may be too much.
    fn is_full(&self) -> bool {
        let lines = usize::try_from(self.limits.context)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        let most = lines
            .saturating_add(1)
            .saturating_mul(caps::GREP_LINE + FIELDS);
        self.found.matching >= self.limits.matches || self.bytes.saturating_add(most) > caps::PAGE
    }

    /// The place in the stream.
    fn place(&self) -> u64 {
        self.window.offset(self.at)
    }

    /// Where a page begins that can still show what stands before a match to come.
    fn go_back(&self) -> u64 {
        self.behind()
            .first()
            .map_or(self.place(), |line| line.offset)
    }

    /// The last lines before this place that are not shown, as many as may have to be.
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
            lines.push(line::cut(
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

    /// Goes behind a segment, the one it is at.
    fn pass(&mut self, segment: Segment) {
        self.at = segment.next;
        self.number += u64::from(segment.ends_line);
    }

    /// Goes to where another segment of the window begins, or to its end.
    fn go_to(&mut self, at: usize) {
        let passed = self.window.bytes().get(self.at..at).unwrap_or_default();
        self.number += size(memchr_iter(b'\n', passed).count());
        self.at = at;
    }

    fn show(&mut self, segment: Segment, found: Option<std::ops::Range<usize>>) {
        let offset = self.window.offset(segment.start);
        self.add(line::cut(self.number, offset, self.text(segment), found));
    }

    fn add(&mut self, line: Line) {
        self.bytes = self.bytes.saturating_add(line.text.len() + FIELDS);
        self.found.matching += u32::from(line.matches);
        self.found.lines.push(line);
    }
}

#[cfg(test)]
mod tests;
