//! Overflow of a stream: counted; only its first and last bytes are kept. Overflow also goes into a file first, so
//! counts are right even if this process dies at any time. The middle is noted and then punched out of the file. If
//! the disk is full, memory is used instead; a broker that dies can then lose the count of the last moved bytes.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::output::splice::{self, CHUNK, Moved};
use crate::output::spool::{LostRange, Note};
use crate::output::{self, HALF, recovered};

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

    /// Returns the memory file, if used. A byte is at its distance from the end of the spool file.
    pub fn memory(&self) -> Option<&Arc<File>> {
        match self.held {
            OverflowStore::Disk(_) => None,
            OverflowStore::Memory(_) => Some(&self.file),
        }
    }

    pub fn is_on_disk(&self) -> bool {
        matches!(self.held, OverflowStore::Disk(_))
    }

    /// Moves one turn from `pipe`. Can block like [`super::splice::splice_chunk`].
    /// Errors: EAGAIN if the pipe is empty. Otherwise neither disk nor memory takes more.
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
                .saturating_add(recovered::count_newlines(&self.file, start..end)),
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

    /// Copies first and last bytes into memory. The caller removes the file in the spool.
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
