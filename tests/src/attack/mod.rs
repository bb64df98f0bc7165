//! Attempts to change, reach or stall the host from inside a sandbox. Each attack does one thing once and reports the
//! kernel's answer. It must succeed without a sandbox, as the same uid or as root if only root may. A refusal inside
//! is therefore due to the sandbox layer. [`crate::scene`] prepares files, listeners and victims and passes them as
//! arguments. [`allowed`] lists what must still work in a sandbox.

pub mod allowed;
pub mod files;
pub mod hidden;
mod kernel;
mod locks;
mod namespaces;
mod network;
pub mod objects;
pub mod pools;
mod process;
mod raw {
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

    /// Waits for a signal; pause(2) does not exist on newer architectures. Returns an exit status.
    pub fn pause() -> i32 {
        let _ = sys!(libc::SYS_ppoll, 0, 0, 0, 0, 0);
        0
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
}
mod shared;
pub mod strict;
pub mod view;

use std::io;

use serde_json::{Value, json};

/// The errno of a refused attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub i32);

impl Refused {
    fn last() -> Self {
        io::Error::last_os_error().into()
    }

    /// Returns the name in C, such as `EROFS`.
    #[must_use]
    pub fn name(self) -> String {
        errno_name(self.0)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The result of an attempt: a description if it was done, or the refusal.
pub type Tried = Result<String, Refused>;

/// The expected effect of a sandbox on an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Refused with this error.
    Errno(i32),
    /// The kernel kills the process with this signal.
    Killed(i32),
    /// The call returns success, but nothing changes on the host.
    NoEffect,
    /// The attack works, for example because a sandbox layer is missing.
    Done,
}

pub(crate) const GONE: Expect = Expect::Errno(libc::ENOENT);
pub(crate) const NO_PROCESS: Expect = Expect::Errno(libc::ESRCH);
pub(crate) const NOTHING_THERE: Expect = Expect::Errno(libc::EINVAL);
pub(crate) const NO_LISTENER: Expect = Expect::Errno(libc::ECONNREFUSED);
pub(crate) const REFUSED: Expect = Expect::Errno(libc::EPERM);
pub(crate) const READ_ONLY: Expect = Expect::Errno(libc::EROFS);
pub(crate) const NO_ACCESS: Expect = Expect::Errno(libc::EACCES);

impl Expect {
    /// Returns one word for tables.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Errno(errno) => errno_name(errno),
            Self::Killed(signal) => format!("signal {signal}"),
            Self::NoEffect => "no effect".into(),
            Self::Done => "done".into(),
        }
    }
}

/// How the attack succeeds without a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// As the job's uid.
    SameUid,
    /// As root, in new namespaces if a success would change this machine.
    Root,
    /// Never, with the reason.
    Impossible(&'static str),
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Unique name.
    pub id: &'static str,
    /// The sandbox layer that refuses it first.
    pub layer: &'static str,
    /// Result in profile `read`.
    pub expect: Expect,
    /// Result in `read` on a kernel without Landlock.
    pub without_landlock: Expect,
    /// How it succeeds without a sandbox.
    pub control: Control,
    /// Errors of a machine that lacks the target.
    pub absent: &'static [i32],
    /// Description.
    pub what: &'static str,
    /// Performs the attack.
    pub run: fn(&[String]) -> Tried,
}

/// Defines an attack that the same uid can do without a sandbox, and that does not depend on Landlock.
const fn attack(
    id: &'static str,
    layer: &'static str,
    expect: Expect,
    what: &'static str,
    run: fn(&[String]) -> Tried,
) -> Attack {
    let (without_landlock, control) = (expect, Control::SameUid);
    Attack {
        id,
        layer,
        expect,
        without_landlock,
        control,
        absent: &[],
        what,
        run,
    }
}

impl Attack {
    const fn root(mut self) -> Self {
        self.control = Control::Root;
        self
    }

    /// No control is possible, so nothing shows that the check can fail.
    const fn impossible(mut self, why: &'static str) -> Self {
        self.control = Control::Impossible(why);
        self
    }

    const fn optional(mut self) -> Self {
        self.absent = ABSENT;
        self
    }

    /// Many file systems lack the target and return one of these errors.
    const fn absent(mut self, absent: &'static [i32]) -> Self {
        self.absent = absent;
        self
    }

    const fn without_landlock(mut self, expect: Expect) -> Self {
        self.without_landlock = expect;
        self
    }

    /// Returns the attack as one JSON object.
    #[must_use]
    pub fn describe(&self) -> Value {
        let errno = match self.expect {
            Expect::Errno(errno) => Some(errno),
            Expect::Killed(_) | Expect::NoEffect | Expect::Done => None,
        };
        json!({
            "id": self.id,
            "layer": self.layer,
            "expect": self.expect.word(),
            "errno": errno,
            "without_landlock": self.without_landlock.word(),
            "control": match self.control {
                Control::SameUid => "same uid",
                Control::Root => "root",
                Control::Impossible(_) => "none",
            },
            "description": self.what,
        })
    }
}

/// Returns every attack on `read`, ordered by topic.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    [
        files::ATTACKS,
        namespaces::DEVICES,
        process::ATTACKS,
        network::ATTACKS,
        locks::IPC,
        locks::LOCKS,
        shared::ATTACKS,
        pools::ATTACKS,
        namespaces::NAMESPACES,
        kernel::ATTACKS,
        hidden::IDENTITY,
    ]
    .into_iter()
    .flatten()
}

/// Finds an attack by name, including those only on `strict`.
#[must_use]
pub fn named(id: &str) -> Option<&'static Attack> {
    all().chain(hidden::HIDDEN).find(|attack| attack.id == id)
}

/// Returns one JSON line about an attempt.
#[must_use]
pub fn report(id: &str, tried: &Tried) -> Value {
    match tried {
        Ok(detail) => json!({ "id": id, "outcome": "done", "detail": detail }),
        Err(refused) => json!({
            "id": id,
            "outcome": "refused",
            "errno": refused.0,
            "errno_name": refused.name(),
            "detail": io::Error::from_raw_os_error(refused.0).to_string(),
        }),
    }
}

const ABSENT: &[i32] = &[
    libc::ENOSYS,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ENOENT,
    libc::ENODEV,
];

fn errno_name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

fn argument(arguments: &[String], index: usize) -> &str {
    arguments
        .get(index)
        .expect("the scene gives every argument")
}

fn number(arguments: &[String], index: usize) -> i32 {
    argument(arguments, index)
        .parse()
        .expect("the scene gives a number")
}

/// For calls that would harm the machine. Their arguments are deliberately wrong, so these errors mean "permitted".
fn passed_the_check(result: Result<usize, Refused>, harmless: &[i32]) -> Tried {
    match result {
        Ok(_) => Ok("the call was done".into()),
        Err(refused) if harmless.contains(&refused.0) => Ok(format!(
            "permitted, the argument was wrong on purpose: {}",
            refused.name()
        )),
        Err(refused) => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_unique() {
        let mut seen = BTreeSet::new();
        let allowed = super::allowed::all().map(|check| check.id);
        let attacks = super::all().chain(super::hidden::HIDDEN);
        for id in attacks.map(|attack| attack.id).chain(allowed) {
            assert!(seen.insert(id), "'{id}' names two");
        }
    }
}
