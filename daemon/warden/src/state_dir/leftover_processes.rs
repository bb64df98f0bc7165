//! Finds processes of jobs that outlived their daemon, waits for them and kills them. PID 1 and the workers end every
//! job when the daemon dies; this module verifies that. It uses only cgroups of jobs and uids that belong to one job
//! only, never names. It must not read `/proc/PID/status`: this lists up to 65,536 groups, so the owner of a process
//! would choose the cost. The kernel reports whether a real uid has processes (getpriority(2)). The owner of `/proc/PID`
//! is the effective uid of the process, dumpable or not.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::names::JobId;
use remit_sys::sys;

/// Timeout for processes that the kernel is already ending, and then for killed ones.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct LeftoverProcess {
    pid: i32,
    uid: u32,
    pidfd: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    pub uid: u32,
    /// `None`: the kernel reports one, but no process in /proc shows it.
    pub pid: Option<i32>,
}

impl InUse {
    pub fn process(self) -> String {
        match self.pid {
            Some(pid) => format!("pid {pid}"),
            None => format!("a process of uid {} that /proc does not show", self.uid),
        }
    }
}

/// What is left of jobs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Stuck in the kernel.
    pub stuck: Vec<InUse>,
    /// Uids outside of the range that some process has.
    pub others: BTreeSet<u32>,
}

/// Ends every process of these uids within a range. Another uid may be an account's now: its processes are left. Fails if
/// /proc cannot say what is alive.
pub fn end(uids: &BTreeSet<u32>, (first, count): (u32, u32)) -> io::Result<Left> {
    let range = first..first.saturating_add(count);
    let in_use = having_processes(uids.iter().copied())?.into_iter();
    let (uids, others) = in_use.partition(|uid| range.contains(uid));
    let stuck = end_all(&uids)?;
    Ok(Left { stuck, others })
}

fn end_all(uids: &BTreeSet<u32>) -> io::Result<Vec<InUse>> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + PATIENCE;
    let found = find(|uid| uids.contains(&uid), |one| one)?;
    let mut left = waited(found.living, deadline);
    if !left.is_empty() {
        for leftover in &left {
            say!(
                "ending process {}: it has uid {} of a job that should have ended",
                leftover.pid,
                leftover.uid
            );
            let _ = sys::pidfd_send_signal(&leftover.pidfd, libc::SIGKILL);
        }
        left = waited(left, Instant::now() + PATIENCE);
    }
    // A process may have forked before it was killed.
    let found = find(|uid| uids.contains(&uid), |one| one)?;
    for leftover in found.living {
        let _ = sys::pidfd_send_signal(&leftover.pidfd, libc::SIGKILL);
        if !left.iter().any(|known| known.pid == leftover.pid) {
            left.push(leftover);
        }
    }
    let left = waited(left, deadline + PATIENCE);
    let shown = left.iter().map(|one| InUse {
        uid: one.uid,
        pid: Some(one.pid),
    });
    let shown: Vec<InUse> = shown.collect();
    let hidden = hidden(uids.iter().copied(), &shown, &found.ended)?;
    Ok(shown.into_iter().chain(hidden).collect())
}

fn having_processes(uids: impl Iterator<Item = u32>) -> io::Result<BTreeSet<u32>> {
    uids.filter_map(|uid| match sys::has_processes(uid) {
        Ok(true) => Some(Ok(uid)),
        Ok(false) => None,
        Err(error) => Some(Err(error)),
    })
    .collect()
}

/// Returns uids in use that are neither in `shown` nor of a zombie (`ended`). Their process has another effective
/// uid, or `/proc` is mounted with an option that hides it.
fn hidden(
    uids: impl Iterator<Item = u32>,
    shown: &[InUse],
    ended: &BTreeSet<u32>,
) -> io::Result<Vec<InUse>> {
    let shown: BTreeSet<u32> = shown.iter().map(|one| one.uid).collect();
    let known = |uid: &u32| ended.contains(uid) || shown.contains(uid);
    let unseen = having_processes(uids.filter(|uid| !known(uid)))?;
    let in_use = |uid| InUse { uid, pid: None };
    Ok(unseen.into_iter().map(in_use).collect())
}

/// Returns whether a process is left in the job's cgroup, in any directory of jobs below `base`. For jobs whose
/// program has a uid that others have too. All processes in it were already killed, so it waits for them.
pub fn in_cgroup(base: &Path, job: JobId) -> bool {
    let name = format!("remit-{job}");
    let beneath = fs::read_dir(base).into_iter().flatten().flatten();
    let of_jobs = beneath.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().starts_with(b"jobs-of-remit-")
    });
    // Release 0.1.0 used the base itself.
    let mut dirs = of_jobs.map(|entry| entry.path()).chain([base.to_owned()]);
    dirs.any(|dir| is_populated(&dir.join(&name)))
}

