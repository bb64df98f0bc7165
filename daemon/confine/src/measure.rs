//! Files as they were when somebody approved a run of them, looked at once more inside the sandbox.
//!
//! By the job's own identity, as the last thing before its exec: what it cannot read is not executed.
//! Only files that root alone can change pass, so what was looked at stays so until the program that
//! names it has opened it. No allocation.

use crate::floor;
use crate::notes::Fault;
use crate::steps::Why;
use crate::trust;
use sha2::{Digest, Sha256};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, OwnedFd},
};

/// A file that an approval covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Absolute; the name by which the job has it.
    pub path: CString,
    /// Its device and inode (stat(2)).
    pub dev: u64,
    /// See `dev`.
    pub ino: u64,
    /// Its change time in nanoseconds since 1970: nobody can set it back.
    pub ctime_ns: i128,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}

/// What every file that the kernel loads itself begins with. elf(5).
const ELF: &[u8] = b"\x7fELF";

/// Read at a time.
const PIECE: usize = 64 << 10;

/// A program that is what was approved.
pub(crate) struct Checked {
    /// Open on it.
    pub(crate) file: OwnedFd,
    pub(crate) is_elf: bool,
}

/// Looks at every file, the program, which is the first, last. `None`: there are none.
pub(crate) fn check(all: &[Measured]) -> Result<Option<Checked>, Fault> {
    let mut program = None;
    for (at, file) in all.iter().enumerate().rev() {
        let at = u16::try_from(at).unwrap_or(u16::MAX);
        program = Some(file.check().map_err(|fault| fault.at(at))?);
    }
    Ok(program)
}

impl Measured {
    /// Opens the file and compares. Links are followed, as an exec does: one that leads elsewhere
    /// now leads to another inode.
    fn check(&self) -> Result<Checked, Fault> {
        // First by name, so that nothing is opened that is not the file: it could be a FIFO.
        let stat = floor::stat(&self.path).map_err(|e| unseen(&e))?;
        self.compare(&stat)?;
        if !trust::of_program(&self.path, 0) {
            return Err(Fault::because(Why::Untrusted));
        }
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = floor::open(&self.path, flags).map_err(|e| unseen(&e))?;
        self.compare(&floor::stat_of(file.as_fd())?)?;
        let is_elf = self.read(&file)?;
        self.compare(&floor::stat_of(file.as_fd())?)?;
        Ok(Checked { file, is_elf })
    }

    fn compare(&self, stat: &libc::stat) -> Result<(), Fault> {
        let ctime_ns = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
        let same = stat.st_mode & libc::S_IFMT == libc::S_IFREG
            && (stat.st_dev, stat.st_ino, ctime_ns) == (self.dev, self.ino, self.ctime_ns)
            && u64::try_from(stat.st_size) == Ok(self.size);
        match same {
            true => Ok(()),
            false => Err(Fault::because(Why::Changed)),
        }
    }

    /// Compares the content. Answers whether it is an ELF file.
    // As a part of its caller it would have each job touch the stack that its piece needs.
    #[inline(never)]
    fn read(&self, file: &OwnedFd) -> Result<bool, Fault> {
        let mut sha256 = Sha256::new();
        let mut buf = [0u8; PIECE];
        let mut total = 0u64;
        let mut is_elf = false;
        while total <= self.size {
            let n = match floor::read(file.as_fd(), &mut buf) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            let piece = buf.get(..n).unwrap_or_default();
            is_elf |= total == 0 && piece.starts_with(ELF);
            sha256.update(piece);
            total += n as u64;
        }
        match total == self.size && sha256.finalize()[..] == self.sha256 {
            true => Ok(is_elf),
            false => Err(Fault::because(Why::Changed)),
        }
    }
}

/// Why a file cannot be looked at: it is not there, or not for this identity.
fn unseen(error: &io::Error) -> Fault {
    let errno = error.raw_os_error().unwrap_or(0);
    let why = match errno {
        libc::EACCES | libc::EPERM => Why::Unreadable,
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO => Why::Changed,
        _ => Why::Errno,
    };
    Fault::because(why).with_errno(errno)
}
