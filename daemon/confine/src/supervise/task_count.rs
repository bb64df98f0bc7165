//! Limits of a process. Counts a user's processes and threads as RLIMIT_NPROC does, in the job's child, on its time: untrusted users choose how
//! many there are. It does not read `/proc/PID/status`: that lists up to 65,536 groups, so the owner of the process chooses
//! its cost. The owner of `/proc/PID` is the process's effective uid, dumpable or not, and `stat` has the number of threads.
//! A process that cannot be read does not count: that makes a limit stricter, never looser. Allocates nothing.

use crate::sys;
use nix::{fcntl::AtFlags, sys::stat::fstatat};
use remit_spawn::ResourceLimit;
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd},
};

/// Maximum number of processes that are read; more do not count.
const MOST: usize = 1 << 15;
const NAME: usize = 32;

/// Sets the limits of this process. So many tasks of its user do not count. setrlimit(2).
pub(crate) fn set_limits(rows: &[ResourceLimit], others: u64) -> io::Result<()> {
    let set = |row: &ResourceLimit| sys::set_limit(row.resource, row.soft, row.hard);
    // If the raised value is above the own hard limit, the stricter one holds.
    rows.iter()
        .try_for_each(|row| set(&row.beside(others)).or_else(|_| set(row)))
}

pub(crate) fn tasks_of(proc: BorrowedFd<'_>, uid: u32) -> u64 {
    let directory = libc::O_RDONLY | libc::O_DIRECTORY;
    let Ok(proc) = sys::open_at(Some(proc), c".", directory) else {
        return 0;
    };
    let mut buf = [0u8; 4096];
    let (mut tasks, mut seen) = (0u64, 0);
    while let Ok(length @ 1..) = sys::entries(proc.as_fd(), &mut buf) {
        for pid in EntryNames(buf.get(..length).unwrap_or_default()) {
            if seen == MOST {
                return tasks;
            }
            if pid.iter().all(u8::is_ascii_digit) {
                seen += 1;
                tasks = tasks.saturating_add(tasks_in(proc.as_fd(), pid, uid).unwrap_or(0));
            }
        }
    }
    tasks
}

struct EntryNames<'a>(&'a [u8]);

impl<'a> Iterator for EntryNames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        const LENGTH: usize = 16;
        const TEXT: usize = 19;
        let length = self.0.get(LENGTH..LENGTH + 2)?.try_into().ok()?;
        let (entry, rest) = self.0.split_at_checked(u16::from_ne_bytes(length).into())?;
        self.0 = rest;
        entry.get(TEXT..)?.split(|byte| *byte == 0).next()
    }
}

fn tasks_in(proc: BorrowedFd<'_>, pid: &[u8], uid: u32) -> Option<u64> {
    let mut name = [0u8; NAME];
    let owner = fstatat(
        proc,
        path(&mut name, pid, b"\0")?,
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .ok()?;
    if owner.st_uid != uid {
        return None;
    }
    let file = path(&mut name, pid, b"/stat\0")?;
    let mut text = [0u8; 1024];
    let read = |file: &CStr, text: &mut [u8]| -> io::Result<usize> {
        let file = sys::open_at(Some(proc), file, libc::O_RDONLY)?;
        sys::read(file.as_fd(), text)
    };
    let length = read(file, &mut text).ok()?;
    threads(text.get(..length)?)
}

fn path<'a>(name: &'a mut [u8; NAME], pid: &[u8], then: &[u8]) -> Option<&'a CStr> {
    let end = pid.len() + then.len();
    name.get_mut(..pid.len())?.copy_from_slice(pid);
    name.get_mut(pid.len()..end)?.copy_from_slice(then);
    CStr::from_bytes_with_nul(name.get(..end)?).ok()
}

/// Reads `num_threads` of proc_pid_stat(5): the 18th field after the name, which may have any bytes.
fn threads(stat: &[u8]) -> Option<u64> {
    const AT: usize = 17;
    let name = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(name + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(AT)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_after_the_last_bracket() {
        let stat = b"7 (a) b) 5) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 33 0 18";
        assert_eq!(threads(stat), Some(33));
        for stat in [&b"7 (a) R 1 2"[..], b"", b"7 a R"] {
            assert_eq!(threads(stat), None);
        }
    }

    #[test]
    fn names_that_are_cut_off_end_the_list() {
        assert_eq!(EntryNames(&[0; 8]).count(), 0);
        assert_eq!(EntryNames(&[0xff; 40]).count(), 0);
    }

    #[test]
    fn own_threads_are_among_the_users() {
        let proc = sys::open(c"/proc", libc::O_PATH | libc::O_DIRECTORY).unwrap();
        let pid = std::process::id().to_string();
        let uid = nix::unistd::geteuid().as_raw();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let said = status.lines().find_map(|l| l.strip_prefix("Threads:"));
        let own = || tasks_in(proc.as_fd(), pid.as_bytes(), uid);
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        assert!(said.unwrap().trim().parse::<u64>().unwrap() >= 1);
        assert!(own() >= Some(2) && tasks_of(proc.as_fd(), uid) >= 2);
        assert_eq!(tasks_in(proc.as_fd(), pid.as_bytes(), uid + 1), None);
        drop(end);
        let _ = thread.join().unwrap();
    }
}
