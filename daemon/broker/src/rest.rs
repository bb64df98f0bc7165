//! What a stream has beyond its file: counted, and of it only the beginning and the end are held.
//!
//! It goes into a file too, as it goes into the first: so it is counted right at whatever instant this process
//! dies. What is neither beginning nor end is punched out of that file again, after it was noted. A disk that is
//! full takes not even that: then the same happens in memory, where a broker that dies may lose count of what it
//! moved last.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::lines;
use crate::output::{self, HALF};
use crate::pipe::{self, CHUNK, Moved};
use crate::spool::{Gap, Note};

/// Bytes that are held before those in the middle go.
const STEP: u64 = 256 << 10;

/// How far a stream is, beyond its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Bytes written in all.
    pub written: u64,
    /// Newlines beyond its file.
    pub lines: u64,
    /// What is not held any more. It begins where the file ends, or later to show the first bytes.
    pub gap: Gap,
}

/// Where it is held.
#[derive(Debug)]
enum Held {
    Disk(Note),
    /// Noted too, so far as that works.
    Memory(Option<Note>),
}

/// The rest of a stream.
#[derive(Debug)]
pub struct Rest {
    file: Arc<File>,
    held: Held,
    reach: Reach,
}

impl Reach {
    /// A stream of which nothing was lost yet, whose file ends at `base`.
    pub fn from(base: u64) -> Self {
        let from = base.max(HALF);
        Self {
            written: base,
            lines: 0,
            gap: Gap {
                base,
                from,
                to: from,
                lines: 0,
            },
        }
    }

    /// All of it, as what is not held.
    fn lost(self) -> Gap {
        let base = self.gap.base;
        Gap {
            base,
            from: base,
            to: self.written,
            lines: self.lines,
        }
    }
}

impl Rest {
    /// In a file of the spool.
    pub fn on_disk(file: File, note: Note, reach: Reach) -> Self {
        Self {
            file: Arc::new(file),
            held: Held::Disk(note),
            reach,
        }
    }

    /// In memory, where the disk takes no file. What a file held before is not held any more.
    ///
    /// # Errors
    /// What memfd_create(2) says.
    pub fn in_memory(note: Option<Note>, mut reach: Reach) -> Result<Self, Errno> {
        if reach.written > reach.gap.base {
            reach.gap = reach.lost();
        }
        Ok(Self {
            file: Arc::new(memory()?),
            held: Held::Memory(note),
            reach,
        })
    }

    /// How far it is.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Where its bytes lie if it is not in the spool, each at its distance from the end of the first file.
    pub fn memory(&self) -> Option<&Arc<File>> {
        match self.held {
            Held::Disk(_) => None,
            Held::Memory(_) => Some(&self.file),
        }
    }

    /// Whether it is in the spool, where a broker that starts later will find it.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.held, Held::Disk(_))
    }

    /// Moves one turn from `pipe`. May wait, as [`pipe::splice_chunk`] may.
    ///
    /// # Errors
    /// EAGAIN when the pipe is empty; else neither disk nor memory takes it.
    pub fn turn(&mut self, pipe: impl AsFd) -> Result<Moved, Errno> {
        self.trim(STEP)?;
        let moved = loop {
            let at = self.reach.written.saturating_sub(self.reach.gap.base);
            match pipe::splice_chunk(pipe.as_fd(), &self.file, at, CHUNK) {
                Err(Errno::EAGAIN) => return Err(Errno::EAGAIN),
                Err(Errno::EINTR) => {}
                Err(errno) if !self.is_on_disk() => return Err(errno),
                // Full. What is in the middle goes at once, or all of it from the disk.
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

    /// Gives up what is in the middle, if it is at least `least` bytes; whether it was.
    ///
    /// # Errors
    /// Memory is full too.
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
        let gap = Gap {
            to,
            lines: self
                .reach
                .gap
                .lines
                .saturating_add(lines::count(&self.file, start..end)),
            ..self.reach.gap
        };
        if let Held::Disk(note) = &self.held {
            note.write(gap).map_err(|error| errno(&error))?;
        }
        // What is noted is given up, whether its bytes still lie there or not.
        self.reach.gap = gap;
        let [start, length] = [start, end - start].map(i64::try_from);
        let (start, length) = (
            start.map_err(|_| Errno::EFBIG)?,
            length.map_err(|_| Errno::EFBIG)?,
        );
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.file, flags, start, length)
    }

    /// Takes the beginning and the end along. The file in the spool is the caller's to remove.
    fn move_to_memory(&mut self) -> Result<(), Errno> {
        let Reach { written, gap, .. } = self.reach;
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
        let disk = std::mem::replace(&mut self.held, Held::Memory(None));
        self.held = match disk {
            Held::Disk(note) => Held::Memory(Some(note)),
            memory @ Held::Memory(_) => memory,
        };
        self.note_memory();
        Ok(())
    }

    /// Notes all that a broker which starts later will not find.
    fn note_memory(&mut self) {
        let gap = self.reach.lost();
        if let Held::Memory(Some(note)) = &self.held
            && let Err(error) = note.write(gap)
        {
            tracing::warn!(%error, "cannot note how much output was lost");
            self.held = Held::Memory(None);
        }
    }
}

fn memory() -> Result<File, Errno> {
    memfd_create(c"remit-output", MFdFlags::MFD_CLOEXEC).map(File::from)
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
