//! What a job in `strict` meets where that is not what a job in `read` meets, and why.
//!
//! Meant is a profile on top of `strict` with network `loopback`, the widest that `run` may be granted
//! in: with that, most calls get as far as the kernel and not only to the filter.

use serde_json::{Value, json};

use super::allowed::{self, Check};
use super::{Attack, Expect, apart, hidden};

/// Who a job in `strict` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A uid of its own.
    Own,
    /// Root, without a capability.
    Root,
}

/// One difference.
#[derive(Debug)]
struct Difference {
    ids: &'static [&'static str],
    own: Expect,
    root: Expect,
    /// Why it is meant to be so.
    why: &'static str,
}

const fn both(ids: &'static [&'static str], expect: Expect, why: &'static str) -> Difference {
    each(ids, expect, expect, why)
}

const fn each(
    ids: &'static [&'static str],
    own: Expect,
    root: Expect,
    why: &'static str,
) -> Difference {
    Difference {
        ids,
        own,
        root,
        why,
    }
}

const GONE: Expect = Expect::Errno(libc::ENOENT);
const NOBODY: Expect = Expect::Errno(libc::ESRCH);
const NOTHING_THERE: Expect = Expect::Errno(libc::EINVAL);
const NOBODY_LISTENS: Expect = Expect::Errno(libc::ECONNREFUSED);
const REFUSED: Expect = Expect::Errno(libc::EPERM);
const READ_ONLY: Expect = Expect::Errno(libc::EROFS);
const NO_ACCESS: Expect = Expect::Errno(libc::EACCES);

#[rustfmt::skip] // a table, one row a line
const DIFFERENT: &[Difference] = &[
    both(&["tcp-connect", "tcp6-connect", "tcp-high", "tcp-fast-open"], NOBODY_LISTENS, "sockets are allowed: the loopback interface is the job's own"),
    both(&["tcp-listen"], Expect::Done, "in a network of its own it may listen: nobody else is there"),
    both(&["udp-send"], Expect::NoEffect, "the datagram goes to the job's own loopback interface"),
    both(&["raw-socket"], REFUSED, "the kernel refuses it for want of CAP_NET_RAW"),
    both(&["shmget", "semget", "msgget"], Expect::NoEffect, "made in an ipc namespace of its own, which ends with the job"),
    both(&["shmat", "semop", "msgsnd", "sem-setval", "shm-remove", "sem-remove", "msg-remove"], NOTHING_THERE, "the host's objects are not in the job's ipc namespace"),
    both(&["shm-huge"], Expect::Errno(libc::ENOMEM), "segments are allowed in an ipc namespace of its own, huge pages are not"),
    both(&["shadow", "daemon-audit"], GONE, "not listed, so not there"),
    both(&["kill", "kill-group", "tgkill", "sigqueue", "pidfd-signal", "setown", "setpriority", "ioprio", "prlimit", "sched", "affinity"], NOBODY, "no pid of the host's names a process in the job's own pid namespace"),
    both(&["daemon-environ", "proc-root", "proc-cwd", "proc-fd", "proc-environ", "proc-mem", "proc-oom", "pidfd-proc"], GONE, "/proc has the job's own processes and no other"),
    both(&["sysctl"], GONE, "/proc has processes and nothing else"),
    both(&["disk", "fuse", "ptmx", "tty-write"], GONE, "/dev has six harmless devices and no other"),
    each(&["setuid", "setgid", "setuid-program"], REFUSED, Expect::Done, "root is root already, and gains nothing by it"),
    each(&["foreign-file"], NO_ACCESS, Expect::Done, "the file is root's, and listed"),
    each(&["accounts", "program-file"], NO_ACCESS, READ_ONLY, "root may write the file, but not through this mount"),
    each(&["init-root", "init-environ", "init-memory", "init-program"], GONE, NO_ACCESS, "/proc hides others' processes from all but root's group, which may not look into them"),
];

/// The first version of Landlock's interface that keeps signals in.
const SCOPES: u32 = 6;

/// What is different where Landlock has no scopes: rows as above.
const WITHOUT_SCOPES: &[Difference] = &[each(
    &["kill-keeper"],
    Expect::Done,
    REFUSED,
    "pid 1 has the job's uid, and the kernel keeps it from being killed by those in its namespace",
)];

/// Not tried as root: if a wall were missing, this machine would be hit as a whole.
const TOO_DANGEROUS: &[&str] = &["kill-all", "kill-group", "setpriority-user", "ioprio-user"];

/// Every attack that is tried in `strict`.
pub fn attacks(who: Who) -> impl Iterator<Item = &'static Attack> {
    super::all()
        .chain(hidden::ATTACKS)
        .filter(move |attack| who == Who::Own || !TOO_DANGEROUS.contains(&attack.id))
}

/// What happens to it there, with this version of Landlock's interface; 0 without.
#[must_use]
pub fn expected(attack: &Attack, who: Who, landlock: u32) -> Expect {
    let find = |table: &[Difference]| {
        let row = table.iter().find(|row| row.ids.contains(&attack.id))?;
        Some(match who {
            Who::Own => row.own,
            Who::Root => row.root,
        })
    };
    let without = || find(WITHOUT_SCOPES).filter(|_| landlock < SCOPES);
    let plain = if landlock > 0 {
        attack.expect
    } else {
        attack.without_landlock
    };
    find(DIFFERENT).or_else(without).unwrap_or(plain)
}

/// Every difference as one JSON object: attack, what happens to either, why.
pub fn describe() -> impl Iterator<Item = Value> {
    DIFFERENT.iter().flat_map(|row| {
        row.ids.iter().map(|id| {
            json!({ "id": id, "own": row.own.word(), "root": row.root.word(), "why": row.why })
        })
    })
}

/// What works in `read` and not in `strict`, each with the reason.
const NOT_ALLOWED: &[(&str, &str)] = &[
    ("may-see-host-process", "the host's processes are hidden"),
    (
        "may-see-init",
        "pid 1 is the sandbox's own, of another uid, and hidden",
    ),
    (
        "may-inotify",
        "as root it would be taken from the host's root, who has 128 instances",
    ),
    (
        "is-own-keyring",
        "/proc/keys is hidden; the start-up witness sees the keyring",
    ),
];

/// All that must work in `strict`, and what a job sees of its walls there.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let kept = |check: &&Check| NOT_ALLOWED.iter().all(|(id, _)| *id != check.id);
    allowed::ALL
        .iter()
        .chain(allowed::WALLS)
        .filter(kept)
        .chain(apart::CHECKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_one_and_has_a_reason() {
        let ids = || DIFFERENT.iter().flat_map(|row| row.ids);
        for id in ids() {
            assert_eq!(ids().filter(|other| *other == id).count(), 1, "{id}");
        }
        for row in DIFFERENT.iter().chain(WITHOUT_SCOPES) {
            assert!(!row.why.is_empty());
            for id in row.ids {
                let attack = attacks(Who::Own).find(|attack| attack.id == *id);
                let attack = attack.unwrap_or_else(|| panic!("there is no attack '{id}'"));
                let landlock = DIFFERENT.iter().any(|other| std::ptr::eq(other, row));
                let plain = if landlock {
                    attack.expect
                } else {
                    attack.without_landlock
                };
                assert!(
                    (row.own, row.root) != (plain, plain),
                    "{id} is no difference"
                );
            }
        }
        for (id, _) in NOT_ALLOWED {
            assert!(allowed::named(id).is_some(), "{id}");
        }
        for id in TOO_DANGEROUS {
            assert!(super::super::named(id).is_some(), "{id}");
        }
    }
}
