//! Starts processes as other users, finds processes, and waits for what they do, for a bounded time. A throw-away daemon has
//! a cgroup of its own, because a daemon takes neighbor cgroups for its own leftovers; another is like logind's for a
//! user's logins, which proves which user logged in.
#![allow(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::test_dir::unique;

/// The user and groups of a process.
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
    /// Returns a user whose primary group has the same number.
    #[must_use]
    pub fn new(uid: u32, groups: &[u32]) -> Self {
        Self {
            uid,
            gid: uid,
            groups: groups.to_vec(),
        }
    }

    /// Makes `command` run as this user.
    pub fn runs(&self, command: &mut Command) {
        let Self { uid, gid, groups } = self.clone();
        // SAFETY: only system calls are made between fork and exec; the vector was allocated before.
        unsafe { command.pre_exec(move || become_user(uid, gid, &groups)) };
    }

    /// Changes only the calling thread. The C library's functions would change all threads.
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

/// Makes `command` run in new namespaces, in which root may change what is not shared with this machine.
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
    // SAFETY: only system calls are made between fork and exec.
    unsafe { command.pre_exec(enter) };
}

/// Makes `command` run in the cgroup with this cgroup.procs file.
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
    // SAFETY: one system call is made between fork and exec.
    unsafe { command.pre_exec(enter) };
}

/// Makes `command` inherit an additional descriptor: 9, a copy of its standard input.
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
    // SAFETY: one system call is made between fork and exec.
    unsafe { command.pre_exec(leak) };
}

/// A process as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Pid in our namespace.
    pub pid: i32,
    /// The parent's pid in our namespace.
    pub parent: i32,
    /// Effective uid.
    pub uid: u32,
    /// Pid in each pid namespace from ours inwards.
    pub nspid: Vec<i32>,
    /// One letter: Z is a zombie.
    pub state: char,
    /// Name of the program.
    pub name: String,
}

impl Process {
    /// Finds the process with this pid.
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

/// Returns true if it executes nothing any more. It may be unreaped, or wait as init for its pid namespace.
#[must_use]
pub fn is_dead(pid: i32) -> bool {
    const PF_EXITING: u32 = 4;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // proc_pid_stat(5): the flags are the seventh field after the name.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let flags = behind.split_whitespace().nth(6);
    let flags = flags.and_then(|flags| flags.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

impl Process {
    /// Returns true if it is in a jobs' cgroup: of a job, of a self-test, or of a pre-forked child.
    #[must_use]
    pub fn is_of_jobs(&self) -> bool {
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        cgroup.contains("/jobs-of-remit-")
    }

    /// Returns true if it is the process that closes descriptors for a warden, because a close may block.
    #[must_use]
    pub fn is_sink(&self) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.ends_with(b"\0--sink\0")
    }

    /// Returns true if it is a live PID 1 of the jobs' pid namespace.
    #[must_use]
    pub fn is_watchdog(&self) -> bool {
        self.name == "remit-watchdog" && self.state != 'Z'
    }
}

/// Returns all processes.
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

/// Returns the start time in a text of /proc/PID/stat, in ticks since boot.
#[must_use]
pub fn start_in(stat: &str) -> Option<u64> {
    // proc_pid_stat(5): the 20th field after the name.
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(19)?.parse().ok()
}

/// Asks for a child, of which `ask` returns the start in ticks since boot. Returns true if it was there before.
pub fn preforked<T>(ask: impl FnOnce() -> (u64, T)) -> (bool, T) {
    // More than a tick, so that a child that waits is older.
    thread::sleep(Duration::from_millis(50));
    let uptime = fs::read_to_string("/proc/uptime").expect("it is there");
    let seconds = uptime.split(' ').next().unwrap_or_default();
    // With two digits after the point, so in ticks without it.
    let asked: u64 = seconds.replace('.', "").parse().expect("a number");
    let (started, asked_for) = ask();
    (started + 1 < asked, asked_for)
}

/// Returns a field of /proc/PID/status, trimmed.
#[must_use]
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns all descendants of `root`.
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

/// Returns the children of a process with one thread. They are few, while a look at all processes of a busy machine takes
/// longer than a short process lives.
#[must_use]
pub fn children(parent: i32) -> Vec<Process> {
    let pids = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let pids = pids.unwrap_or_default();
    pids.split_whitespace()
        .filter_map(|pid| Process::of(pid.parse().ok()?))
        .collect()
}

/// Opens a pidfd. `None` if the process is gone.
#[must_use]
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: two numbers, no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel just created this descriptor and nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends a child of this process, which handles no signals, and leaves it to be reaped. Returns true if somebody had sent
/// it SIGKILL before: the kernel keeps the first fatal signal, however late the process dies of it.
#[must_use]
pub fn was_killed(child: i32) -> bool {
    let child = Pid::from_raw(child);
    // A child that is dead but not reaped can be signalled as well.
    kill(child, Signal::SIGTERM).expect("it is our child and not reaped");
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    let ended = waitid(Id::Pid(child), flags).expect("it is our child and not reaped");
    matches!(ended, WaitStatus::Signaled(_, Signal::SIGKILL, _))
}

/// Waits at most `ms` milliseconds for the end of `pid`. Returns true if it has ended.
#[must_use]
pub fn ends_within(pid: i32, ms: u16) -> bool {
    pidfd(pid).is_none_or(|process| has_ended_within(&process, ms))
}

/// Waits for the end of a process known by its pidfd, because its pid may be reused.
#[must_use]
pub fn has_ended_within(process: &OwnedFd, ms: u16) -> bool {
    let mut wait = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, ms).is_ok_and(|ready| ready > 0)
}

const LONG: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and returns it.
#[track_caller]
pub fn seen<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < LONG, "not seen: {what}");
        thread::sleep(PAUSE);
    }
}

