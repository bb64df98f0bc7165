//! Checks inside the sandbox that files are as they were at the approval of their run. It checks with the job's own
//! identity, as the last action before its exec: what the job cannot read is not executed. Only files that nobody but
//! root can change pass, so a checked file stays the same until the program that names it opens it. Allocates nothing.

use crate::steps::report::Fault;
use crate::steps::trust;
use crate::sys;
use remit_spawn::{Measured, Why};
use sha2::{Digest, Sha256};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// First bytes of every file that the kernel loads itself. elf(5).
const ELF: &[u8] = b"\x7fELF";

const PIECE: usize = 64 << 10;

pub(crate) struct Checked {
    pub(crate) file: OwnedFd,
    pub(crate) is_elf: bool,
}

/// Checks every file, the program, which is the first, last. `None`: there are none.
pub(crate) fn check(all: &[Measured]) -> Result<Option<Checked>, Fault> {
    let mut program = None;
    for (at, file) in all.iter().enumerate().rev() {
        let at = u16::try_from(at).unwrap_or(u16::MAX);
        program = Some(check_one(file).map_err(|fault| fault.at(at))?);
    }
    Ok(program)
}

/// Opens the file and compares it. Follows links, as an exec does: a changed link leads to another inode.
fn check_one(expected: &Measured) -> Result<Checked, Fault> {
    // First by name, so that nothing else is opened: it could be a FIFO.
    let stat = sys::stat(&expected.path).map_err(|e| unseen(&e))?;
    compare(expected, &stat)?;
    if !trust::of_program(&expected.path, 0) {
        return Err(Fault::because(Why::Untrusted));
    }
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = sys::open(&expected.path, flags).map_err(|e| unseen(&e))?;
    compare(expected, &sys::stat_of(file.as_fd())?)?;
    let is_elf = read(expected, &file)?;
    compare(expected, &sys::stat_of(file.as_fd())?)?;
    Ok(Checked { file, is_elf })
}

fn compare(expected: &Measured, stat: &libc::stat) -> Result<(), Fault> {
    let ctime_ns = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    let same = stat.st_mode & libc::S_IFMT == libc::S_IFREG
        && (stat.st_dev, stat.st_ino, ctime_ns) == (expected.dev, expected.ino, expected.ctime_ns)
        && u64::try_from(stat.st_size) == Ok(expected.size);
    match same {
        true => Ok(()),
        false => Err(Fault::because(Why::Changed)),
    }
}

// Inlined, it would make each job touch the stack that the buffer needs.
#[inline(never)]
fn read(expected: &Measured, file: &OwnedFd) -> Result<bool, Fault> {
    let mut sha256 = Sha256::new();
    let mut buf = [0u8; PIECE];
    let mut total = 0u64;
    let mut is_elf = false;
    while total <= expected.size {
        let n = match sys::read(file.as_fd(), &mut buf) {
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
    match total == expected.size && sha256.finalize()[..] == expected.sha256 {
        true => Ok(is_elf),
        false => Err(Fault::because(Why::Changed)),
    }
}

fn unseen(error: &io::Error) -> Fault {
    let errno = error.raw_os_error().unwrap_or(0);
    let why = match errno {
        libc::EACCES | libc::EPERM => Why::Unreadable,
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO => Why::Changed,
        _ => Why::Errno,
    };
    Fault::because(why).with_errno(errno)
}
