//! What a child passes on: descriptors that it moves and closes itself, sealed memfds (memfd_create(2)), listening sockets
//! that the service manager hands over (sd_listen_fds(3)), and the arrays of execve(2), made before the fork.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockType, getsockopt, sockopt};

use super::check;

pub fn close_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    Ok(())
}

/// Copies `fd` to number `at`, not close-on-exec. dup3(2) refuses `fd == at`.
pub fn renumber(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    // SAFETY: integers only. The caller means to replace what is open at `at`.
    check(unsafe { libc::dup3(fd.as_raw_fd(), at, 0) }.into())?;
    Ok(())
}

pub fn renumber_cloexec(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    // SAFETY: as in `renumber`.
    check(unsafe { libc::dup3(fd.as_raw_fd(), at, libc::O_CLOEXEC) }.into())?;
    Ok(())
}

pub fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: called once for a number that this process has just filled, or that the service manager handed over.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes the descriptor out of a value that is being dropped. Nothing may use `held` afterwards.
pub fn take_on_drop(held: &mut ManuallyDrop<OwnedFd>) -> OwnedFd {
    // SAFETY: the only caller is a destructor, which runs once and does not use `held` again.
    unsafe { ManuallyDrop::take(held) }
}

/// Copies `fd` to `lowest` or above, close-on-exec. The copy has no owner: `close_from` closes it.
pub fn copy_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: integers only.
    let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    check(new.into())?;
    Ok(borrowed(new))
}

/// Borrows `fd` as `'static`: for a child between fork and exec, which fills such numbers and never closes them.
pub fn borrowed(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: called only with numbers that this process has filled itself or inherited open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

pub fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX)
}

pub fn close_all_but<const N: usize>(mut kept: [RawFd; N]) -> io::Result<()> {
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().filter(|fd| *fd >= 3) {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_from(first)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: integers only. Called in a child in which the owners of these descriptors never run again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

pub fn close_one(fd: RawFd) {
    // SAFETY: integers only. Called in a child in which the owner of the descriptor never runs again.
    unsafe { libc::close(fd) };
}

pub const SEALED: i32 =
    libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Returns a memfd with a script or an input, which nobody can change any more.
pub fn sealed_memfd(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: a name valid for the call.
    let fd =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    check(fd.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(bytes)?;
    file.rewind()?;
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, SEALED) }.into())?;
    Ok(file.into())
}

pub fn is_sealed(fd: impl AsFd) -> bool {
    // SAFETY: integers only; -1 if it is not a memfd.
    let seals = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GET_SEALS) };
    seals != -1 && seals & SEALED == SEALED
}

/// Returns the listening Unix stream socket at number `fd`, made close-on-exec. Fails if `fd` is anything else.
pub fn inherited_listener(fd: i32) -> io::Result<OwnedFd> {
    let refuse = |why: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {fd} {why}"),
        )
    };
    let borrowed = borrowed(fd);
    let kind = getsockopt(&borrowed, sockopt::SockType).map_err(|_| refuse("is not a socket"))?;
    let listens = getsockopt(&borrowed, sockopt::AcceptConn)?;
    let local = nix::sys::socket::getsockname::<nix::sys::socket::SockaddrStorage>(fd)?;
    let unix = nix::sys::socket::SockaddrLike::family(&local) == Some(AddressFamily::Unix);
    if kind != SockType::Stream || !unix || !listens {
        return Err(refuse("is not a listening Unix stream socket"));
    }
    let close = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(borrowed, close)?;
    Ok(owned(fd))
}

#[derive(Clone, Debug)]
pub struct Pointers<'a> {
    raw: Vec<*const libc::c_char>,
    borrowed: PhantomData<&'a [CString]>,
}

impl<'a> Pointers<'a> {
    pub fn new(strings: &'a [CString]) -> Self {
        let raw = strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Self {
            raw,
            borrowed: PhantomData,
        }
    }
}

pub fn execve(program: &CStr, argv: &Pointers<'_>, env: &Pointers<'_>) -> io::Error {
    // SAFETY: a NUL-terminated path and NULL-terminated arrays of NUL-terminated strings, all borrowed for the call.
    unsafe { libc::execve(program.as_ptr(), argv.raw.as_ptr(), env.raw.as_ptr()) };
    io::Error::last_os_error()
}

pub fn execve_open(program: BorrowedFd<'_>, argv: &Pointers<'_>, env: &Pointers<'_>) -> io::Error {
    let (fd, itself) = (program.as_raw_fd(), c"".as_ptr());
    let (argv, env) = (argv.raw.as_ptr(), env.raw.as_ptr());
    // SAFETY: an open descriptor, an empty path, NULL-terminated arrays of NUL-terminated strings, all borrowed here.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            itself,
            argv,
            env,
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}
