//! Pids that mean the same inside a job and in the host's `/proc`.
//!
//! A job sees the host's `/proc`, but its own pids are those of the jobs' namespace. Programs
//! look themselves up there by getpid(2): without this, `ps` of procps ends with "fatal library
//! error, lookup self" wherever `/proc` has no entry of that number by luck. So a job gets
//! the same free pid in both namespaces, and its children count on from there, as the host's do.
//! They stay in step for as long as nobody else forks in between: a script on a busy machine can
//! still see a stranger, or nobody, under its own number. No wall rests on any of this.

use crate::floor::{self, ForkCall, Parent};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::FileExt,
};

/// `ns_last_pid` (proc_sys_kernel(5)): of the pid namespace of whoever reads or writes it.
#[derive(Debug)]
pub(crate) struct LastPid(File);

/// Free numbers are tried up to here beyond the last one given.
const TRIES: i32 = 16;

impl LastPid {
    /// Opens it. Containers often have a read-only `/proc/sys`: then in a `/proc` mounted for
    /// this descriptor alone. `None` where the kernel has none.
    pub(crate) fn open() -> Option<LastPid> {
        let path = c"/proc/sys/kernel/ns_last_pid";
        let own = || {
            let proc = floor::detached_proc()?;
            floor::open_at(Some(proc.as_fd()), c"sys/kernel/ns_last_pid", libc::O_RDWR)
        };
        let file = floor::open(path, libc::O_RDWR).or_else(|_| own()).ok()?;
        Some(LastPid(file.into()))
    }

    /// Pids likely to be free in both namespaces, as numbers and as text for `follow`.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = (i32, String)> {
        let mut text = [0; 16];
        let read = self.0.read_at(&mut text, 0).unwrap_or(0);
        let text = text.get(..read).unwrap_or_default();
        let last = std::str::from_utf8(text)
            .ok()
            .and_then(|t| t.trim().parse::<i32>().ok());
        let numbers = last.map(|last| (1..=TRIES).filter_map(move |n| last.checked_add(n)));
        numbers
            .into_iter()
            .flatten()
            .map(|pid| (pid, pid.to_string()))
    }

    /// In the child: the next pid given in its namespace is the one after `pid`.
    pub(crate) fn follow(&self, pid: &str) -> io::Result<()> {
        self.0.write_all_at(pid.as_bytes(), 0)
    }
}
/// Forks with the same pid in both namespaces where that can be had, else with any.
pub(crate) fn fork_in_step(
    last_pid: Option<&LastPid>,
    call: ForkCall,
    cgroup: Option<BorrowedFd<'_>>,
    parent: Parent,
    child: impl FnOnce() -> i32,
) -> io::Result<(i32, OwnedFd)> {
    let last_pid = last_pid.filter(|_| call == ForkCall::Clone3).into_iter();
    for (last_pid, (pid, text)) in last_pid.flat_map(|l| l.candidates().map(move |c| (l, c))) {
        match floor::fork_as(call, cgroup, Some(&[pid, pid]), parent) {
            Ok(Some(forked)) => return Ok(forked),
            Ok(None) => {
                // Out of step is no reason not to run.
                let _ = last_pid.follow(&text);
                floor::exit(child())
            }
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            // A kernel or container that does not let us choose.
            Err(_) => break,
        }
    }
    match floor::fork_as(call, cgroup, None, parent)? {
        Some(forked) => Ok(forked),
        None => floor::exit(child()),
    }
}
