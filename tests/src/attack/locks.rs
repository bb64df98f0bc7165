//! Attacks by locks on files of the host, which would make other processes wait. The test inspects a held lock: after
//! taking it, an attack opens the gate, a FIFO, and blocks until the test closes it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

use super::raw::{sys, zeroed};
use super::{Attack, Expect, Refused, Tried, argument, attack};

/// Programs only need success from their lock calls. No other process may be affected.
const NOT_HELD: Expect = Expect::NoEffect;

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("flock", "seccomp_locks", NOT_HELD, "hold a shared flock", flock),
    attack("fcntl-lock", "seccomp_locks", NOT_HELD, "hold a read lock", fcntl_lock),
    attack("fcntl-lock-wait", "seccomp_locks", NOT_HELD, "hold a read lock, waiting for it", fcntl_lock_wait),
    attack("ofd-lock", "seccomp_locks", NOT_HELD, "hold a read lock of its open file", ofd_lock),
    attack("lease", "seccomp_locks", Expect::Errno(libc::EPERM), "hold a lease, which delays who opens the file", lease),
];

fn hold(arguments: &[String], take: impl FnOnce(i32) -> Result<usize, Refused>) -> Tried {
    let file = File::open(argument(arguments, 0))?;
    take(file.as_raw_fd())?;
    let mut nothing = Vec::new();
    File::open(argument(arguments, 1))?.read_to_end(&mut nothing)?;
    Ok("held".into())
}

fn flock(arguments: &[String]) -> Tried {
    hold(arguments, |fd| sys!(libc::SYS_flock, fd, libc::LOCK_SH))
}

fn record_lock(fd: i32, command: i32) -> Result<usize, Refused> {
    let mut whole: libc::flock = zeroed();
    whole.l_type = libc::F_RDLCK as i16;
    sys!(libc::SYS_fcntl, fd, command, &raw const whole)
}

fn fcntl_lock(arguments: &[String]) -> Tried {
    hold(arguments, |fd| record_lock(fd, libc::F_SETLK))
}

fn fcntl_lock_wait(arguments: &[String]) -> Tried {
    hold(arguments, |fd| record_lock(fd, libc::F_SETLKW))
}

fn ofd_lock(arguments: &[String]) -> Tried {
    hold(arguments, |fd| record_lock(fd, libc::F_OFD_SETLK))
}

/// The kernel signals the holder of a lease if another process opens the file. SIGURG is ignored by default.
fn lease(arguments: &[String]) -> Tried {
    const F_SETSIG: i32 = 10;
    hold(arguments, |fd| {
        sys!(libc::SYS_fcntl, fd, F_SETSIG, libc::SIGURG)?;
        sys!(libc::SYS_fcntl, fd, libc::F_SETLEASE, libc::F_RDLCK)
    })
}

/// Asserts that each lock call returns success, for the checks of [`super::allowed`].
pub fn all_answer(name: &str) -> Tried {
    let file = File::open(name)?;
    let fd = file.as_raw_fd();
    sys!(libc::SYS_flock, fd, libc::LOCK_EX)?;
    sys!(libc::SYS_flock, fd, libc::LOCK_UN)?;
    for command in [
        libc::F_SETLK,
        libc::F_SETLKW,
        libc::F_OFD_SETLK,
        libc::F_OFD_SETLKW,
    ] {
        record_lock(fd, command)?;
    }
    let mut question: libc::flock = zeroed();
    question.l_type = libc::F_WRLCK as i16;
    sys!(libc::SYS_fcntl, fd, libc::F_GETLK, &raw mut question)?;
    Ok("all answered".into())
}
