//! Processes of jobs that outlived the daemon that ran them: found by uid, waited for, killed.
//!
//! The keeper and the zygotes end every job when the daemon dies; this looks whether they did. Names are not
//! looked at, only the uids that a job has and nobody else, and the cgroups of jobs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::names::JobId;
use remit_confine::floor;

/// For the kernel to end what it is ending already, and then for what was killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process, held by its pidfd.
#[derive(Debug)]
struct Survivor {
    pid: i32,
    uid: u32,
    pidfd: OwnedFd,
}

/// Ends every process with one of these uids. Returns those that would not end, each with its
/// uid: they are stuck in the kernel.
///
/// # Errors
/// /proc cannot be read: what lives is not known.
pub fn end(uids: &BTreeSet<u32>) -> io::Result<Vec<(i32, u32)>> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut left = waited(find(|uid| uids.contains(&uid), |one| one)?, deadline);
    if !left.is_empty() {
        for survivor in &left {
            say!(
                "ending process {}: it has uid {} of a job that should have ended",
                survivor.pid,
                survivor.uid
            );
            let _ = floor::pidfd_send_signal(&survivor.pidfd, libc::SIGKILL);
        }
        left = waited(left, Instant::now() + PATIENCE);
    }
    // One that was killed may have had a child meanwhile.
    for survivor in find(|uid| uids.contains(&uid), |one| one)? {
        let _ = floor::pidfd_send_signal(&survivor.pidfd, libc::SIGKILL);
        if !left.iter().any(|known| known.pid == survivor.pid) {
            left.push(survivor);
        }
    }
    let left = waited(left, deadline + PATIENCE);
    Ok(left.iter().map(|one| (one.pid, one.uid)).collect())
}

/// Whether anything is left in the cgroup of a job, in any directory of jobs beneath `base`: for jobs whose
/// program has a uid that others have, too. All in there was killed before; it is waited for.
pub fn in_cgroup(base: &Path, job: JobId) -> bool {
    let name = format!("remit-{job}");
    let beneath = fs::read_dir(base).into_iter().flatten().flatten();
    let of_jobs = beneath.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().starts_with(b"jobs-of-remit-")
    });
    // Releases before 2.1 had it in the base itself.
    let mut dirs = of_jobs.map(|entry| entry.path()).chain([base.to_owned()]);
    dirs.any(|dir| is_populated(&dir.join(&name)))
}

