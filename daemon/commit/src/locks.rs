//! Locks of the programs that read tables of packages or accounts, change them in memory, and write them as a whole at
//! their end. What a commit put there between the two would be lost, and no lease shows such a reader.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use remit_plan::Plan;

struct TableLocks {
    what: &'static str,
    /// Files, or directories with all that is in them.
    tables: &'static [&'static [u8]],
    locks: &'static [&'static str],
}

/// dpkg(1), apt(8); rpm(8); lckpwdf(3), passwd(5), subuid(5).
const ALL: [TableLocks; 4] = [
    TableLocks {
        what: "packages",
        tables: &[b"/var/lib/dpkg"],
        locks: &["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"],
    },
    TableLocks {
        what: "packages",
        tables: &[b"/var/lib/rpm"],
        locks: &["/var/lib/rpm/.rpm.lock"],
    },
    TableLocks {
        what: "packages",
        tables: &[b"/usr/lib/sysimage/rpm"],
        locks: &["/usr/lib/sysimage/rpm/.rpm.lock"],
    },
    TableLocks {
        what: "accounts",
        tables: &[
            b"/etc/passwd",
            b"/etc/shadow",
            b"/etc/group",
            b"/etc/gshadow",
            b"/etc/subuid",
            b"/etc/subgid",
        ],
        locks: &["/etc/.pwd.lock"],
    },
];

#[derive(Debug)]
pub enum NotLocked {
    /// Another process has it.
    Busy(String),
    Failed(String),
}

/// Takes the locks of the tables that a plan changes; they end with the files. A lock that no program has made is not held.
pub fn take(plan: &Plan) -> Result<Vec<File>, NotLocked> {
    let mut held = Vec::new();
    for TableLocks {
        what,
        tables,
        locks,
    } in ALL
    {
        let mut entries = plan.entries().iter();
        if !entries.any(|entry| tables.iter().any(|table| entry.path.is_in(table))) {
            continue;
        }
        for path in locks {
            // An own descriptor of a file would refuse the lease that a change of it needs.
            let mut entries = plan.entries().iter();
            if entries.any(|entry| entry.path.as_bytes() == path.as_bytes()) {
                continue;
            }
            match lock(path) {
                Ok(file) => held.extend(file),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(NotLocked::Busy(format!(
                        "another program changes {what} and has the lock '{path}': try again when it has ended"
                    )));
                }
                Err(error) => {
                    return Err(NotLocked::Failed(format!("cannot lock '{path}': {error}")));
                }
            }
        }
    }
    Ok(held)
}

fn lock(path: &str) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut how = OpenOptions::new();
    let file = match how.read(true).custom_flags(flags.bits()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let whole = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // Those programs lock for writing. A lock for reading keeps them out, and no account that may only read the file can
    // keep this one out. Of the open file: a lock of the process would end when any descriptor of the same file is closed.
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(Some(file)),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}
