//! Finds and kills processes of an account that loses its access.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Time for processes to disappear after SIGKILL.
const DEADLINE: Duration = Duration::from_secs(5);
/// Poll interval. They are not our children, so no notification exists.
const PAUSE: Duration = Duration::from_millis(20);

/// Kills all processes of `uid` and returns how many there were. Only for accounts that belong to an agent alone.
/// Fails if some still exist at the deadline.
pub fn end(uid: u32) -> io::Result<usize> {
    let deadline = Instant::now() + DEADLINE;
    let mut first = None;
    loop {
        let pids = of(uid)?;
        let count = *first.get_or_insert(pids.len());
        if pids.is_empty() {
            return Ok(count);
        }
        if Instant::now() > deadline {
            let text = format!("{} processes of uid {uid} do not end", pids.len());
            return Err(io::Error::other(text));
        }
        for pid in pids {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(PAUSE);
    }
}

pub fn count(uid: u32) -> io::Result<usize> {
    Ok(of(uid)?.len())
}

/// Counts processes of `uid` that have the group `gid`. Processes keep a group until they end and pass it to children
/// (credentials(7)). The account's current membership does not matter.
pub fn in_group(uid: u32, gid: u32) -> io::Result<usize> {
    let gid = gid.to_string();
    let has_it = |pid: &i32| {
        // An unreadable process is gone.
        let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
        // The process name may be any bytes.
        let status = String::from_utf8_lossy(&status);
        let groups = status.lines().filter_map(|line| {
            line.strip_prefix("Groups:")
                .or_else(|| line.strip_prefix("Gid:"))
        });
        groups.flat_map(str::split_whitespace).any(|one| one == gid)
    };
    Ok(of(uid)?.iter().filter(|pid| has_it(pid)).count())
}

/// Returns processes with this effective uid, which owns them in `/proc` (proc(5)). An unreaped zombie counts.
fn of(uid: u32) -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if entry.metadata().is_ok_and(|found| found.uid() == uid) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use super::*;

    #[test]
    fn all_of_one_account_end_and_no_other() {
        // No account and no other test uses this uid.
        let uid = 60_177;
        let sleep = |uid: u32| {
            let mut command = Command::new("/bin/sleep");
            command.arg("600").uid(uid).gid(uid).spawn().unwrap()
        };
        let mut own = [sleep(uid), sleep(uid)];
        let mut other = sleep(60_178);
        assert_eq!((count(uid).unwrap(), count(60_178).unwrap()), (2, 1));
        assert_eq!(in_group(uid, uid).unwrap(), 2);
        assert_eq!(in_group(uid, 60_178).unwrap(), 0);
        let reaper =
            thread::spawn(move || own.each_mut().map(|child| child.wait().unwrap().signal()));
        assert_eq!(end(uid).unwrap(), 2);
        assert_eq!(reaper.join().unwrap(), [Some(9), Some(9)]);
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(end(uid).unwrap(), 0);
    }
}
