//! The state of a stream from an earlier broker, computed from file sizes, newlines in the files, and the note.

use std::fs::File;
use std::ops::Range;

use memchr::memchr_iter;

use super::overflow::StreamExtent;
use super::spool::LostRange;
use crate::output;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveredStream {
    pub kept: u64,
    pub written: u64,
    pub gap: LostRange,
    /// The removal of its files was not finished.
    pub stale: bool,
    /// The files are shorter than the note says.
    pub missing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub kept: u64,
    /// After the spool file.
    pub beyond: u64,
}

impl Lines {
    pub fn all(&self) -> u64 {
        self.kept.saturating_add(self.beyond)
    }
}

impl RecoveredStream {
    pub fn of(size: u64, more: u64, gap: LostRange) -> Self {
        if gap == LostRange::default() {
            return Self {
                kept: size,
                written: size.saturating_add(more),
                ..Self::default()
            };
        }
        // Only a removal sets `base` to 0, and it writes the whole note before it removes the first file.
        let stale = gap.base == 0 && size > 0;
        Self {
            kept: size.min(gap.base),
            written: if stale {
                gap.to
            } else {
                gap.to.max(gap.base.saturating_add(more))
            },
            gap,
            stale,
            missing: size < gap.base || gap.from > gap.base.saturating_add(more),
        }
    }

    pub fn has_lost(&self) -> bool {
        self.written > self.kept
    }

    pub fn reach(&self, lines: Lines) -> StreamExtent {
        let fresh = StreamExtent::from(self.kept);
        StreamExtent {
            written: self.written,
            lines: lines.beyond,
            gap: if self.gap == LostRange::default() {
                fresh.gap
            } else {
                self.gap
            },
        }
    }

    /// Counts the lines. Blocks: not for the serving thread.
    pub fn count(&self, file: Option<&File>, more: Option<&File>) -> Lines {
        let StreamExtent { gap, written, .. } = self.reach(Lines::default());
        let within = |from: u64, to: u64| {
            let [from, to] = [from, to.min(written)].map(|at| at.saturating_sub(gap.base));
            more.map_or(0, |more| count_newlines(more, from..to))
        };
        let beyond = within(gap.base, gap.from).saturating_add(gap.lines);
        Lines {
            kept: file.map_or(0, |file| count_newlines(file, 0..self.kept)),
            beyond: beyond.saturating_add(within(gap.to, written)),
        }
    }
}

const BLOCK: u64 = 256 << 10;

/// Counts newlines in the existing part of a range. Blocks: not for the serving thread.
pub fn count_newlines(file: &File, mut range: Range<u64>) -> u64 {
    let mut lines = 0;
    while !range.is_empty() {
        let bytes = output::read(Some(file), range.start, BLOCK.min(range.end - range.start));
        if bytes.is_empty() {
            break;
        }
        lines += newlines_in(&bytes);
        range.start += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
    lines
}

pub fn newlines_in(bytes: &[u8]) -> u64 {
    u64::try_from(memchr_iter(b'\n', bytes).count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_note_say_what_was_written() {
        let gap = |base, from, to| LostRange {
            base,
            from,
            to,
            lines: 1,
        };
        let none = LostRange::default();
        for (size, more, recorded, (kept, written, stale, missing)) in [
            (0, 0, none, (0, 0, false, false)),
            (5, 0, none, (5, 5, false, false)),
            (5, 7, none, (5, 12, false, false)),
            // The middle was removed from the disk.
            (5, 100, gap(5, 7, 90), (5, 105, false, false)),
            // The overflow was in memory, which is lost.
            (5, 0, gap(5, 5, 90), (5, 90, false, false)),
            (0, 0, gap(0, 0, 90), (0, 90, false, false)),
            // The overflow had just moved to memory.
            (5, 85, gap(5, 5, 90), (5, 90, false, false)),
            // All output was removed, or its removal had begun.
            (5, 100, gap(0, 0, 105), (0, 105, true, false)),
            (0, 100, gap(0, 0, 105), (0, 105, false, false)),
            // Another process removed a file.
            (0, 100, gap(5, 7, 90), (0, 105, false, true)),
            (5, 0, gap(5, 7, 90), (5, 90, false, true)),
        ] {
            let left = RecoveredStream::of(size, more, recorded);
            let got = (left.kept, left.written, left.stale, left.missing);
            assert_eq!(
                got,
                (kept, written, stale, missing),
                "{size} {more} {recorded:?}"
            );
            assert_eq!(left.has_lost(), written > kept);
        }
    }
}
