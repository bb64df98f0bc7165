//! The differences between a copy of the machine (base `plan`) and `read` for each attack, with reasons. The attacker is
//! root of the copy; what is its own, is root's of the machine.

use serde_json::{Value, json};

use super::allowed::{self, Check};
use super::{Attack, Expect, hidden};
use super::{GONE, NO_ACCESS, NO_LISTENER, NO_PROCESS, NOTHING_THERE, READ_ONLY, REFUSED};

#[derive(Debug)]
struct Difference {
    ids: &'static [&'static str],
    expect: Expect,
    why: &'static str,
}

const fn row(ids: &'static [&'static str], expect: Expect, why: &'static str) -> Difference {
    Difference { ids, expect, why }
}

#[rustfmt::skip] // a table, one row a line
const DIFFERENT: &[Difference] = &[
    row(&["write", "append", "truncate", "create", "unlink", "rename", "chmod", "utimes", "chown", "setxattr", "link", "symlink", "mkdir", "rmdir", "mkdir-sticky", "fd-reopen", "exe-chmod"], Expect::NoEffect, "the overlay writes to a file system of the copy"),
    row(&["chattr"], Expect::Errno(libc::EOPNOTSUPP), "the file system of the copy has no such flag"),
    row(&["fifo"], Expect::Errno(libc::ENXIO), "the overlay's FIFO is its own, and nobody reads it"),
    row(&["setuid-program"], Expect::Done, "root of the copy is root there already, and gains nothing by it"),
    row(&["shadow"], Expect::Done, "it is a table without hashes; view.rs and copies_hidden.rs compare its lines"),
    row(&["sysctl", "sysctl-net"], READ_ONLY, "/proc is read-only, where others may read it"),
    row(&["disk", "fuse", "tty-write"], GONE, "/dev has six harmless devices and own terminals"),
    row(&["ptmx"], Expect::Done, "the terminals are the copy's own, 16 at most"),
    row(&["kill", "kill-group", "tgkill", "sigqueue", "pidfd-signal", "setown", "setpriority", "ioprio", "prlimit", "sched", "affinity"], NO_PROCESS, "no pid of the host's names a process in the job's own pid namespace"),
    row(&["daemon-environ", "pidfd-proc", "proc-root", "proc-cwd", "proc-fd", "proc-environ", "proc-mem", "proc-oom"], GONE, "/proc has the job's own processes and no other"),
    row(&["tcp-connect", "tcp6-connect", "tcp-high", "tcp-fast-open"], NO_LISTENER, "the loopback interface is the copy's own"),
    row(&["tcp-listen"], Expect::Done, "in a network of its own it may listen: nobody else is there"),
    row(&["udp-send"], Expect::NoEffect, "the datagram goes to the copy's own loopback interface"),
    row(&["unix-stream", "unix-abstract", "unix-pair", "unix-pair-high", "daemon-socket"], NO_LISTENER, "the overlay's socket is its own, and abstract names are of its own network: nobody listens"),
    row(&["unix-pair-name", "unix-autobind"], Expect::Done, "an abstract name of its own network"),
    row(&["flow-label", "tcp-key", "udp-encap", "udp-gro"], Expect::Errno(libc::ENOPROTOOPT), "sockets are allowed, and these options refused by the filter"),
    row(&["raw-socket"], REFUSED, "the kernel refuses it for want of CAP_NET_RAW"),
    row(&["shmget", "semget", "msgget"], Expect::NoEffect, "made in an ipc namespace of its own, which ends with the job"),
    row(&["shmat", "semop", "msgsnd", "sem-setval", "shm-remove", "sem-remove", "msg-remove"], NOTHING_THERE, "the host's objects are not in the job's ipc namespace"),
    row(&["flush"], Expect::Done, "what a copy has written is in memory, and an overlay flushes nothing beneath it"),
    row(&["shm-huge"], Expect::Errno(libc::ENOMEM), "segments are allowed in an ipc namespace of its own, huge pages are not"),
    row(&["chroot"], Expect::Done, "package managers change to another root, and every root is the copy's"),
    row(&["setuid", "setgid", "setgroups", "ambient", "keepcaps", "give-away"], Expect::Done, "rights of its own user namespace, which owns nothing else"),
    row(&["host-file", "host-file-upwards"], Expect::Done, "everybody may read it, and the copy shows the machine"),
    row(&["init-root", "init-environ", "init-memory", "init-program"], NO_ACCESS, "pid 1 of its pid namespace is of a user that its own namespace does not know"),
    row(&["accounts", "program-file"], Expect::Done, "opened for writing: it would be copied, and written in the copy; 'write' shows that the host's stays"),
    row(&["exec-tmp", "map-tmp", "exec-scratch", "exec-listed"], Expect::Done, "programs of packages are executed in the copy"),
];

