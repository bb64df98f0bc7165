//! The differences between `strict` and `read` for each attack, with reasons; additional permissions of a job in `strict`,
//! and checks of the sandbox layers that only it has. The reference is a `strict` profile with network `loopback`, the
//! widest in which `run` may be granted. With it most calls reach the kernel and not only the filter.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use super::allowed::{self, Check, check, made, read, truth};
use super::raw::sys;
use super::{Attack, Expect, Tried, hidden};
use super::{GONE, NO_ACCESS, NO_LISTENER, NO_PROCESS, NOTHING_THERE, READ_ONLY, REFUSED};

/// The identity of a job in `strict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictIdentity {
    /// A separate uid.
    Own,
    /// Root without a capability.
    Root,
}

#[derive(Debug)]
struct Difference {
    ids: &'static [&'static str],
    own: Expect,
    root: Expect,
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

#[rustfmt::skip] // a table, one row a line
const DIFFERENT: &[Difference] = &[
    both(&["tcp-connect", "tcp6-connect", "tcp-high", "tcp-fast-open"], NO_LISTENER, "sockets are allowed: the loopback interface is the job's own"),
    both(&["tcp-listen"], Expect::Done, "in a network of its own it may listen: nobody else is there"),
    both(&["udp-send"], Expect::NoEffect, "the datagram goes to the job's own loopback interface"),
    both(&["unix-stream", "unix-abstract", "daemon-socket"], Expect::Errno(libc::EAFNOSUPPORT), "no socket of a service is listed, so there are no Unix sockets"),
    both(&["unix-autobind"], Expect::Done, "an abstract name of its own network"),
    both(&["flow-label", "tcp-key", "udp-encap", "udp-gro"], Expect::Errno(libc::ENOPROTOOPT), "sockets are allowed, and these options refused by the filter"),
    both(&["raw-socket"], REFUSED, "the kernel refuses it for want of CAP_NET_RAW"),
    both(&["shmget", "semget", "msgget"], Expect::NoEffect, "made in an ipc namespace of its own, which ends with the job"),
    both(&["shmat", "semop", "msgsnd", "sem-setval", "shm-remove", "sem-remove", "msg-remove"], NOTHING_THERE, "the host's objects are not in the job's ipc namespace"),
    both(&["shm-huge"], Expect::Errno(libc::ENOMEM), "segments are allowed in an ipc namespace of its own, huge pages are not"),
    both(&["shadow", "daemon-audit"], GONE, "not listed, so not there"),
    both(&["kill", "kill-group", "tgkill", "sigqueue", "pidfd-signal", "setown", "setpriority", "ioprio", "prlimit", "sched", "affinity"], NO_PROCESS, "no pid of the host's names a process in the job's own pid namespace"),
    both(&["daemon-environ", "proc-root", "proc-cwd", "proc-fd", "proc-environ", "proc-mem", "proc-oom", "pidfd-proc"], GONE, "/proc has the job's own processes and no other"),
    both(&["sysctl"], GONE, "/proc has processes and nothing else"),
    both(&["disk", "fuse", "ptmx", "tty-write"], GONE, "/dev has six harmless devices and no other"),
    each(&["setuid", "setgid", "setuid-program"], REFUSED, Expect::Done, "root is root already, and gains nothing by it"),
    each(&["foreign-file"], NO_ACCESS, Expect::Done, "the file is root's, and listed"),
    each(&["accounts", "program-file"], NO_ACCESS, READ_ONLY, "root may write the file, but not through this mount"),
    each(&["init-root", "init-environ", "init-memory", "init-program"], GONE, NO_ACCESS, "/proc hides others' processes from all but root's group, which may not look into them"),
];

/// The first Landlock ABI version that restricts signals.
const SCOPES: u32 = 6;

/// Differences if Landlock has no scopes, in the same format.
const WITHOUT_SCOPES: &[Difference] = &[each(
    &["kill-watchdog"],
    Expect::Done,
    REFUSED,
    "pid 1 has the job's uid, and the kernel keeps it from being killed by those in its namespace",
)];

/// Skipped as root: if a sandbox layer were missing, the attack would affect the whole machine.
const TOO_DANGEROUS: &[&str] = &["kill-all", "kill-group", "setpriority-user", "ioprio-user"];

/// Returns every attack that is tried in `strict`.
pub fn attacks(identity: StrictIdentity) -> impl Iterator<Item = &'static Attack> {
    super::all().chain(hidden::HIDDEN).filter(move |attack| {
        identity == StrictIdentity::Own || !TOO_DANGEROUS.contains(&attack.id)
    })
}

