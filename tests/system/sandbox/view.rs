//! Attacks on a copy of the machine, by its root.

use remit_tests::attack::{self, Expect, view};
use remit_tests::daemon::Options;

use super::arena::Arena;

/// Attacks in one job.
const TOGETHER: usize = 30;

/// Returns each attack and each check that does not end as expected.
fn wrong<'a>(arena: &mut Arena, ids: impl IntoIterator<Item = &'a str>) -> Vec<(&'a str, String)> {
    let (landlock, mut wrong) = (arena.landlock(), Vec::new());
    let ids: Vec<&str> = ids.into_iter().collect();
    for some in ids.chunks(TOGETHER) {
        for (id, seen) in some.iter().zip(arena.perform_each(some)) {
            let expected = attack::named(id).map(|attack| view::expected(attack, landlock));
            let expected = expected.unwrap_or(Expect::Done);
            if !seen.meets(expected) {
                let (outcome, touched) = (seen.outcome.word(), seen.touched);
                let text = format!("{outcome} touched {touched:?}, not {}", expected.word());
                wrong.push((*id, text));
            }
        }
    }
    wrong
}

#[test]
fn every_attack_of_root_in_a_copy_is_refused_by_its_layer() {
    let mut arena = Arena::view(Options::default());
    let wrong = wrong(&mut arena, view::attacks().map(|attack| attack.id));
    assert!(wrong.is_empty(), "{wrong:#?}");
    arena.daemon.stop();
}

#[test]
fn everything_else_works_in_a_copy() {
    let mut arena = Arena::view(Options::default());
    let wrong = wrong(&mut arena, view::checks().map(|check| check.id));
    assert!(wrong.is_empty(), "{wrong:#?}");
    arena.daemon.stop();
}

/// A layer that is switched off, and the attacks that succeed or reach the next layer.
type Mutation = (&'static str, &'static [&'static str]);

/// `Capabilities`, `ReadOnlyMounts` and `Descriptors` are missing, because other layers refuse first: the self-test and
/// daemon/spawner/tests/confine/view.rs have them. Mounts that are nosuid and nodev are parts of how a copy is made.
#[rustfmt::skip] // a table, one row a line
const MUTATIONS: &[Mutation] = &[
    ("Mask", &["foreign-file", "daemon-audit"]),
    ("UserNamespace", &["foreign-file"]), // the owner of masks is known without it
    ("PidNamespace", &["kill", "setpriority", "prlimit", "affinity", "setown", "host-process"]),
    ("NetworkNamespace", &["tcp-connect", "tcp6-connect", "udp-send", "unix-abstract", "is-own-network", "is-separate"]),
    ("IpcNamespace", &["shmget", "semget", "msgget", "shmat", "sem-setval", "shm-remove", "is-separate"]),
    ("UtsNamespace", &["is-separate"]),
    ("CgroupNamespace", &["is-separate"]),
    ("SeccompSockets", &["netlink-uevent", "netlink-xfrm", "packet-socket"]),
    ("SeccompIpc", &["mq-open"]),
    ("SeccompLocks", &["direct-later", "direct-read", "direct-openat2", "futex-requeue", "write-hint", "fifo-size", "page-out"]),
    ("SeccompRefused", &["unshare-user", "clone-user", "io-uring", "perf", "add-key", "personality", "own-filter", "own-listener", "file-system-key", "socket-filter", "fiemap", "es-cache", "disk-priority", "signal-io", "line-discipline", "large-acl", "memory-policy", "flow-label", "tcp-key", "udp-encap", "futex-hash"]),
    ("SeccompUnknown", &["clone3"]),
    ("Rlimits", &["is-limited", "core-limit", "core-limit-older"]),
    ("Scheduling", &["is-plain"]),
];

#[test]
fn disabled_layer_lets_attack_through() {
    let mut held = Vec::new();
    for (layer, ids) in MUTATIONS {
        let Some(options) = Options::mutated("REMIT_MUTATE", &format!("plan.{layer}")) else {
            return;
        };
        let mut arena = Arena::view(options);
        let lost = wrong(&mut arena, ids.iter().copied());
        let is_held = |id: &&&str| lost.iter().all(|(other, _)| other != *id);
        held.extend(ids.iter().filter(is_held).map(|id| (*layer, *id)));
    }
    assert!(held.is_empty(), "still refused: {held:#?}");
}

/// Calls that need a right over the machine, or over namespaces that belong to the machine, and that every kernel has.
#[rustfmt::skip]
const OF_THE_MACHINE: &[&str] = &[
    "mount", "remount", "umount", "fsopen", "mount-setattr", "pivot-root", "unshare-mount", "setns", "open-by-handle",
    "clock-settime", "settimeofday", "sethostname", "setdomainname", "syslog", "reboot",
];

/// The second layer of SECURITY.md: its user namespace owns no other.
#[test]
fn root_of_a_copy_has_no_right_over_the_machine_without_the_filter() {
    let Some(options) = Options::mutated("REMIT_MUTATE", "plan.SeccompRefused") else {
        return;
    };
    let mut arena = Arena::view(options);
    let wrong = wrong(&mut arena, OF_THE_MACHINE.iter().copied());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
