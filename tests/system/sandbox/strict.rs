//! Attacks on the profile `strict` with one or two listed paths, as a separate uid and as root.

use remit_tests::attack;
use remit_tests::attack::strict::{self, StrictIdentity};
use remit_tests::control::Outcome;
use remit_tests::daemon::{Options, user_a};

use super::arena::{Arena, both_ways, has_landlock};

fn check_all_attacks(identity: StrictIdentity) {
    for options in both_ways(&Options::default()) {
        let preforked = options.shared;
        let mut arena = Arena::strict(identity, options);
        assert_eq!(
            arena.gets_preforked(),
            preforked,
            "where they can, they are pre-forked"
        );
        check_attacks(arena, identity);
    }
}

fn check_attacks(mut arena: Arena, identity: StrictIdentity) {
    let (version, mut wrong) = (arena.landlock(), Vec::new());
    for attack in strict::attacks(identity) {
        let seen = arena.perform(attack.id);
        let expected = strict::expected(attack, identity, version);
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
fn own_uid_attacks_are_refused_by_their_layers() {
    check_all_attacks(StrictIdentity::Own);
}

#[test]
fn root_attacks_are_refused_by_their_layers() {
    check_all_attacks(StrictIdentity::Root);
}

#[test]
fn everything_else_works_for_both() {
    for identity in [StrictIdentity::Own, StrictIdentity::Root] {
        for options in both_ways(&Options::default()) {
            let mut arena = Arena::strict(identity, options);
            let wrong = arena.failing(strict::checks());
            assert!(wrong.is_empty(), "{identity:?}: {wrong:#?}");
            assert_eq!(arena.daemon.job_processes(), []);
            arena.daemon.stop();
        }
    }
}

/// A layer that is switched off, and the attacks that succeed or reach the next layer: with a job uid, and as
/// root.
type Mutation = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// As in `read.rs`. `Keyring` and `Descriptors` are missing because other layers refuse first; the self-test
/// covers both.
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
    ("UtsNamespace", &["is-separate"], &["is-separate"]),
    ("CgroupNamespace", &["is-separate"], &["is-separate"]),
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
    "is-separate",
];
const OBJECTS: &[&str] = &[
    "shmget",
    "semget",
    "msgget",
    "shmat",
    "sem-setval",
    "shm-remove",
    "is-separate",
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
    "es-cache",
    "disk-priority",
    "signal-io",
    "line-discipline",
    "large-acl",
    "memory-policy",
    "flow-label",
    "tcp-key",
    "udp-encap",
    "futex-hash",
];

const LANDLOCK: &[Mutation] = &[
    ("Landlock", &["fifo", "mknod"], &["fifo", "mknod"]),
    ("LandlockScope", &["kill-watchdog"], &[]),
];

#[test]
fn disabled_layer_lets_attack_through() {
    let landlock = has_landlock().then_some(LANDLOCK).into_iter().flatten();
    let mut wrong = Vec::new();
    let kinds = MUTATIONS.iter().chain(landlock);
    for (layer, own, root) in kinds {
        for (identity, ids) in [(StrictIdentity::Own, own), (StrictIdentity::Root, root)] {
            let Some(options) = Options::mutated("REMIT_MUTATE", &format!("strict.{layer}")) else {
                return;
            };
            if ids.is_empty() {
                continue;
            }
            let [_, options] = both_ways(&options);
            let mut arena = Arena::strict(identity, options);
            let version = arena.landlock();
            for id in *ids {
                let seen = arena.perform(id);
                let held = match attack::named(id) {
                    Some(attack) => seen.meets(strict::expected(attack, identity, version)),
                    None => matches!(seen.outcome, Outcome::Done(_)),
                };
                if held {
                    wrong.push(format!(
                        "{layer}, {identity:?}: {id} is still {}",
                        seen.outcome.word()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The filter needs no_new_privs, so nothing runs.
#[test]
fn without_no_new_privs_nothing_runs() {
    let Some(options) = Options::mutated("REMIT_MUTATE", "strict.NoNewPrivs") else {
        return;
    };
    let arena = Arena::strict(StrictIdentity::Own, options);
    let ran = arena.daemon.remit(&user_a(), &["run", "true"]);
    assert_eq!(ran.status.code(), Some(125), "{ran:?}");
}