fn is_populated(dir: &Path) -> bool {
    let events = dir.join("cgroup.events");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Looked at anew each time: a change since then ends the wait for one.
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

/// The processes with a uid in this range that live, each with its uid. They are not touched.
///
/// # Errors
/// /proc cannot be read.
pub fn in_use(first: u32, count: u32) -> io::Result<Vec<(i32, u32)>> {
    let range = first..first.saturating_add(count);
    // Held no longer than looked at: there may be more than descriptors.
    find(|uid| range.contains(&uid), |one| (one.pid, one.uid))
}

/// What of these still lives when all have ended, or it is so late.
fn waited(mut left: Vec<Survivor>, deadline: Instant) -> Vec<Survivor> {
    loop {
        left.retain(|one| floor::pidfd_alive(one.pidfd.as_fd()).unwrap_or(true));
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

/// What `keep` keeps of every process that lives and has such a uid, as its real, effective, saved
/// or file system's.
fn find<T>(wanted: impl Fn(u32) -> bool, keep: impl Fn(Survivor) -> T) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if uid_of(pid, &wanted)?.is_none() {
            continue;
        }
        let Some(pidfd) = unless_gone(floor::pidfd_open(pid))? else {
            continue;
        };
        // Looked at again while it is held: the pid may have been another's before.
        if let Some(uid) = uid_of(pid, &wanted)?
            && floor::pidfd_alive(pidfd.as_fd())?
        {
            found.push(keep(Survivor { pid, uid, pidfd }));
        }
    }
    Ok(found)
}

/// The first wanted uid of a process. `None` when it has none, or is gone.
fn uid_of(pid: i32, wanted: impl Fn(u32) -> bool) -> io::Result<Option<u32>> {
    let status = unless_gone(fs::read(format!("/proc/{pid}/status")))?;
    // The name in it is the process's own, and need not be text.
    Ok(status.and_then(|status| uid_in(&String::from_utf8_lossy(&status), wanted)))
}

/// What was asked of a process; `None` when there is none of this pid any more (that of a thread
/// is no process's: EINVAL). Whatever else fails leaves open whether it lives.
fn unless_gone<T>(asked: io::Result<T>) -> io::Result<Option<T>> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH | libc::EINVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The first wanted uid in what proc_pid_status(5) describes.
fn uid_in(status: &str, wanted: impl Fn(u32) -> bool) -> Option<u32> {
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut uids = uids.split_whitespace().filter_map(|uid| uid.parse().ok());
    uids.find(|uid| wanted(*uid))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A uid that no other process has, nor another test at a time.
    fn uid(number: u32) -> u32 {
        1_940_000_000 + std::process::id() % 4_000_000 * 4 + number
    }

    fn shell(uid: u32, script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).uid(uid).gid(uid);
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn each_of_its_four_uids_counts_and_a_name_does_not() {
        let status =
            |uids: &str| format!("Name:\tUid:\\t5\nUmask:\t0022\nUid:\t{uids}\nGid:\t5\t5\t5\t5\n");
        for (uids, expect) in [
            ("5\t0\t0\t0", Some(5)),
            ("0\t5\t0\t0", Some(5)),
            ("0\t0\t5\t0", Some(5)),
            ("0\t0\t0\t5", Some(5)),
            ("0\t0\t0\t0", None),
            ("50\t55\t4294967295\tx", None),
            ("", None),
        ] {
            assert_eq!(uid_in(&status(uids), |uid| uid == 5), expect, "{uids}");
        }
        assert_eq!(uid_in("", |_| true), None);
    }

    #[test]
    fn what_ends_by_itself_is_waited_for_and_not_killed() {
        let uid = uid(0);
        let mut child = shell(uid, "exec sleep 0.2");
        assert_eq!(end(&BTreeSet::from([uid])).unwrap(), []);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn what_stays_is_killed_and_others_are_left_alone() {
        let (uid, other) = (uid(1), uid(2));
        let mut stays = shell(uid, "trap '' TERM; exec sleep 1000");
        let mut neighbour = shell(other, "exec sleep 1000");
        let pid = i32::try_from(neighbour.id()).unwrap();
        assert_eq!(end(&BTreeSet::from([uid])).unwrap(), []);
        assert_eq!(stays.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(in_use(other, 1).unwrap(), [(pid, other)]);
        assert_eq!(in_use(uid, 1).unwrap(), []);
        neighbour.kill().unwrap();
        neighbour.wait().unwrap();
    }

    #[test]
    fn a_name_that_is_no_text_hides_nobody() {
        let uid = uid(4);
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-survivor-XXXXXX"));
        let dir = dir.unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        // The kernel names a process after what was executed.
        let name = dir.join(OsStr::from_bytes(b"\xff\xfe\n"));
        fs::copy("/bin/sleep", &name).unwrap();
        let mut command = Command::new(&name);
        let mut child = command.arg("1000").uid(uid).gid(uid).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let seen = in_use(uid, 1).unwrap();
        let ended = end(&BTreeSet::from([uid])).unwrap();
        let _ = child.kill();
        let signal = child.wait().unwrap().signal();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((seen, ended), (vec![(pid, uid)], Vec::new()));
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
        assert_eq!(end(&BTreeSet::new()).unwrap(), []);
        assert_eq!(in_use(uid(3), 1).unwrap(), []);
    }

    #[test]
    fn a_cgroup_that_stays_populated_hides_nobody() {
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