/// Attacks that are not tried, with reasons.
const NOT_TRIED: &[(&str, &str)] = &[
    (
        "flock",
        "its gate is a FIFO of the host, where nobody of a copy waits; daemon/spawner/tests/confine/view.rs has locks",
    ),
    ("fcntl-lock", "likewise"),
    ("fcntl-lock-wait", "likewise"),
    ("ofd-lock", "likewise"),
    (
        "lease",
        "likewise; leases are refused by the filter, as in read",
    ),
    (
        "kill-all",
        "without its layer, it would end the machine's processes",
    ),
    ("setpriority-user", "likewise, all of root's processes"),
    ("ioprio-user", "likewise"),
];

/// Returns every attack that is tried in a copy.
pub fn attacks() -> impl Iterator<Item = &'static Attack> {
    let is_tried = |attack: &&Attack| NOT_TRIED.iter().all(|(id, _)| *id != attack.id);
    super::all().chain(hidden::HIDDEN).filter(is_tried)
}

/// Returns the expected result. `landlock` is the ABI version, 0 without Landlock.
#[must_use]
pub fn expected(attack: &Attack, landlock: u32) -> Expect {
    let row = DIFFERENT.iter().find(|row| row.ids.contains(&attack.id));
    let plain = match landlock {
        0 => attack.without_landlock,
        _ => attack.expect,
    };
    row.map_or(plain, |row| row.expect)
}

/// Checks that work in `read` but not in a copy, with reasons.
const NOT_ALLOWED: &[(&str, &str)] = &[
    ("may-see-host-process", "the host's processes are hidden"),
    (
        "is-powerless",
        "it has nine capabilities; the self-test counts them",
    ),
    (
        "is-own-keyring",
        "/proc/keys shows no keys of other user namespaces; the self-test sees the keyring",
    ),
    (
        "is-alone",
        "the shell that runs the checks is there as well; daemon/spawner/tests/confine/view.rs counts processes",
    ),
    ("is-own-root", "it is the machine's, copied"),
    ("is-never-both", "a copy is written and executed"),
];

/// Returns all checks that must succeed in a copy.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let kept = |check: &&Check| NOT_ALLOWED.iter().all(|(id, _)| *id != check.id);
    allowed::all().filter(kept)
}

/// Returns every difference as one JSON object: attack, result, reason.
pub fn describe() -> impl Iterator<Item = Value> {
    DIFFERENT.iter().flat_map(|row| {
        row.ids
            .iter()
            .map(|id| json!({ "id": id, "expect": row.expect.word(), "why": row.why }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_one_and_has_a_reason() {
        let ids = || DIFFERENT.iter().flat_map(|row| row.ids);
        for id in ids() {
            assert_eq!(ids().filter(|other| *other == id).count(), 1, "{id}");
            let attack = attacks().find(|attack| attack.id == *id);
            let attack = attack.unwrap_or_else(|| panic!("there is no attack '{id}'"));
            assert!(
                expected(attack, 7) != attack.expect,
                "{id} is no difference"
            );
        }
        for (id, _) in NOT_ALLOWED {
            assert!(allowed::named(id).is_some(), "{id}");
        }
        for (id, why) in NOT_TRIED {
            assert!(
                crate::attack::named(id).is_some() && !why.is_empty(),
                "{id}"
            );
        }
    }
}
