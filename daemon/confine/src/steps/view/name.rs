//! A name in a directory of a view, for the plan of a check. No link is followed.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_spawn::LaidKind;

use crate::sys;

/// A name in a directory of the view.
pub(super) struct NameInView<'a> {
    pub(super) above: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    /// What the plan has found there.
    pub(super) before: Option<LaidKind>,
    /// The owner of the nearest directory above it that the plan does not make.
    pub(super) anchor: u32,
}

impl NameInView<'_> {
    pub(super) fn found(&self) -> io::Result<Option<libc::stat>> {
        match sys::open_plain(self.above, self.name, libc::O_PATH | libc::O_NOFOLLOW) {
            Ok(found) => sys::stat_of(found.as_fd()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens what is there. It does not wait for a FIFO, which the machine can have put there meanwhile.
    pub(super) fn open(&self, flags: i32) -> io::Result<File> {
        let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        sys::open_plain(self.above, self.name, flags).map(File::from)
    }

    /// Fails for more than `most` bytes.
    pub(super) fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        let (mut text, file) = (Vec::new(), self.open(libc::O_RDONLY)?);
        file.take(most as u64 + 1).read_to_end(&mut text)?;
        match text.len() > most {
            true => Err(io::Error::from_raw_os_error(libc::EFBIG)),
            false => Ok(text),
        }
    }

    /// Returns an empty file. One that replaces a file has its attributes but for capabilities, which go with its bytes.
    pub(super) fn new_file(&self) -> io::Result<File> {
        match self.before {
            Some(LaidKind::File) => return self.open(libc::O_WRONLY | libc::O_TRUNC),
            Some(_) => self.unlink(UnlinkatFlags::NoRemoveDir)?,
            None => {}
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(self.above, self.name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(File::from(made))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        let flags = match self.before {
            Some(LaidKind::Directory) => UnlinkatFlags::RemoveDir,
            _ => UnlinkatFlags::NoRemoveDir,
        };
        self.unlink(flags)
    }

    fn unlink(&self, flags: UnlinkatFlags) -> io::Result<()> {
        Ok(unlinkat(self.above, self.name, flags)?)
    }
}

/// Returns `None` for a device, a FIFO or a socket.
pub(super) fn kind(stat: &libc::stat) -> Option<LaidKind> {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Some(LaidKind::File),
        libc::S_IFDIR => Some(LaidKind::Directory),
        libc::S_IFLNK => Some(LaidKind::Link),
        _ => None,
    }
}
