//! The journal of a commit on disk: `DIRECTORY/ID/journal`. Its format is in `remit-plan`.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_plan::{Journal, Phase, Plan, PlanDirectories, UndoMark};

const NAME: &CStr = c"journal";
const NEW_NAME: &CStr = c"journal.new";

#[derive(Debug)]
pub struct JournalFile {
    file: File,
    pub id: String,
    /// `DIRECTORY/ID`, where old files are kept.
    pub kept: OwnedFd,
    marks_at: u64,
}

fn directory(at: impl AsFd, id: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, id, flags, Mode::empty())
}

impl JournalFile {
    /// Creates a journal on disk. An id is used once. Also returns the position of its rows.
    pub fn create(
        state: &File,
        id: &str,
        plan: &Plan,
        directories: &PlanDirectories,
    ) -> io::Result<(Self, u64)> {
        mkdirat(state, id, Mode::S_IRWXU)?;
        Self::create_in(state, id, plan, directories).inspect_err(|_| {
            // Nothing was begun. Otherwise the next commit of this plan would find an interrupted one.
            if let Ok(kept) = directory(state, id) {
                let _ = unlinkat(&kept, NEW_NAME, UnlinkatFlags::NoRemoveDir);
                let _ = unlinkat(state, id, UnlinkatFlags::RemoveDir);
            }
        })
    }

    fn create_in(
        state: &File,
        id: &str,
        plan: &Plan,
        directories: &PlanDirectories,
    ) -> io::Result<(Self, u64)> {
        let kept = directory(state, id)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut file = File::from(openat(&kept, NEW_NAME, flags, mode)?);
        let (bytes, rows_at) = Journal::begin(plan, directories);
        file.write_all(&bytes)?;
        file.sync_all()?;
        File::from(kept.try_clone()?).sync_all()?;
        state.sync_all()?;
        // It is whole from here on. The next barrier writes this name to disk.
        renameat2(&kept, NEW_NAME, &kept, NAME, RenameFlags::RENAME_NOREPLACE)?;
        let id = id.to_owned();
        let marks_at = bytes.len() as u64;
        let own = Self {
            file,
            id,
            kept,
            marks_at,
        };
        Ok((own, rows_at))
    }

    /// Opens a journal. `None`: nothing was begun, and what there is of it is removed.
    pub fn open(state: &File, id: &str) -> io::Result<Option<(Self, Journal)>> {
        let kept = directory(state, id)?;
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let (file, is_whole) = match openat(&kept, NAME, flags, Mode::empty()) {
            Err(nix::Error::ENOENT) => (openat(&kept, NEW_NAME, flags, Mode::empty()), false),
            file => (file, true),
        };
        let file = match file {
            Err(nix::Error::ENOENT) => None,
            file => Some(File::from(file?)),
        };
        let mut bytes = Vec::new();
        if let Some(file) = &file {
            file.take(Journal::MOST as u64 + 1)
                .read_to_end(&mut bytes)?;
        }
        let id = id.to_owned();
        match (file, Journal::decode(&bytes)) {
            (Some(file), Ok(read)) => {
                let marks_at = read.marks_at();
                let own = Self {
                    file,
                    id,
                    kept,
                    marks_at,
                };
                Ok(Some((own, read)))
            }
            (Some(_), Err(error)) if is_whole => Err(io::Error::other(error.to_string())),
            _ => {
                let _ = unlinkat(&kept, NEW_NAME, UnlinkatFlags::NoRemoveDir);
                unlinkat(state, id.as_str(), UnlinkatFlags::RemoveDir)?;
                Ok(None)
            }
        }
    }

    pub fn set_phase(&self, phase: Phase) -> io::Result<()> {
        self.file.write_all_at(&[phase as u8], Journal::PHASE)
    }

    /// Sets a phase, on disk before the next step.
    pub fn begin(&self, phase: Phase) -> io::Result<()> {
        self.set_phase(phase)?;
        self.file.sync_data()
    }

    pub fn set_rows(&self, rows_at: u64, rows: &[u8]) -> io::Result<()> {
        self.file.write_all_at(rows, rows_at)
    }

    /// Marks what an undo has found, on disk before the next phase.
    pub fn set_marks(&self, marks: &[UndoMark]) -> io::Result<()> {
        let marks: Vec<u8> = marks.iter().map(|mark| *mark as u8).collect();
        self.set_rows(self.marks_at, &marks)?;
        self.file.sync_data()
    }

    /// Returns the seconds since its last phase by the clock of the machine, 0 if that was set back.
    pub fn age_s(&self) -> u64 {
        let written = self.file.metadata().and_then(|file| file.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok());
        age.map_or(0, |age| age.as_secs())
    }

    pub fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |file| file.len())
    }

    /// Removes a journal with all that is kept beside it.
    pub fn discard(&self, state: &File) {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut dir) = nix::dir::Dir::openat(&self.kept, c".", flags, Mode::empty()) else {
            return;
        };
        for entry in dir.iter().flatten() {
            let name = entry.file_name();
            let is_slot = name.to_bytes().iter().all(u8::is_ascii_digit);
            for flag in [UnlinkatFlags::NoRemoveDir, UnlinkatFlags::RemoveDir] {
                let _ = is_slot.then(|| unlinkat(&self.kept, name, flag));
            }
        }
        self.remove(state);
    }

    /// Removes a journal that nothing needs any more. What else lies beside it stays.
    pub fn remove(&self, state: &File) {
        // `.`, `..` and the journal.
        if count(&self.kept).is_ok_and(|count| count == 3) {
            for name in [NAME, NEW_NAME] {
                let _ = unlinkat(&self.kept, name, UnlinkatFlags::NoRemoveDir);
            }
            let _ = unlinkat(state, self.id.as_str(), UnlinkatFlags::RemoveDir);
        }
    }
}

pub fn is_id(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 32 && text.bytes().all(is_hex)
}

/// Counts the names in a directory, with `.` and `..`.
pub fn count(dir: impl AsFd) -> io::Result<usize> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir = nix::dir::Dir::openat(dir, c".", flags, Mode::empty())?;
    dir.iter()
        .try_fold(0, |count, name| name.map(|_| count + 1))
        .map_err(io::Error::from)
}
