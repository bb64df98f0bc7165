//! Kernel memory and caches.

use std::process::Command;

use remit_tests::control::Outcome;
use remit_tests::daemon::{Options, user_b};
use remit_tests::test_dir::built;

use super::arena::Arena;

const EVERYWHERE: &[&str] = &["read", "walled", "named", "root"];

/// If the kernel compiles all BPF programs (Debian, Ubuntu, Fedora), logins need free space for one more: sshd
/// installs a filter before it asks for a password.
#[test]
fn s00_no_job_takes_the_memory_of_programs() {
    let mut arena = Arena::new(Options::default());
    // First only one. If a machine permitted it, the rest of the test would take memory that everybody needs.
    arena.is_refused(EVERYWHERE, &["socket-filter"], libc::EPERM);
    let seen = arena.changes("writes.filter");
    assert!(matches!(seen, Outcome::Refused(libc::EPERM)), "{seen:?}");

    let before = programs();
    let job = arena.attack("read", &["fill-filters", "17"]);
    let job = std::thread::scope(|scope| {
        let filling = scope.spawn(|| arena.report(job));
        // Meanwhile a host user installs a filter as sshd does.
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

/// Returns the bytes of compiled BPF programs, if the kernel shows them.
fn programs() -> Option<u64> {
    let regions = std::fs::read_to_string("/proc/vmallocinfo").ok()?;
    let bpf_regions = regions.lines().filter(|line| line.contains("bpf_jit"));
    bpf_regions
        .map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

#[test]
fn s02_no_job_drops_what_is_cached() {
    let mut arena = Arena::new(Options::default());
    arena.is_refused(EVERYWHERE, &["page-out"], libc::EALREADY);
    arena.daemon.stop();
}

/// Programs in memory can be executed, because no mount forbids it; interpreters do the same with what they read.
/// The row in SECURITY.md about execution says so.
#[test]
fn s05_memory_file_is_executable_and_documented() {
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
    let seen = arena.tries("walled", &["may-share-memory"]);
    assert!(matches!(seen, Outcome::Done(_)), "{seen:?}");
    arena.daemon.stop();
}

/// Without a memory controller, a memory file is limited by its size.
#[test]
fn s11_files_of_writing_jobs_are_limited() {
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

/// A semaphore is kernel memory that no process limit counts.
#[test]
fn k03_semaphores_are_as_few_as_programs_need() {
    let mut arena = Arena::new(Options::default());
    for profile in ["walled", "named", "root"] {
        // By default a machine permits at most 32,000 sets of 32,000 semaphores.
        assert_eq!(arena.number(profile, &["semaphores", "3", "32000"]), 0);
        let taken = arena.number(profile, &["semaphores", "200", "250"]);
        assert_eq!(taken, 32_000, "{profile}");
        let taken = arena.number(profile, &["semaphores", "200", "1"]);
        assert_eq!(taken, 128, "{profile}");
        let seen = arena.tries(profile, &["may-semaphores"]);
        assert!(matches!(seen, Outcome::Done(_)), "{profile}: {seen:?}");
    }
    arena.is_refused(&["read"], &["may-semaphores"], libc::EPERM);
    arena.daemon.stop();
}
