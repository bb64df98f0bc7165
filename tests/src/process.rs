//! Starting processes as somebody else, and finding the processes of somebody.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Real, effective and saved uid.
    pub uid: u32,
    /// Real, effective and saved gid.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// A user whose group has the same number.
    #[must_use]
    pub fn new(uid: u32, groups: &[u32]) -> Self {
        Self {
            uid,
            gid: uid,
            groups: groups.to_vec(),
        }
    }

    /// Has `command` run as this user.
    pub fn runs(&self, command: &mut Command) {
        let Self { uid, gid, groups } = self.clone();
        // SAFETY: between fork and exec only system calls are made; the vector was allocated before.
        unsafe { command.pre_exec(move || become_user(uid, gid, &groups)) };
    }

    /// Changes only the calling thread, as the kernel does it: the C library would change all threads.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn adopt(&self) -> io::Result<()> {
        become_user(self.uid, self.gid, &self.groups)
    }
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads as many numbers as the slice has.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: three numbers, no memory.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: three numbers, no memory.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

fn check(result: i64) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has `command` run in namespaces of its own, in which root may change what is not shared with this machine.
pub fn in_fresh_namespaces(command: &mut Command) {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET;
    let enter = move || {
        unshare(all)?;
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(enter) };
}

/// Has `command` run in the cgroup behind this door.
pub fn enters(command: &mut Command, door: OwnedFd) {
    let enter = move || {
        // SAFETY: one byte of a constant is read.
        let written = unsafe { libc::write(door.as_raw_fd(), b"0".as_ptr().cast(), 1) };
        if written == 1 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec one system call is made.
    unsafe { command.pre_exec(enter) };
}

/// Has `command` inherit one descriptor too many: 9, the same as its standard input.
pub fn leak_descriptor(command: &mut Command) {
    let leak = || {
        // SAFETY: two numbers, no memory.
        let leaked = unsafe { libc::dup2(0, 9) };
        if leaked == 9 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec one system call is made.
    unsafe { command.pre_exec(leak) };
}

/// A process as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid here.
    pub pid: i32,
    /// Its parent's pid here.
    pub parent: i32,
    /// Its effective uid.
    pub uid: u32,
    /// Its pid in each pid namespace from here inwards.
    pub nspid: Vec<i32>,
    /// One letter: Z is a zombie.
    pub state: char,
    /// Its name.
    pub name: String,
}

impl Process {
    /// The process of this pid, if there is one.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status
                .lines()
                .find(|line| line.split(':').next() == Some(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Some(Self {
            pid,
            parent: field("PPid")?.parse().ok()?,
            uid: field("Uid")?.split_whitespace().nth(1)?.parse().ok()?,
            nspid: field("NSpid")?
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect(),
            state: field("State")?.chars().next()?,
            name: field("Name")?,
        })
    }
}

/// Whether it executes nothing any more, though somebody may not have reaped it yet, or what it waits for: the init of
/// a pid namespace waits for whoever was in there.
#[must_use]
pub fn is_dead(pid: i32) -> bool {
    const PF_EXITING: u32 = 4;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // proc_pid_stat(5): behind the name, the flags are the seventh field.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let flags = behind.split_whitespace().nth(6);
    let flags = flags.and_then(|flags| flags.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

impl Process {
    /// Whether it is in a cgroup of jobs: a job's, a witness's, or that of a job to come.
    #[must_use]
    pub fn is_of_jobs(&self) -> bool {
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        cgroup.contains("/jobs-of-remit-")
    }

    /// Whether it is the keeper of a daemon, and alive.
    #[must_use]
    pub fn is_keeper(&self) -> bool {
        self.name == "remit-keeper" && self.state != 'Z'
    }
}

/// Every process there is now.
#[must_use]
pub fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::of)
        .collect()
}

/// A field of /proc/PID/status, trimmed.
#[must_use]
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Everything below `root` in the tree of processes.
#[must_use]
pub fn descendants(root: i32) -> Vec<Process> {
    let all = processes();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

/// A handle of a process; `None` when it is gone.
#[must_use]
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: two numbers, no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until `pid` has ended, at most `ms` milliseconds; whether it has.
#[must_use]
pub fn ends_within(pid: i32, ms: u16) -> bool {
    pidfd(pid).is_none_or(|process| has_ended_within(&process, ms))
}

/// The same of a process that is known by its descriptor: its number may be another's by then.
#[must_use]
pub fn has_ended_within(process: &OwnedFd, ms: u16) -> bool {
    let mut wait = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, ms).is_ok_and(|ready| ready > 0)
}
