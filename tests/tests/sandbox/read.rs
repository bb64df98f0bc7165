//! The profile `read`.

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
fn every_attack_is_refused_by_its_wall() {
    both_ways(&Options::default())
        .into_iter()
        .for_each(is_refused);
}

fn is_refused(options: Options) {
    let mut arena = Arena::new(options);
    assert!(arena.gets_ahead(), "a zygote forks them, ahead or not");
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
        let wrong = arena.failing(allowed::ALL.iter().chain(allowed::WALLS));
        assert!(wrong.is_empty(), "{wrong:#?}");
        arena.daemon.stop();
    }
}

#[test]
fn between_jobs_no_process_has_the_uid_of_a_job() {
    let mut arena = Arena::new(Options::default());
    assert_eq!(arena.daemon.job_processes(), []);
    arena.run(vec!["true".into()]);
    assert_eq!(arena.daemon.job_processes(), []);
    arena.daemon.stop();
}

/// Each wall that one job can feel, as `REMIT_MUTATE` names it, and what gets through, or through to the next
/// wall, when it alone is switched off.
#[rustfmt::skip] // a table, one row a line
const MUTATIONS: &[(&str, &[&str])] = &[
    ("Identity", &["foreign-file", "daemon-audit", "shadow", "prlimit"]),
    ("Capabilities", &["is-powerless"]), // an exec as another uid than root takes the rest
    ("NoNewPrivs", &[]), // the kernel then refuses the filter and Landlock, so that nothing runs
    ("ReadOnlyMounts", &["write", "chmod", "chown", "utimes", "setxattr", "atime"]),
    ("NoSuid", &["is-nosuid"]),
    ("NoDev", &["device-node"]),
    ("PrivateTmp", &["host-tmp", "host-var-tmp", "host-shm", "may-use-tmp"]),
    ("SeccompSockets", &["tcp-connect", "udp-send", "unix-stream", "netlink-uevent", "netlink-xfrm"]),
    ("SeccompSocketpair", &["unix-pair", "unix-pair-high", "unix-pair-name"]),
    ("SeccompIpc", &["shmget", "semget", "msgget", "sem-setval", "shm-remove", "mq-open"]),
    ("SeccompLocks", &["flock", "fcntl-lock", "fcntl-lock-wait", "ofd-lock", "lease", "futex-requeue", "flush", "write-hint", "fifo-size", "direct-read", "direct-openat2", "page-out"]),
    ("SeccompRefused", &["unshare-user", "clone-user", "io-uring", "perf", "add-key", "personality", "own-filter", "own-listener", "file-system-key", "socket-filter", "fiemap", "whiteout"]),
    ("SeccompUnknown", &["clone3"]),
    ("Keyring", &["is-own-keyring"]),
    ("Rlimits", &["is-limited", "core-limit", "core-limit-older"]),
    ("Scheduling", &["is-plain"]),
];

/// The same for Landlock, where the kernel has it. Not here: `LandlockScope`, since the uid and the
/// filter refuse first whatever it would, and `Descriptors`, since the warden opens none that would survive the
/// exec. The daemon's own witness tries both at start, and is itself tested with each of them off.
const LANDLOCK: (&str, &[&str]) = (
    "Landlock",
    &["fifo", "proc-root", "proc-cwd", "proc-fd", "proc-environ"],
);

#[test]
fn without_a_wall_something_gets_through() {
    let landlock = has_landlock().then_some(&LANDLOCK);
    let mut wrong = Vec::new();
    for (wall, ids) in MUTATIONS.iter().chain(landlock) {
        let Some(options) = Options::mutated("REMIT_MUTATE", wall) else {
            return;
        };
        let [_, options] = both_ways(&options);
        let mut arena = Arena::new(options);
        if ids.is_empty() {
            // One wall cannot be built without another.
            let ran = arena.daemon.remit(&user_a(), &["run", "true"]);
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            if ran.status.code() != Some(125) || !said.contains("unsupported_kernel") {
                wrong.push(format!("{wall}: something runs without it: {ran:?}"));
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
                wrong.push(format!("{wall}: {id} is still {}", seen.outcome.word()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
