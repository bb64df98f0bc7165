//! The profile `strict`, with a listed path or two: as a uid of its own, and as root.

use remit_tests::attack;
use remit_tests::attack::strict::{self, Who};
use remit_tests::control::Outcome;
use remit_tests::daemon::{Options, user_a};

use super::arena::{Arena, both_ways, has_landlock};

fn every_attack_meets_its_wall(who: Who) {
    for options in both_ways(&Options::default()) {
        let ahead = options.shared;
        let mut arena = Arena::strict(who, options);
        assert_eq!(
            arena.gets_ahead(),
            ahead,
            "where they can, they are forked ahead"
        );
        meets_its_wall(arena, who);
    }
}

fn meets_its_wall(mut arena: Arena, who: Who) {
    let (version, mut wrong) = (arena.landlock(), Vec::new());
    for attack in strict::attacks(who) {
        let seen = arena.perform(attack.id);
        let expected = strict::expected(attack, who, version);
        if !seen.meets(expected) {
            wrong.push(format!(
                "{}: {} touched {:?}, not {}",
                attack.id,
                seen.outcome.word(),
                seen.touched,
                expected.word()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    arena.daemon.stop();
}

#[test]
fn every_attack_of_a_uid_of_its_own_meets_its_wall() {
    every_attack_meets_its_wall(Who::Own);
}

#[test]
fn every_attack_of_root_meets_its_wall() {
    every_attack_meets_its_wall(Who::Root);
}

#[test]
fn everything_else_works_for_both() {
    for who in [Who::Own, Who::Root] {
        for options in both_ways(&Options::default()) {
            let mut arena = Arena::strict(who, options);
            let wrong = arena.failing(strict::checks());
            assert!(wrong.is_empty(), "{who:?}: {wrong:#?}");
            assert_eq!(arena.daemon.job_processes(), []);
            arena.daemon.stop();
        }
    }
}

/// A wall that is switched off, and what gets through then, or through to the next wall: for a uid of its own,
/// and for root.
type Mutation = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// As in `read.rs`. Not here: `Keyring` and `Descriptors`, which no attack feels behind the others; the witness does.
#[rustfmt::skip] // a table, one row a line
const MUTATIONS: &[Mutation] = &[
    ("Identity", &["foreign-file", "setuid", "setuid-program"], &[]), // root's identity is the same without it
    ("Capabilities", &["is-powerless", "keepcaps"], &["setgroups", "raw-socket", "link-up", "give-away", "securebits", "is-powerless"]),
    ("PidNamespace", &["kill", "setpriority", "prlimit", "affinity", "setown", "is-alone"], &["prlimit", "host-process", "is-alone"]),
    ("ReadOnlyMounts", WRITTEN, WRITTEN),
    ("NoSuid", &["is-nosuid"], &["is-nosuid"]),
    ("NoDev", &["device-node"], &["device-node"]),
    ("PrivateTmp", PRIVATE, PRIVATE),
    ("PrivateRoot", &["host-file", "host-file-upwards", "is-own-root"], &["shadow", "daemon-audit", "host-file", "host-file-upwards", "is-own-root"]),
    ("NoExec", EXECUTED, EXECUTED),
    ("NetworkNamespace", REACHED, REACHED),
    ("IpcNamespace", OBJECTS, OBJECTS),
    ("UtsNamespace", &["is-apart"], &["is-apart"]),
    ("CgroupNamespace", &["is-apart"], &["is-apart"]),
    ("SeccompSockets", &["unix-stream", "netlink-uevent"], &["unix-stream", "netlink-uevent"]),
    ("SeccompSocketpair", &["unix-pair", "unix-pair-high", "unix-pair-name"], &["unix-pair", "unix-pair-high", "unix-pair-name"]),
    ("SeccompIpc", &["mq-open"], &["mq-open"]),
    ("SeccompLocks", LOCKED, LOCKED),
    ("SeccompRefused", REFUSED, REFUSED),
    ("SeccompUnknown", &["clone3"], &["clone3"]),
    ("Rlimits", &["is-limited", "core-limit", "core-limit-older"], &["is-limited", "core-limit", "core-limit-older"]),
    ("Scheduling", &["is-plain"], &["is-plain"]),
];

const WRITTEN: &[&str] = &[
    "write",
    "chmod",
    "chown",
    "utimes",
    "setxattr",
    "atime",
    "is-never-both",
];
const PRIVATE: &[&str] = &[
    "host-tmp",
    "host-var-tmp",
    "host-shm",
    "host-scratch",
    "may-use-tmp",
];
const EXECUTED: &[&str] = &[
    "exec-tmp",
    "map-tmp",
    "exec-scratch",
    "exec-listed",
    "is-never-both",
];
const REACHED: &[&str] = &[
    "tcp-connect",
    "tcp6-connect",
    "udp-send",
    "is-own-network",
    "is-apart",
];
const OBJECTS: &[&str] = &[
    "shmget",
    "semget",
    "msgget",
    "shmat",
    "sem-setval",
    "shm-remove",
    "is-apart",
];
const LOCKED: &[&str] = &[
    "flock",
    "fcntl-lock",
    "ofd-lock",
    "lease",
    "futex-requeue",
    "flush",
    "fifo-size",
    "direct-read",
    "direct-openat2",
    "page-out",
];
const REFUSED: &[&str] = &[
    "unshare-user",
    "clone-user",
    "io-uring",
    "perf",
    "add-key",
    "personality",
    "own-filter",
    "own-listener",
    "file-system-key",
    "socket-filter",
    "fiemap",
];

/// With Landlock alone off, where the kernel has it.
const LANDLOCK: &[Mutation] = &[
    ("Landlock", &["fifo", "mknod"], &["fifo", "mknod"]),
    ("LandlockScope", &["kill-keeper"], &[]),
];

#[test]
fn without_a_wall_something_gets_through() {
    let landlock = has_landlock().then_some(LANDLOCK).into_iter().flatten();
    let mut wrong = Vec::new();
    let kinds = MUTATIONS.iter().chain(landlock);
    for ((wall, own, root), way) in kinds.flat_map(|kind| [(kind, 0), (kind, 1)]) {
        for (who, ids) in [(Who::Own, own), (Who::Root, root)] {
            let Some(options) = Options::mutated("REMIT_MUTATE", &format!("strict.{wall}")) else {
                return;
            };
            if ids.is_empty() {
                continue;
            }
            let mut arena = Arena::strict(who, both_ways(&options)[way].clone());
            let ahead = way == 1 && arena.gets_ahead();
            let version = arena.landlock();
            for id in *ids {
                let seen = arena.perform(id);
                let held = match attack::named(id) {
                    Some(attack) => seen.meets(strict::expected(attack, who, version)),
                    None => matches!(seen.outcome, Outcome::Done(_)),
                };
                if held {
                    wrong.push(format!(
                        "{wall}, {who:?}, ahead {ahead}: {id} is still {}",
                        seen.outcome.word()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The filter cannot be had without it, so nothing runs.
#[test]
fn without_no_new_privs_nothing_runs() {
    let Some(options) = Options::mutated("REMIT_MUTATE", "strict.NoNewPrivs") else {
        return;
    };
    let arena = Arena::strict(Who::Own, options);
    let ran = arena.daemon.remit(&user_a(), &["run", "true"]);
    assert_eq!(ran.status.code(), Some(125), "{ran:?}");
}
