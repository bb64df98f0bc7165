//! Memory of the kernel's, and what is cached.

use std::process::Command;

use remit_tests::control::Outcome;
use remit_tests::daemon::{Options, user_b};
use remit_tests::place::built;

use super::arena::Arena;

const EVERYWHERE: &[&str] = &["read", "walled", "named", "root"];

/// Where the kernel keeps all its programs compiled (Debian, Ubuntu, Fedora), nobody can log in without room for one
/// more: sshd installs a filter before it asks for a password.
#[test]
fn s00_no_job_takes_the_memory_of_programs() {
    let mut arena = Arena::new(Options::default());
    // One, before all: on a machine that gave it, the rest would take what everybody needs.
    arena.is_refused(EVERYWHERE, &["socket-filter"], libc::EPERM);
    let seen = arena.changes("writes.filter");
    assert!(matches!(seen, Outcome::Refused(libc::EPERM)), "{seen:?}");

    let before = programs();
    let job = arena.attack("read", &["fill-filters", "17"]);
    let job = std::thread::scope(|scope| {
        let filling = scope.spawn(|| arena.report(job));
        // Meanwhile a user of the host does what sshd does.
        for _ in 0..20 {
            let mut host = Command::new(built().join("remit-attack"));
            host.arg("host-filter");
            user_b().runs(&mut host);
            let said = host.output().expect("it starts");
            let said = Outcome::read(&String::from_utf8_lossy(&said.stdout), None);
            assert!(matches!(said, Outcome::Done(_)), "{said:?}");
        }
        filling.join().expect("it is waited for")
    });
    let said = String::from_utf8_lossy(&job.stdout.head).into_owned();
    assert!(said.contains("\"0 by 17\""), "{said}");
    if let (Some(before), Some(after)) = (before, programs()) {
        assert!(after < before + (64 << 20), "{before} then {after}");
    }
    arena.daemon.stop();
}

/// Bytes of compiled programs that the kernel shows, where it does.
fn programs() -> Option<u64> {
    let regions = std::fs::read_to_string("/proc/vmallocinfo").ok()?;
    let ours = regions.lines().filter(|line| line.contains("bpf_jit"));
    ours.map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

#[test]
fn s02_no_job_drops_what_is_cached() {
    let mut arena = Arena::new(Options::default());
    arena.is_refused(EVERYWHERE, &["page-out"], libc::EALREADY);
    arena.daemon.stop();
}

/// Files in memory are run, as interpreters run what they read: no mount is in their way. The row that says what
/// a job cannot execute says so.
#[test]
fn s05_what_is_in_memory_can_be_executed_and_the_row_says_so() {
    let mut arena = Arena::new(Options::default());
    for profile in ["read", "walled", "root"] {
        let seen = arena.tries(profile, &["memory-program"]);
        assert!(
            matches!(&seen, Outcome::Done(said) if said == "ran"),
            "{seen:?}"
        );
    }
    arena.is_refused(&["walled", "root"], &["exec-tmp", "/tmp"], libc::EACCES);
    let text = super::arena::security();
    assert!(text.contains("execute a file that it can write"), "the row");
    assert!(
        text.contains("a memory file too is executed"),
        "the sentence below"
    );
    arena.daemon.stop();
}

#[test]
fn s14_huge_pages_are_nobodys_segment() {
    let mut arena = Arena::new(Options::default());
    arena.is_refused(&["read"], &["shm-huge"], libc::EPERM);
    arena.is_refused(&["walled", "named", "root"], &["shm-huge"], libc::ENOMEM);
    // Others are a job's own.
    let seen = arena.tries("walled", &["may-share-memory"]);
    assert!(matches!(seen, Outcome::Done(_)), "{seen:?}");
    arena.daemon.stop();
}

/// A file in memory is memory: where no controller counts it, its size does.
#[test]
fn s11_files_of_jobs_that_write_have_a_bound_too() {
    let mut arena = Arena::new(Options::default());
    for name in ["writes.memory", "writes.file"] {
        let seen = arena.changes(name);
        assert!(
            matches!(seen, Outcome::Refused(libc::EFBIG)),
            "{name}: {seen:?}"
        );
    }
    let seen = arena.changes("writes.small");
    assert!(matches!(seen, Outcome::Done(_)), "{seen:?}");
    arena.is_refused(&["walled"], &["grow-memory", "1073741824"], libc::EFBIG);
    arena.daemon.stop();
}
