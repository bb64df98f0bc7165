//! What the kernel counts by user, where a job's user is one of the host's.

use remit_common::wire::Run;
use remit_tests::caller::{argv, stdout};
use remit_tests::control::Outcome;
use remit_tests::daemon::Options;

use super::arena::Arena;

/// Watches by epoll(7) and descriptors in flight are as many as descriptors and processes make them.
#[test]
fn s04_a_users_job_has_as_few_descriptors_as_leave_the_user_its_watches() {
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
    // A uid of its own is nobody else's.
    assert_eq!(arena.number("walled", &["files-limit"]), 1024);
    arena.daemon.stop();
}

/// proc_pid_limits(5): name, soft and hard limit.
#[test]
fn limits_of_pools_are_as_low_as_the_table_says() {
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

/// 20 tasks, of 60 that it tries to have.
#[test]
fn s06_the_tasks_of_a_users_job_are_bounded_without_a_controller() {
    let mut arena = Arena::new(Options::default());
    let had = arena.number("named", &["forks", "60"]);
    assert!((10..=24).contains(&had), "{had}");
    // Of itself, not of the user's other processes.
    let mut others: Vec<_> = (0..30)
        .map(|_| {
            let mut sleeper = std::process::Command::new("sleep");
            remit_tests::process::Identity::new(super::arena::NAMED, &[]).runs(sleeper.arg("600"));
            sleeper.spawn().expect("sleep starts")
        })
        .collect();
    let had = arena.number("named", &["forks", "60"]);
    others.iter_mut().for_each(|other| {
        let _ = other.kill();
        let _ = other.wait();
    });
    assert!((10..=24).contains(&had), "beside others: {had}");
    arena.daemon.stop();
}

/// Whoever can become a user could take all instances of that one.
#[test]
fn s16_who_can_become_another_takes_no_watches_of_theirs() {
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