/// Returns the expected result. `landlock` is the ABI version, 0 without Landlock.
#[must_use]
pub fn expected(attack: &Attack, identity: StrictIdentity, landlock: u32) -> Expect {
    let find = |table: &[Difference]| {
        let row = table.iter().find(|row| row.ids.contains(&attack.id))?;
        Some(match identity {
            StrictIdentity::Own => row.own,
            StrictIdentity::Root => row.root,
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

/// Returns every difference as one JSON object: attack, result for each identity, reason.
pub fn describe() -> impl Iterator<Item = Value> {
    DIFFERENT.iter().flat_map(|row| {
        row.ids.iter().map(|id| {
            json!({ "id": id, "own": row.own.word(), "root": row.root.word(), "why": row.why })
        })
    })
}

/// Checks that work in `read` but not in `strict`, with reasons.
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

/// Returns all checks that must succeed in `strict`.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let kept = |check: &&Check| NOT_ALLOWED.iter().all(|(id, _)| *id != check.id);
    allowed::ALL
        .iter()
        .chain(allowed::LAYERS)
        .filter(kept)
        .chain(CHECKS)
}

#[rustfmt::skip] // a table, one row a line
pub const CHECKS: &[Check] = &[
    check("may-listen-low", "listen on a port below 1024 and connect to it", |_| own_server("127.0.0.1:80")),
    check("may-listen-low6", "the same with IPv6", |_| own_server("[::1]:80")),
    check("may-share-memory", "make, use and remove a System V segment", share_memory),
    check("may-semaphores", "make, use and remove a set of System V semaphores", semaphores),
    check("may-see-itself", "see itself in /proc", |_| read("/proc/self/status")),
    check("is-separate", "each of its namespaces is another than the host's", is_separate),
    check("is-alone", "no process but its own and pid 1 is to be seen", is_alone),
    check("is-bare", "it has its three descriptors and no other", is_bare),
    check("is-own-network", "its network has a loopback interface and nothing else", is_own_network),
    check("is-own-root", "its root has what is listed and a base set", is_own_root),
    check("is-never-both", "no mount is writable and executable at once", is_never_both),
];

fn own_server(address: &str) -> Tried {
    let listener = TcpListener::bind(address)?;
    let mut near = TcpStream::connect(address)?;
    let (mut far, _) = listener.accept()?;
    near.write_all(b"text")?;
    far.read_exact(&mut [0; 4])?;
    Ok("connected".into())
}

fn share_memory(_: &[String]) -> Tried {
    let id = sys!(libc::SYS_shmget, libc::IPC_PRIVATE, 4096, 0o600)?;
    let at = sys!(libc::SYS_shmat, id, 0, 0)?;
    sys!(libc::SYS_shmdt, at)?;
    made(sys!(libc::SYS_shmctl, id, libc::IPC_RMID, 0))
}

fn semaphores(_: &[String]) -> Tried {
    const MANY: i32 = 250;
    let id = sys!(libc::SYS_semget, libc::IPC_PRIVATE, MANY, 0o600)?;
    let mut up = libc::sembuf {
        sem_num: 0,
        sem_op: 1,
        sem_flg: 0,
    };
    sys!(libc::SYS_semop, id, &raw mut up, 1)?;
    made(sys!(libc::SYS_semctl, id, 0, libc::IPC_RMID))
}

/// The scene passes the host's namespaces as `kind:[number]`.
fn is_separate(arguments: &[String]) -> Tried {
    for host in arguments {
        let kind = host.split(':').next().unwrap_or_default();
        let own = fs::read_link(format!("/proc/self/ns/{kind}"))?;
        truth(own.as_os_str() != host.as_str(), host.clone())?;
    }
    truth(
        arguments.len() == 6,
        format!("{} namespaces", arguments.len()),
    )
}

fn is_alone(_: &[String]) -> Tried {
    let names =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    let own = std::process::id();
    truth(
        own <= 2 && pids.contains(&own) && pids.iter().all(|pid| [1, own].contains(pid)),
        format!("{pids:?}, itself {own}"),
    )
}

/// The fourth descriptor is that of the listing itself. None may be a directory, which could be a way out.
fn is_bare(_: &[String]) -> Tried {
    let open = fs::read_dir("/proc/self/fd")?.count();
    let directory = (0..3).any(|fd| {
        let meta = fs::metadata(format!("/proc/self/fd/{fd}"));
        meta.is_ok_and(|meta| meta.is_dir())
    });
    truth(open == 4 && !directory, format!("{open} descriptors"))
}

fn is_own_network(_: &[String]) -> Tried {
    let devices = fs::read_to_string("/proc/self/net/dev")?;
    let names: Vec<&str> = devices
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split(':').next()?.trim()))
        .collect();
    truth(names == ["lo"], format!("{names:?}"))
}

/// Only the first of the directories above a listed path is visible here.
fn is_own_root(_: &[String]) -> Tried {
    const BASE: &[&str] = &[
        "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp",
        "usr", "var",
    ];
    let names: Vec<String> = fs::read_dir("/")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    truth(
        names.iter().all(|name| BASE.contains(&name.as_str())),
        format!("{names:?}"),
    )
}

fn is_never_both(_: &[String]) -> Tried {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let both = mounts.lines().find(|line| {
        let options = line.split_whitespace().nth(5).unwrap_or_default();
        !options
            .split(',')
            .any(|option| ["ro", "noexec"].contains(&option))
    });
    truth(both.is_none(), both.unwrap_or_default().into())
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
                let attack = attacks(StrictIdentity::Own).find(|attack| attack.id == *id);
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
