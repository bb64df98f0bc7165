//! System calls without a C wrapper. An attack must reach the kernel exactly as written. A C library that checks
//! arguments, falls back to another call or keeps state would hide the answer. All unsafe attack code is here.
#![allow(unsafe_code)]

use std::ffi::{CString, c_long};

use super::Refused;

/// A value that fits in one register.
pub trait Word {
    /// Returns the register's value. Integers are sign-extended, as in the C library.
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

/// Makes one system call with up to six words. Missing ones are 0. Use it through [`sys!`].
pub fn call(number: c_long, args: &[usize]) -> Result<usize, Refused> {
    let mut words = [0; 6];
    words[..args.len()].copy_from_slice(args);
    let [a, b, c, d, e, f] = words;
    // SAFETY: each pointer refers to a value that outlives this call and is as large as the call writes. The attack
    // program has one thread, so nothing else uses that memory.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| Refused::last())
}

/// `sys!(NUMBER, a, b, …)`: one system call in one expression, so temporaries behind pointers live until it returns.
macro_rules! sys {
    ($number:expr $(, $word:expr)* $(,)?) => {
        $crate::attack::raw::call($number, &[$($crate::attack::raw::Word::word($word)),*])
    };
}
pub(crate) use sys;

pub fn path(text: &str) -> CString {
    CString::new(text).expect("paths of the tests have no NUL")
}

pub fn zeroed<T: Plain>() -> T {
    // SAFETY: `Plain` is only implemented for structures of integers and raw pointers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

/// Structures of integers and raw pointers only.
pub trait Plain {}
impl Plain for libc::timex {}
impl Plain for libc::flock {}
impl Plain for libc::statx {}
impl Plain for libc::mq_attr {}
impl Plain for libc::sched_param {}

/// Forks. The child runs `body` and exits with its result.
pub fn fork(body: impl FnOnce() -> i32) -> Result<i32, Refused> {
    // SAFETY: the attack program has one thread, so no other thread can hold a lock.
    match unsafe { libc::fork() } {
        -1 => Err(Refused::last()),
        0 => std::process::exit(body()),
        child => Ok(child),
    }
}

pub fn wait(child: i32) -> Result<i32, Refused> {
    let mut status = 0;
    sys!(libc::SYS_wait4, child, &raw mut status, 0, 0)?;
    Ok(status)
}

/// Calls getpid(2) by the 32-bit system call table (`int 0x80`), which 64-bit code may also use.
#[cfg(target_arch = "x86_64")]
pub fn int80_getpid() -> i32 {
    let result: i32;
    // SAFETY: `int 0x80` reads registers and only writes those that are declared. getpid takes no argument.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// Maps a writable page, copies `code` into it, makes it executable and calls it.
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
    // SAFETY: the page was just mapped writable, is larger than the code, and has no other reference.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len()) };
    sys!(
        libc::SYS_mprotect,
        at,
        page,
        libc::PROT_READ | libc::PROT_EXEC
    )?;
    // SAFETY: the page holds a complete C function without arguments that returns an int.
    let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(at as *const ()) };
    Ok(function())
}