fn is_populated(dir: &Path) -> bool {
    let events = dir.join("cgroup.events");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Opened again each time: a change since the open ends the poll.
        let Ok(file) = fs::File::open(&events) else {
            return false;
        };
        let Ok(text) = io::read_to_string(&file) else {
            return false;
        };
        if text.lines().any(|line| line == "populated 0") {
            let _ = fs::remove_dir(dir);
            return false;
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        match poll(
            &mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)],
            patience,
        ) {
            Ok(0) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

/// Returns the uids of this range that a living process has. It kills nothing.
pub fn in_use(first: u32, count: u32) -> io::Result<Vec<InUse>> {
    let range = first..first.saturating_add(count);
    // Each pidfd is closed at once, because there may be more processes than descriptors.
    let found = find(
        |uid| range.contains(&uid),
        |one| InUse {
            uid: one.uid,
            pid: Some(one.pid),
        },
    )?;
    let hidden = hidden(range, &found.living, &found.ended)?;
    Ok(found.living.into_iter().chain(hidden).collect())
}

fn waited(mut left: Vec<LeftoverProcess>, deadline: Instant) -> Vec<LeftoverProcess> {
    loop {
        left.retain(|one| sys::pidfd_alive(one.pidfd.as_fd()).unwrap_or(true));
        let patience = deadline.saturating_duration_since(Instant::now());
        if left.is_empty() || patience.is_zero() {
            return left;
        }
        let mut ends: Vec<_> = left
            .iter()
            .map(|one| PollFd::new(one.pidfd.as_fd(), PollFlags::POLLIN))
            .collect();
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        match poll(&mut ends, patience) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return left,
        }
    }
}

struct FoundProcesses<T> {
    living: Vec<T>,
    /// Uids of zombies.
    ended: BTreeSet<u32>,
}

/// Calls `keep` for every living process with such an effective uid.
fn find<T>(
    wanted: impl Fn(u32) -> bool,
    keep: impl Fn(LeftoverProcess) -> T,
) -> io::Result<FoundProcesses<T>> {
    let mut found = FoundProcesses {
        living: Vec::new(),
        ended: BTreeSet::new(),
    };
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if uid_of(pid, &wanted)?.is_none() {
            continue;
        }
        let Some(pidfd) = unless_gone(sys::pidfd_open(pid))? else {
            continue;
        };
        // Checked again with the pidfd open: the pid may have belonged to another process before.
        let Some(uid) = uid_of(pid, &wanted)? else {
            continue;
        };
        match sys::pidfd_alive(pidfd.as_fd())? {
            true => found.living.push(keep(LeftoverProcess { pid, uid, pidfd })),
            false => _ = found.ended.insert(uid),
        }
    }
    Ok(found)
}

fn uid_of(pid: i32, wanted: impl Fn(u32) -> bool) -> io::Result<Option<u32>> {
    let owner = unless_gone(fs::symlink_metadata(format!("/proc/{pid}")))?.map(|meta| meta.uid());
    Ok(owner.filter(|uid| wanted(*uid)))
}

