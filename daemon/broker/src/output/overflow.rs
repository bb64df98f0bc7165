//! Overflow of a stream: counted; only its first and last bytes are kept. It goes into a file first, so counts are
//! right even if this process dies at any time; the middle is noted and then punched out. If the disk is full, memory
//! is used; a broker that dies then can lose the count of the last moved bytes.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use memchr::memchr_iter;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::HALF;
use super::splice::{self, CHUNK, Moved};
use super::spool::{LostRange, Note};
use crate::output;

/// Bytes collected before the middle is removed.
const STEP: u64 = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamExtent {
    pub written: u64,
    /// Newlines after the spool file.
    pub lines: u64,
    /// The part that is no longer held. It begins at the end of the spool file, or later if first bytes must be shown.
    pub gap: LostRange,
}

#[derive(Debug)]
enum OverflowStore {
    Disk(Note),
    /// The note is still written if possible.
    Memory(Option<Note>),
}

#[derive(Debug)]
pub struct Overflow {
    file: Arc<File>,
    held: OverflowStore,
    reach: StreamExtent,
}

impl StreamExtent {
    pub fn from(base: u64) -> Self {
        let from = base.max(HALF);
        Self {
            written: base,
            lines: 0,
            gap: LostRange {
                base,
                from,
                to: from,
                lines: 0,
            },
        }
    }

    fn lost(self) -> LostRange {
        let base = self.gap.base;
        LostRange {
            base,
            from: base,
            to: self.written,
            lines: self.lines,
        }
    }
}

impl Overflow {
    pub fn on_disk(file: File, note: Note, reach: StreamExtent) -> Self {
        Self {
            file: Arc::new(file),
            held: OverflowStore::Disk(note),
            reach,
        }
    }

    /// Holds overflow in memory, because the disk takes no file. The content of an earlier file is lost.
    pub fn in_memory(note: Option<Note>, mut reach: StreamExtent) -> Result<Self, Errno> {
        if reach.written > reach.gap.base {
            reach.gap = reach.lost();
        }
        Ok(Self {
            file: Arc::new(memory()?),
            held: OverflowStore::Memory(note),
            reach,
        })
    }

    pub fn reach(&self) -> StreamExtent {
        self.reach
    }

    pub fn memory(&self) -> Option<&Arc<File>> {
        match self.held {
            OverflowStore::Disk(_) => None,
            OverflowStore::Memory(_) => Some(&self.file),
        }
    }

    pub fn is_on_disk(&self) -> bool {
        matches!(self.held, OverflowStore::Disk(_))
    }

    /// Moves one turn from `pipe`. Can block like [`super::splice::splice_chunk`]. EAGAIN: no data.
    pub fn turn(&mut self, pipe: impl AsFd) -> Result<Moved, Errno> {
        self.trim(STEP)?;
        let moved = loop {
            let at = self.reach.written.saturating_sub(self.reach.gap.base);
            match splice::splice_chunk(pipe.as_fd(), &self.file, at, CHUNK) {
                Err(Errno::EAGAIN) => return Err(Errno::EAGAIN),
                Err(Errno::EINTR) => {}
                Err(errno) if !self.is_on_disk() => return Err(errno),
                // Disk full: first remove the middle, then move everything to memory.
                Err(_) => {
                    if !self.trim(1)? {
                        self.move_to_memory()?;
                    }
                }
                Ok(moved) => break moved,
            }
        };
        self.reach.written = self.reach.written.saturating_add(moved.bytes);
        self.reach.lines = self.reach.lines.saturating_add(moved.lines);
        self.note_memory();
        Ok(moved)
    }

    /// Removes the middle if it has at least `least` bytes, and returns true if so. An error: memory is full too.
    pub fn trim(&mut self, least: u64) -> Result<bool, Errno> {
        let to = self.reach.written.saturating_sub(HALF);
        let from = self.reach.gap.to;
        if to < from.saturating_add(least) {
            return Ok(false);
        }
        if let Err(error) = self.give_up(from, to) {
            if !self.is_on_disk() {
                return Err(error);
            }
            self.move_to_memory()?;
        }
        Ok(true)
    }

    fn give_up(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        let [start, end] = [from, to].map(|at| at.saturating_sub(self.reach.gap.base));
        let gap = LostRange {
            to,
            lines: self
                .reach
                .gap
                .lines
                .saturating_add(count_newlines(&self.file, start..end)),
            ..self.reach.gap
        };
        if let OverflowStore::Disk(note) = &self.held {
            note.write(gap).map_err(|error| errno(&error))?;
        }
        // Noted bytes count as removed, even if the punch fails.
        self.reach.gap = gap;
        let [start, length] = [start, end - start].map(i64::try_from);
        let (start, length) = (
            start.map_err(|_| Errno::EFBIG)?,
            length.map_err(|_| Errno::EFBIG)?,
        );
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.file, flags, start, length)
    }

    fn move_to_memory(&mut self) -> Result<(), Errno> {
        let StreamExtent { written, gap, .. } = self.reach;
        let base = gap.base;
        let file = memory()?;
        let end = gap.to.max(written.saturating_sub(HALF)).min(written);
        for (from, to) in [(base, gap.from.min(written)), (end, written)] {
            let bytes = output::read(Some(&*self.file), from - base, to.saturating_sub(from));
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, from - base)
                .map_err(|error| errno(&error))?;
        }
        self.file = Arc::new(file);
        self.reach.gap.to = gap.to.max(end);
        let disk = std::mem::replace(&mut self.held, OverflowStore::Memory(None));
        self.held = match disk {
            OverflowStore::Disk(note) => OverflowStore::Memory(Some(note)),
            memory @ OverflowStore::Memory(_) => memory,
        };
        self.note_memory();
        Ok(())
    }

    fn note_memory(&mut self) {
        let gap = self.reach.lost();
        if let OverflowStore::Memory(Some(note)) = &self.held
            && let Err(error) = note.write(gap)
        {
            tracing::warn!("cannot write down how much output was lost: {error}");
            self.held = OverflowStore::Memory(None);
        }
    }
}

fn memory() -> Result<File, Errno> {
    memfd_create(c"remit-output", MFdFlags::MFD_CLOEXEC).map(File::from)
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

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
