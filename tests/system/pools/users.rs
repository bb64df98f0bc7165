//! Kernel limits per user, if the job's user is also a user of the host.

use nix::sys::signal::Signal;
use remit_tests::caller::{argv, at_once, stdout};
use remit_tests::control::Outcome;
use remit_tests::daemon::Options;
use remit_tests::process::{Identity, ends_within};
use remit_wire::Run;

use super::arena::Arena;

/// The number of epoll(7) watches and of descriptors in flight follows from descriptors and processes.
#[test]
fn s04_descriptor_limit_leaves_watches_to_user() {
    let mut arena = Arena::new(Options::default());
    let watches = std::fs::read_to_string("/proc/sys/fs/epoll/max_user_watches");
    let watches: u64 = watches
        .expect("there is epoll")
        .trim()
        .parse()
        .expect("a number");
    for (profile, tasks) in [("named", 20), ("root", 256)] {
        let files = arena.number(profile, &["files-limit"]);
        assert!(
            files * files / 4 * tasks <= watches,
            "{profile}: {files} of {watches}"
        );
        assert!(files >= 64, "{profile}: {files}");
    }
    // A job uid is shared with nobody.
    assert_eq!(arena.number("walled", &["files-limit"]), 1024);
    arena.daemon.stop();
}

/// proc_pid_limits(5): name, soft and hard limit.
#[test]
fn pool_limits_match_table() {
    let mut arena = Arena::new(Options::default());
    for profile in ["read", "walled", "named", "root"] {
        let limits = Run {
            profile: (profile != "read").then(|| profile.to_owned()),
            ..argv(&["cat", "/proc/self/limits"])
        };
        let limits = stdout(&arena.report(limits));
        for (name, most) in [
            ("Max open files", 1024),
            ("Max locked memory", 65536),
            ("Max pending signals", 1024),
            ("Max msgqueue size", 0),
            ("Max core file size", 1),
            ("Max nice priority", 0),
            ("Max realtime priority", 0),
        ] {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            let hard = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            assert!(
                hard.is_some_and(|hard| hard <= most),
                "{profile}: {name} {hard:?}"
            );
        }
    }
    arena.daemon.stop();
}

/// 20 tasks, of 60 that it tries to start.
#[test]
fn s06_tasks_are_limited_without_controller() {
    let mut arena = Arena::new(Options::default());
    let taken = arena.number("named", &["forks", "60"]);
    assert!((10..=24).contains(&taken), "{taken}");
    // Counts only the job's tasks, not other processes of the user.
    let mut others: Vec<_> = (0..30)
        .map(|_| {
            let mut sleeper = std::process::Command::new("sleep");
            Identity::new(super::arena::NAMED, &[]).runs(sleeper.arg("600"));
            sleeper.spawn().expect("sleep starts")
        })
        .collect();
    let taken = arena.number("named", &["forks", "60"]);
    others.iter_mut().for_each(|other| {
        let _ = other.kill();
        let _ = other.wait();
    });
    assert!((10..=24).contains(&taken), "beside others: {taken}");
    arena.daemon.stop();
}

/// A job that can become another user could take all of that user's instances.
#[test]
fn s16_job_with_setuid_takes_no_foreign_watches() {
    let mut arena = Arena::new(Options::default());
    let seen = arena.changes("changes.inotify");
    assert!(matches!(seen, Outcome::Refused(libc::EMFILE)), "{seen:?}");
    let own = super::arena::NAMED.to_string();
    arena.is_refused(&["named"], &["inotify-as", &own], libc::EMFILE);
    arena.is_refused(&["root"], &["inotify-as", "0"], libc::EMFILE);
    let seen = arena.tries("walled", &["may-inotify", "/usr"]);
    assert!(matches!(seen, Outcome::Done(_)), "{seen:?}");
    arena.daemon.stop();
}

/// Processes with the maximum number of groups. `/proc/PID/status` lists all of them, whatever field is read.
struct Crowd(Vec<std::process::Child>);

impl Crowd {
    /// Adds processes until reading one status file of each costs `least` clock ticks. Returns the cost.
    fn costing(least: u64) -> (Self, u64) {
        let groups: Vec<u32> = (100_000..100_000 + 65_536).collect();
        let stranger = Identity::new(64_080, &groups);
        let mut crowd = Self(Vec::new());
        let before = ticks("self");
        let mut cost = 0;
        while cost < least {
            assert!(crowd.0.len() < 1000, "{cost} ticks");
            let mut sleeper = std::process::Command::new("sleep");
            stranger.runs(sleeper.arg("600"));
            let sleeper = sleeper.spawn().expect("sleep starts");
            let status = format!("/proc/{}/status", sleeper.id());
            crowd.0.push(sleeper);
            let status = std::fs::read(status).expect("it lives");
            assert!(status.len() > 65_536 * 6);
            cost = ticks("self") - before;
        }
        (crowd, cost)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for one in &mut self.0 {
            let _ = one.kill();
            let _ = one.wait();
        }
    }
}

/// Returns clock ticks of a process and its reaped children, proc_pid_stat(5).
fn ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let times = fields.split_whitespace().skip(11).take(4);
    times.map(|time| time.parse::<u64>().expect("ticks")).sum()
}

/// No start, and no job of a named user, reads a file whose cost another user controls.
#[test]
fn k02_processes_of_strangers_cost_the_daemon_nothing() {
    let mut alone = Arena::new(Options::default());
    assert!(alone.number("named", &["forks", "60"]) >= 10);
    let usual = ticks(&alone.daemon.pid().to_string());
    alone.daemon.stop();

    let (crowd, cost) = Crowd::costing(40);
    let mut arena = Arena::new(Options::default());
    let taken = arena.number("named", &["forks", "60"]);
    assert!((10..=24).contains(&taken), "{taken}");
    let spent = ticks(&arena.daemon.pid().to_string());
    assert!(spent < usual + cost / 2, "{spent} of {usual} and {cost}");

    // A start after a death searches for leftover processes.
    arena.report(at_once(argv(&["sleep", "600"])));
    arena.daemon.signal(Signal::SIGKILL);
    assert!(ends_within(arena.daemon.pid(), 10_000));
    arena.daemon.restart_insistently();
    let spent = ticks(&arena.daemon.pid().to_string());
    assert!(spent < usual + cost / 2, "{spent} of {usual} and {cost}");
    drop(crowd);
    arena.daemon.stop();
}
