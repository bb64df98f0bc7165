//! System calls without a wrapper between them and the kernel.
//!
//! An attack must reach the kernel exactly as written: a C library that checks
//! arguments, falls back to another call or keeps state would hide what the
//! kernel answers. All unsafe code of the attack program is here.
#![allow(unsafe_code)]

use std::ffi::{CString, c_long};

use super::Refused;

/// Something that fits in one register.
pub trait Word {
    /// The register's value; integers are sign-extended as the C library does.
    fn word(self) -> usize;
}

macro_rules! words {
    ($($type:ty),*) => {$(
        impl Word for $type {
            fn word(self) -> usize {
                self as usize
            }
        }
    )*};
}
words!(i32, u32, i64, u64, usize);

impl<T> Word for *const T {
    fn word(self) -> usize {
        self as usize
    }
}

impl<T> Word for *mut T {
    fn word(self) -> usize {
        self as usize
    }
}

/// One system call with up to six words; the missing ones are 0. Use it through [`sys!`].
pub fn call(number: c_long, given: &[usize]) -> Result<usize, Refused> {
    let mut words = [0; 6];
    words[..given.len()].copy_from_slice(given);
    let [a, b, c, d, e, f] = words;
    // SAFETY: every pointer among the words comes from a value that outlives this call and is as large as the call
    // writes; the attack program has one thread, so nothing else uses that memory meanwhile.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| Refused::last())
}

/// `sys!(NUMBER, a, b, …)`: one system call, in one expression, so that what a word points to lives until it is over.
macro_rules! sys {
    ($number:expr $(, $word:expr)* $(,)?) => {
        $crate::attack::raw::call($number, &[$($crate::attack::raw::Word::word($word)),*])
    };
}
pub(crate) use sys;

/// A path for the kernel.
pub fn path(text: &str) -> CString {
    CString::new(text).expect("paths of the tests have no NUL")
}

/// A structure of the kernel's with every byte zero.
pub fn zeroed<T: Plain>() -> T {
    // SAFETY: the marker trait is given only to structures of integers and raw pointers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Structures of integers and raw pointers only.
pub trait Plain {}
impl Plain for libc::timex {}
impl Plain for libc::flock {}
impl Plain for libc::statx {}
impl Plain for libc::mq_attr {}
impl Plain for libc::sched_param {}

/// Forks; the child runs `body` and exits with what it returns. Gives the child's pid.
pub fn fork(body: impl FnOnce() -> i32) -> Result<i32, Refused> {
    // SAFETY: the attack program has one thread, so no lock can be held by another one.
    match unsafe { libc::fork() } {
        -1 => Err(Refused::last()),
        0 => std::process::exit(body()),
        child => Ok(child),
    }
}

/// Waits for a child and gives its wait status.
pub fn wait(child: i32) -> Result<i32, Refused> {
    let mut status = 0;
    sys!(libc::SYS_wait4, child, &raw mut status, 0, 0)?;
    Ok(status)
}

/// getpid(2) by the number table of 32-bit programs (`int 0x80`), which 64-bit code may enter too.
#[cfg(target_arch = "x86_64")]
pub fn int80_getpid() -> i32 {
    let result: i32;
    // SAFETY: the gate reads registers and writes rax only; getpid takes no argument.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// Maps one page that may be written and executed, puts `code` in it and calls it.
pub fn execute_mapped(code: &[u8]) -> Result<i32, Refused> {
    let (page, prot) = (4096, libc::PROT_READ | libc::PROT_WRITE);
    let at = sys!(
        libc::SYS_mmap,
        0,
        page,
        prot,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
        0
    )?;
    // SAFETY: the page was just mapped writable, is larger than the code, and nobody else knows it.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len()) };
    sys!(
        libc::SYS_mprotect,
        at,
        page,
        libc::PROT_READ | libc::PROT_EXEC
    )?;
    // SAFETY: the page holds a whole function of the C calling convention that takes nothing and gives an int.
    let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(at as *const ()) };
    Ok(function())
}
