//! Attacks on the profile `read`.

use remit_tests::attack::{self, Attack, Expect, allowed};
use remit_tests::control::Outcome;
use remit_tests::daemon::{Options, user_a};

use super::arena::{Arena, both_ways, has_landlock};

fn expected(attack: &Attack) -> Expect {
    if has_landlock() {
        attack.expect
    } else {
        attack.without_landlock
    }
}

#[test]
fn every_attack_is_refused_by_its_layer() {
    both_ways(&Options::default())
        .into_iter()
        .for_each(is_refused);
}

fn is_refused(options: Options) {
    let preforked = options.shared;
    let mut arena = Arena::new(options);
    assert_eq!(
        arena.gets_preforked(),
        preforked,
        "where they can, they are pre-forked"
    );
    let mut wrong = Vec::new();
    for attack in attack::all() {
        let seen = arena.perform(attack.id);
        if !seen.meets(expected(attack)) {
            let expected = expected(attack).word();
            wrong.push(format!(
                "{}: {} touched {:?}, not {expected}",
                attack.id,
                seen.outcome.word(),
                seen.touched
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    arena.daemon.stop();
}

#[test]
fn everything_else_works() {
    for options in both_ways(&Options::default()) {
        let mut arena = Arena::new(options);
        let wrong = arena.failing(allowed::ALL.iter().chain(allowed::LAYERS));
        assert!(wrong.is_empty(), "{wrong:#?}");
        arena.daemon.stop();
    }
}

#[test]
fn no_process_has_job_uid_between_jobs() {
    let mut arena = Arena::new(Options::default());
    assert_eq!(arena.daemon.job_processes(), []);
    arena.run(vec!["true".into()]);
    assert_eq!(arena.daemon.job_processes(), []);
    arena.daemon.stop();
}

/// Each sandbox layer that one job can notice, by its name in `REMIT_MUTATE`. The list has the attacks that
/// succeed or reach the next layer if only this one is off.
#[rustfmt::skip] // a table, one row a line
const MUTATIONS: &[(&str, &[&str])] = &[
    ("Identity", &["foreign-file", "daemon-audit", "shadow", "prlimit"]),
    ("Capabilities", &["is-powerless"]), // exec as a uid other than root drops the rest
    ("NoNewPrivs", &[]), // the kernel then refuses the filter and Landlock, so nothing runs
    ("ReadOnlyMounts", &["write", "chmod", "chown", "utimes", "setxattr", "atime"]),
    ("NoSuid", &["is-nosuid"]),
    ("NoDev", &["device-node"]),
    ("PrivateTmp", &["host-tmp", "host-var-tmp", "host-shm", "may-use-tmp"]),
    ("SeccompSockets", &["tcp-connect", "udp-send", "netlink-uevent", "netlink-xfrm"]),
    ("SeccompSocketpair", &["unix-stream", "unix-pair", "unix-pair-high", "unix-pair-name"]),
    ("SeccompIpc", &["shmget", "semget", "msgget", "sem-setval", "shm-remove", "mq-open"]),
    ("SeccompLocks", &["flock", "fcntl-lock", "fcntl-lock-wait", "ofd-lock", "lease", "futex-requeue", "flush", "write-hint", "fifo-size", "direct-read", "direct-openat2", "page-out", "setown"]),
    ("SeccompRefused", &["unshare-user", "clone-user", "io-uring", "perf", "add-key", "personality", "own-filter", "own-listener", "file-system-key", "socket-filter", "fiemap", "es-cache", "whiteout", "unix-autobind", "disk-priority", "signal-io", "line-discipline", "large-acl", "memory-policy", "futex-hash", "foreign-timer", "foreign-sleep"]),
    ("SeccompUnknown", &["clone3"]),
    ("Keyring", &["is-own-keyring"]),
    ("Rlimits", &["is-limited", "core-limit", "core-limit-older"]),
    ("Scheduling", &["is-plain"]),
];

/// The same for Landlock, if the kernel has it. `LandlockScope` is missing because the uid and the seccomp filter
/// refuse first. `Descriptors` is missing because the warden opens none without close-on-exec. The daemon's
/// self-test tries both at start, and is itself tested with each of them off.
const LANDLOCK: (&str, &[&str]) = (
    "Landlock",
    &["fifo", "proc-root", "proc-cwd", "proc-fd", "proc-environ"],
);

#[test]
fn disabled_layer_lets_attack_through() {
    let landlock = has_landlock().then_some(&LANDLOCK);
    let mut wrong = Vec::new();
    for (layer, ids) in MUTATIONS.iter().chain(landlock) {
        let Some(options) = Options::mutated("REMIT_MUTATE", layer) else {
            return;
        };
        let [_, options] = both_ways(&options);
        let mut arena = Arena::new(options);
        if ids.is_empty() {
            // One layer cannot be built without another.
            let ran = arena.daemon.remit(&user_a(), &["run", "true"]);
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            if ran.status.code() != Some(125) || !said.contains("unsupported_kernel") {
                wrong.push(format!("{layer}: something runs without it: {ran:?}"));
            }
            continue;
        }
        for id in *ids {
            let seen = arena.perform(id);
            let held = match attack::named(id) {
                Some(attack) => seen.meets(expected(attack)),
                None => matches!(seen.outcome, Outcome::Done(_)),
            };
            if held {
                wrong.push(format!("{layer}: {id} is still {}", seen.outcome.word()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
