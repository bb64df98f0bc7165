//! Attacks by locks on files of the host, which would make other processes wait, and on System V and POSIX IPC: objects that
//! outlive the job or belong to another user. The test inspects a held lock: after taking it, an attack opens the gate, a
//! FIFO, and blocks until the test closes it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

use super::REFUSED;
use super::raw::{path, sys, zeroed};
use super::{Attack, Expect, Refused, Tried, argument, attack, number};

/// Programs only need success from their lock calls. No other process may be affected.
const NOT_HELD: Expect = Expect::NoEffect;

#[rustfmt::skip] // a table, one row a line
pub const LOCKS: &[Attack] = &[
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

#[rustfmt::skip] // a table, one row a line
pub const IPC: &[Attack] = &[
    attack("shmget", "seccomp_ipc", REFUSED, "make a System V segment", shmget),
    attack("semget", "seccomp_ipc", REFUSED, "make a System V semaphore", semget),
    attack("msgget", "seccomp_ipc", REFUSED, "make a System V queue", msgget),
    attack("shmat", "seccomp_ipc", REFUSED, "write into a System V segment", shmat),
    attack("semop", "seccomp_ipc", REFUSED, "take a System V semaphore", semop),
    attack("msgsnd", "seccomp_ipc", REFUSED, "send into a System V queue", msgsnd),
    attack("sem-setval", "seccomp_ipc", REFUSED, "set a world-writable System V semaphore", sem_setval),
    attack("shm-remove", "seccomp_ipc", REFUSED, "remove a System V segment", shm_remove),
    attack("sem-remove", "seccomp_ipc", REFUSED, "remove a System V semaphore", sem_remove),
    attack("msg-remove", "seccomp_ipc", REFUSED, "remove a System V queue", msg_remove),
    attack("mq-open", "seccomp_ipc", REFUSED, "make a POSIX queue", mq_open),
    attack("mq-unlink", "seccomp_ipc", REFUSED, "remove a POSIX queue", mq_unlink),
];

const MAKE: i32 = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;

fn shmget(arguments: &[String]) -> Tried {
    sys!(libc::SYS_shmget, number(arguments, 0), 4096, MAKE)?;
    Ok("made".into())
}

fn semget(arguments: &[String]) -> Tried {
    sys!(libc::SYS_semget, number(arguments, 0), 1, MAKE)?;
    Ok("made".into())
}

fn msgget(arguments: &[String]) -> Tried {
    sys!(libc::SYS_msgget, number(arguments, 0), MAKE)?;
    Ok("made".into())
}

fn shmat(arguments: &[String]) -> Tried {
    sys!(libc::SYS_shmat, number(arguments, 0), 0, 0)?;
    Ok("attached for writing".into())
}

fn semop(arguments: &[String]) -> Tried {
    let take = libc::sembuf {
        sem_num: 0,
        sem_op: 1,
        sem_flg: libc::IPC_NOWAIT as i16,
    };
    sys!(libc::SYS_semop, number(arguments, 0), &raw const take, 1)?;
    Ok("changed".into())
}

fn msgsnd(arguments: &[String]) -> Tried {
    let message = [1_i64, 0];
    sys!(
        libc::SYS_msgsnd,
        number(arguments, 0),
        message.as_ptr(),
        8,
        libc::IPC_NOWAIT
    )?;
    Ok("sent".into())
}

fn sem_setval(arguments: &[String]) -> Tried {
    sys!(
        libc::SYS_semctl,
        number(arguments, 0),
        0,
        16, /* SETVAL */
        7
    )?;
    Ok("changed".into())
}

fn shm_remove(arguments: &[String]) -> Tried {
    sys!(libc::SYS_shmctl, number(arguments, 0), libc::IPC_RMID, 0)?;
    Ok("removed".into())
}

fn sem_remove(arguments: &[String]) -> Tried {
    sys!(libc::SYS_semctl, number(arguments, 0), 0, libc::IPC_RMID, 0)?;
    Ok("removed".into())
}

fn msg_remove(arguments: &[String]) -> Tried {
    sys!(libc::SYS_msgctl, number(arguments, 0), libc::IPC_RMID, 0)?;
    Ok("removed".into())
}

/// The queue persists after the process, even if mq_open returns an error.
fn mq_open(arguments: &[String]) -> Tried {
    let mut sizes: libc::mq_attr = zeroed();
    (sizes.mq_maxmsg, sizes.mq_msgsize) = (1, 8);
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    sys!(
        libc::SYS_mq_open,
        path(argument(arguments, 0)).as_ptr(),
        flags,
        0o600,
        &raw const sizes
    )?;
    Ok("made".into())
}

fn mq_unlink(arguments: &[String]) -> Tried {
    sys!(libc::SYS_mq_unlink, path(argument(arguments, 0)).as_ptr())?;
    Ok("removed".into())
}