#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    seen(what, || is_so().then_some(()));
}

/// A cgroup v2 below our own. Removed on drop as soon as it is empty.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Creates one. `None` if cgroup v2 is not mounted or not writable.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let mut fields = mounts.lines().map(|line| line.split_whitespace());
        let root = fields.find_map(|mut line| {
            let (_, mount_point, kind) = (line.next()?, line.next()?, line.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(mount_point))
        })?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))?
            .to_owned();
        let above = root.join(own);
        loop {
            let path = above.join(format!("test-of-remit-{}", unique()));
            match fs::create_dir(&path) {
                // Of a test that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.ok().map(|()| Self(path)),
            }
        }
    }

    /// Returns the file in which a process writes "0" to enter.
    #[must_use]
    pub fn door(&self) -> Option<OwnedFd> {
        let procs = self.0.join("cgroup.procs");
        OpenOptions::new()
            .write(true)
            .open(procs)
            .ok()
            .map(OwnedFd::from)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Killed processes are in it until they have ended.
        for _ in 0..400 {
            remove(&self.0);
            if !self.0.exists() {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

fn remove(cgroup: &Path) {
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    let _ = fs::remove_dir(cgroup);
}

/// A session in `user.slice/user-UID.slice` of this machine. Empty cgroups are removed on drop.
#[derive(Debug)]
pub struct Slice(PathBuf);

impl Slice {
    /// Creates a session of this user. Panics if cgroup v2 is not writable.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("there are mounts");
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let mount_point = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(mount_point))
        });
        let root = root.expect("cgroup v2 is mounted");
        let slice = root.join(format!("user.slice/user-{uid}.slice"));
        let scope = slice.join(format!("session-remit-{}.scope", unique()));
        // Another session's end removes the slices at the same time.
        until("a session", || fs::create_dir_all(&scope).is_ok());
        Self(scope)
    }

    /// Returns the file in which a process writes "0" to enter.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // The scope, the user's slice and the slice of all users, if they are empty.
        for dir in self.0.ancestors().take(3) {
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }
}
