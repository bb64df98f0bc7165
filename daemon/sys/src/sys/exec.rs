//! Calls execve(2) and execveat(2) with arrays made before the fork.

use std::{
    ffi::{CStr, CString},
    io,
    marker::PhantomData,
    os::fd::{AsRawFd, BorrowedFd},
};

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
