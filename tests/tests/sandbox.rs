//! The `read` sandbox under attack, through the real daemon.
//!
//! `controls.rs` shows that each attack succeeds without it. Where the kernel
//! has no Landlock (`make sandbox-without-landlock`) exactly the attacks that
//! Landlock alone refuses get through: the table in SECURITY.md.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use remit_common::client::Client;
use remit_common::outcome::JobReport;
use remit_common::wire::{Bytes, Purpose, Reply, Request, Run, What};
use remit_tests::attack::allowed::{self, Check};
use remit_tests::attack::{self, Attack, Expect};
use remit_tests::control::{Outcome, Seen};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::Identity;
use remit_tests::scene::{Ground, arrange};

fn has_landlock() -> bool {
    std::env::var("REMIT_TEST_LANDLOCK").map_or(true, |value| value != "none")
}

/// A daemon with one job at a time, so that the next job's uid is known.
struct Arena {
    daemon: Daemon,
    client: Client,
    ground: Ground,
    next: u32,
}

impl Arena {
    fn new(options: Options) -> Self {
        Self::over(Daemon::start(Options { jobs: 1, ..options }))
    }

    fn over(daemon: Daemon) -> Self {
        let client = daemon.client(&user_a()).expect("user A may connect");
        let ground = daemon.ground(Identity::new(daemon.first_job_uid(), &[4]));
        let next = daemon.first_job_uid();
        Self {
            daemon,
            client,
            ground,
            next,
        }
    }

    fn run(&mut self, argv: Vec<String>) -> JobReport {
        let run = Run {
            what: What::Argv(
                argv.into_iter()
                    .map(|one| Bytes::from(one.into_bytes()))
                    .collect(),
            ),
            cwd: None,
            env: Vec::new(),
            stdin: None,
            profile: None,
            wait_ms: Some(20_000),
            max_runtime_s: Some(15),
            request_id: None,
            purpose: Purpose::Use,
        };
        match self.client.call(Request::Run(run), |_| {}) {
            Ok(Reply::Job { report, .. }) => {
                let first = self.daemon.first_job_uid();
                self.next = if self.next == first { first + 1 } else { first };
                *report
            }
            other => panic!("{other:?}"),
        }
    }

    /// Performs an attack or a check in a scene that was set for the uid of the next job.
    fn perform(&mut self, id: &str) -> Seen {
        let uid = self.next;
        self.ground.job = Identity::new(uid, &[4]);
        let scene = arrange(id, &self.ground);
        let report = self.run(scene.argv(id));
        if let Some(enforced) = &report.enforced {
            assert_eq!(enforced.uid, uid, "{report:?}");
        }
        let signal = report.ending.as_ref().and_then(|ending| ending.signal);
        let stdout = String::from_utf8_lossy(&report.stdout.head).into_owned();
        let outcome = match Outcome::read(&stdout, signal) {
            Outcome::Broken(why) => Outcome::Broken(format!("{why} {report:?}")),
            outcome => outcome,
        };
        Seen {
            outcome,
            touched: scene.touched(),
        }
    }
}

fn expected(attack: &Attack) -> Expect {
    if has_landlock() {
        attack.expect
    } else {
        attack.without_landlock
    }
}

#[test]
fn every_attack_is_refused_by_its_wall() {
    let mut arena = Arena::new(Options::default());
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

/// Which checks of a list fail.
fn failing<'a>(arena: &mut Arena, checks: impl Iterator<Item = &'a Check>) -> Vec<String> {
    checks
        .map(|check| (check.id, arena.perform(check.id)))
        .filter(|(_, seen)| !matches!(seen.outcome, Outcome::Done(_)))
        .map(|(id, seen)| format!("{id}: {}", seen.outcome.word()))
        .collect()
}

#[test]
fn everything_else_works() {
    let mut arena = Arena::new(Options::default());
    let wrong = failing(&mut arena, allowed::ALL.iter().chain(allowed::WALLS));
    assert!(wrong.is_empty(), "{wrong:#?}");
    arena.daemon.stop();
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
    ("Identity", &["foreign-file", "daemon-audit", "shadow"]),
    ("Capabilities", &["is-powerless"]), // an exec as another uid than root takes the rest
    ("NoNewPrivs", &[]), // the kernel then refuses the filter and Landlock, so that nothing runs
    ("PidNamespace", &["kill", "tgkill", "setpriority", "prlimit", "affinity", "setown"]),
    ("ReadOnlyMounts", &["write", "chmod", "chown", "utimes", "setxattr", "atime"]),
    ("NoSuid", &["is-nosuid"]),
    ("NoDev", &["device-node"]),
    ("PrivateTmp", &["host-tmp", "host-var-tmp", "host-shm", "may-use-tmp"]),
    ("SeccompSockets", &["tcp-connect", "udp-send", "unix-stream", "netlink-uevent"]),
    ("SeccompSocketpair", &["unix-pair", "unix-pair-high", "unix-pair-name"]),
    ("SeccompIpc", &["shmget", "semget", "msgget", "sem-setval", "shm-remove", "mq-open"]),
    ("SeccompLocks", &["flock", "fcntl-lock", "fcntl-lock-wait", "ofd-lock", "lease", "futex-requeue", "flush", "write-hint", "fifo-size"]),
    ("SeccompRefused", &["unshare-user", "clone-user", "io-uring", "perf", "add-key", "personality", "own-filter", "own-listener", "file-system-key"]),
    ("SeccompUnknown", &["clone3"]),
    ("Keyring", &["is-own-keyring"]),
    ("Rlimits", &["is-limited", "core-limit", "core-limit-older"]),
    ("Scheduling", &["is-plain"]),
];

/// The same for Landlock, where the kernel has it. Not here: `LandlockScope`, since the pid namespace and the
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
        let daemon = Daemon::start(Options { jobs: 1, ..options });
        if ids.is_empty() {
            // One wall cannot be built without another.
            let ran = daemon.remit(&user_a(), &["run", "true"]);
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            if ran.status.code() != Some(125) || !said.contains("unsupported_kernel") {
                wrong.push(format!("{wall}: something runs without it: {ran:?}"));
            }
            continue;
        }
        let mut arena = Arena::over(daemon);
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