/// Maps "no such process" to `None`. EINVAL means that the pid is a thread's. After others its state is unknown.
fn unless_gone<T>(asked: io::Result<T>) -> io::Result<Option<T>> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH | libc::EINVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A uid that no other process has, nor a test that runs at the same time.
    fn uid(number: u32) -> u32 {
        1_940_000_000 + std::process::id() % 4_000_000 * 8 + number
    }

    fn shell(uid: u32, script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).uid(uid).gid(uid);
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    fn end_within(uid: u32, range: (u32, u32)) -> Left {
        end(&BTreeSet::from([uid]), range).unwrap()
    }

    fn shown(pid: i32, uid: u32) -> InUse {
        InUse {
            uid,
            pid: Some(pid),
        }
    }

    /// A program that can be executed but not read is not dumpable: root owns its files in /proc.
    #[test]
    fn k02_process_owner_is_effective_uid() {
        let uid = uid(5);
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-survivor-XXXXXX"));
        let dir = dir.unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let name = dir.join("sleep");
        fs::copy("/bin/sleep", &name).unwrap();
        fs::set_permissions(&name, fs::Permissions::from_mode(0o711)).unwrap();
        let mut command = Command::new(&name);
        let mut child = command.arg("1000").uid(uid).gid(uid).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let files = fs::metadata(format!("/proc/{pid}/environ")).map(|meta| meta.uid());
        let seen = in_use(uid, 1).unwrap();
        child.kill().unwrap();
        // A zombie does not count as a process in use.
        let pidfd = sys::pidfd_open(pid).unwrap();
        let ends = PollFd::new(pidfd.as_fd(), PollFlags::POLLIN);
        poll(&mut [ends], PollTimeout::NONE).unwrap();
        let zombie = (
            sys::has_processes(uid).unwrap(),
            in_use(uid, 1).unwrap(),
            end_within(uid, (uid, 1)),
        );
        child.wait().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(files.unwrap(), 0, "it is dumpable");
        assert_eq!(seen, [shown(pid, uid)]);
        assert_eq!(zombie, (true, Vec::new(), Left::default()));
        assert!(!sys::has_processes(uid).unwrap());
    }

    #[test]
    fn k02_hidden_real_uid_counts() {
        let uid = uid(6);
        let mut child = shell(uid, "exec sleep 1000");
        let hidden = hidden([uid, uid + 1].into_iter(), &[], &BTreeSet::new()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(hidden, [InUse { uid, pid: None }]);
    }

    #[test]
    fn self_ending_process_is_not_killed() {
        let uid = uid(0);
        let mut child = shell(uid, "exec sleep 0.2");
        assert_eq!(end_within(uid, (uid, 1)), Left::default());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn remaining_process_is_killed_others_are_left() {
        let (uid, other) = (uid(1), uid(2));
        let mut stays = shell(uid, "trap '' TERM; exec sleep 1000");
        let mut neighbour = shell(other, "exec sleep 1000");
        let pid = i32::try_from(neighbour.id()).unwrap();
        assert_eq!(end_within(uid, (uid, 1)), Left::default());
        assert_eq!(stays.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(in_use(other, 1).unwrap(), [shown(pid, other)]);
        assert_eq!(in_use(uid, 1).unwrap(), []);
        neighbour.kill().unwrap();
        neighbour.wait().unwrap();
    }

    /// The state directory was copied to another machine, or the range was changed: the uid is an account's now.
    #[test]
    fn process_of_a_uid_outside_of_the_range_is_left() {
        let uid = uid(7);
        let mut child = shell(uid, "exec sleep 1000");
        let left = [(uid + 1, 8), (uid - 8, 8), (uid, 0)].map(|range| end_within(uid, range));
        let is_alive = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        for one in left {
            assert_eq!((one.stuck, one.others), (Vec::new(), BTreeSet::from([uid])));
        }
        assert!(is_alive);
        assert_eq!(end_within(uid, (uid + 1, 8)), Left::default());
    }

    #[test]
    fn process_with_binary_name_is_found() {
        let uid = uid(4);
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-survivor-XXXXXX"));
        let dir = dir.unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        // The kernel names a process after the executed file.
        let name = dir.join(OsStr::from_bytes(b"\xff\xfe\n"));
        fs::copy("/bin/sleep", &name).unwrap();
        let mut command = Command::new(&name);
        let mut child = command.arg("1000").uid(uid).gid(uid).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let seen = in_use(uid, 1).unwrap();
        let ended = end_within(uid, (uid, 1));
        let _ = child.kill();
        let signal = child.wait().unwrap().signal();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((seen, ended), (vec![shown(pid, uid)], Left::default()));
        assert_eq!(signal, Some(libc::SIGKILL));
    }

    #[test]
    fn only_what_is_gone_may_be_passed_over() {
        for errno in [libc::ENOENT, libc::ESRCH, libc::EINVAL] {
            let gone = unless_gone::<()>(Err(io::Error::from_raw_os_error(errno)));
            assert_eq!(gone.unwrap(), None);
        }
        for errno in [libc::EMFILE, libc::ENOMEM, libc::EACCES] {
            let unknown = unless_gone::<()>(Err(io::Error::from_raw_os_error(errno)));
            assert_eq!(unknown.unwrap_err().raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn without_uids_nothing_is_looked_for() {
        assert_eq!(end(&BTreeSet::new(), (uid(3), 1)).unwrap(), Left::default());
        assert_eq!(in_use(uid(3), 1).unwrap(), []);
    }

    #[test]
    fn populated_cgroup_is_found() {
        let job = JobId([7; 16]);
        let base = std::env::temp_dir().join(format!("remit-in-cgroup-{}", std::process::id()));
        let dir = base.join(format!("remit-{job}"));
        assert!(!in_cgroup(&base, job), "there is none");
        fs::create_dir_all(&dir).unwrap();
        let of_jobs = base.join(format!("jobs-of-remit-7-0/remit-{job}"));
        fs::create_dir_all(&of_jobs).unwrap();
        for dir in [dir, of_jobs] {
            for (says, left) in [("populated 0", false), ("populated 1", true)] {
                fs::write(dir.join("cgroup.events"), format!("{says}\nfrozen 0\n")).unwrap();
                assert_eq!(in_cgroup(&base, job), left, "{says}");
            }
            fs::remove_dir_all(dir).unwrap();
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
