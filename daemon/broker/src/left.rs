//! What an earlier broker left of a stream: worked out from sizes and the note of what is lost.

use std::fs::File;

use crate::lines;
use crate::rest::Reach;
use crate::spool::Gap;

/// A stream as it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Bytes in its file.
    pub kept: u64,
    /// Bytes written in all.
    pub written: u64,
    /// What is in no file.
    pub gap: Gap,
    /// Its files were about to be removed.
    pub stale: bool,
    /// Some of what should be in its files is not.
    pub missing: bool,
}

/// Newlines of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// In its file.
    pub kept: u64,
    /// After that.
    pub beyond: u64,
}

impl Lines {
    /// In all.
    pub fn all(&self) -> u64 {
        self.kept.saturating_add(self.beyond)
    }
}

impl Left {
    /// From the sizes of its file and of the file with the rest, and what is noted.
    pub fn of(size: u64, more: u64, gap: Gap) -> Self {
        if gap == Gap::default() {
            return Self {
                kept: size,
                written: size.saturating_add(more),
                ..Self::default()
            };
        }
        // Only a removal notes what is still there, and it notes all of it before the first file goes.
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

    /// Whether more was written than is kept.
    pub fn has_lost(&self) -> bool {
        self.written > self.kept
    }

    /// How far it is beyond its file.
    pub fn reach(&self, lines: Lines) -> Reach {
        let fresh = Reach::from(self.kept);
        Reach {
            written: self.written,
            lines: lines.beyond,
            gap: if self.gap == Gap::default() {
                fresh.gap
            } else {
                self.gap
            },
        }
    }

    /// Counts its lines. May take a while: not for the one thread that serves.
    pub fn count(&self, file: Option<&File>, more: Option<&File>) -> Lines {
        let Reach { gap, written, .. } = self.reach(Lines::default());
        let within = |from: u64, to: u64| {
            let [from, to] = [from, to.min(written)].map(|at| at.saturating_sub(gap.base));
            more.map_or(0, |more| lines::count(more, from..to))
        };
        let beyond = within(gap.base, gap.from).saturating_add(gap.lines);
        Lines {
            kept: file.map_or(0, |file| lines::count(file, 0..self.kept)),
            beyond: beyond.saturating_add(within(gap.to, written)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_note_say_what_was_written() {
        let gap = |base, from, to| Gap {
            base,
            from,
            to,
            lines: 1,
        };
        let none = Gap::default();
        for (size, more, noted, (kept, written, stale, missing)) in [
            (0, 0, none, (0, 0, false, false)),
            (5, 0, none, (5, 5, false, false)),
            (5, 7, none, (5, 12, false, false)),
            // The middle went from the disk.
            (5, 100, gap(5, 7, 90), (5, 105, false, false)),
            // It was held in memory, which is gone.
            (5, 0, gap(5, 5, 90), (5, 90, false, false)),
            (0, 0, gap(0, 0, 90), (0, 90, false, false)),
            // It had just moved there.
            (5, 85, gap(5, 5, 90), (5, 90, false, false)),
            // All was removed, or was about to be.
            (5, 100, gap(0, 0, 105), (0, 105, true, false)),
            (0, 100, gap(0, 0, 105), (0, 105, false, false)),
            // Somebody else removed something.
            (0, 100, gap(5, 7, 90), (0, 105, false, true)),
            (5, 0, gap(5, 7, 90), (5, 90, false, true)),
        ] {
            let left = Left::of(size, more, noted);
            let got = (left.kept, left.written, left.stale, left.missing);
            assert_eq!(
                got,
                (kept, written, stale, missing),
                "{size} {more} {noted:?}"
            );
            assert_eq!(left.has_lost(), written > kept);
        }
    }
}
