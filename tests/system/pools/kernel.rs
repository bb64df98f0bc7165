//! Memory, caches, sockets and processor time of the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use remit_tests::caller::{Caller, at_once, stdout};
use remit_tests::control::Outcome;
use remit_tests::daemon::{Options, user_a, user_b};
use remit_tests::test_dir::built;

use super::arena::{Arena, security};

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
    let regions = fs::read_to_string("/proc/vmallocinfo").ok()?;
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
    let text = security();
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

/// Without a CPU controller the kernel shares the processor by sessions, so sixty sessions would get sixty
/// shares.
#[test]
fn s10_job_without_cpu_controller_is_one_session() {
    if !std::path::Path::new("/proc/self/autogroup").exists() {
        return remit_tests::test_dir::missing("CONFIG_SCHED_AUTOGROUP");
    }
    let arena = Arena::new(Options::default());
    let mut caller = Caller::new(&arena.daemon, &user_a());
    for profile in ["read", "walled"] {
        let job = at_once(arena.attack(profile, &["sessions", "30"]));
        let report = caller.run(job).expect("it is granted");
        // By then all have tried.
        while !stdout(&caller.job(report.job, 100).expect("it is ours")).contains("ready") {}
        let attackers = arena.daemon.job_processes();
        let attackers = attackers
            .iter()
            .filter(|process| process.name == "remit-attack");
        let groups: Vec<String> = attackers
            .filter_map(|process| {
                fs::read_to_string(format!("/proc/{}/autogroup", process.pid)).ok()
            })
            .collect();
        assert_eq!(groups.len(), 31, "{profile}: {groups:?}");
        let different: BTreeSet<&String> = groups.iter().collect();
        assert_eq!(different.len(), 1, "{profile}: {different:?}");
        caller.stop(report.job).expect("it is ours");
    }
    drop(caller);
    arena.daemon.stop();
}

#[test]
fn s03_each_family_has_its_own_protocols() {
    let mut arena = Arena::new(Options::default());
    let profiles = &["read", "walled", "named", "root"];
    arena.is_refused(profiles, &["netlink-xfrm"], libc::EAFNOSUPPORT);
    for id in ["may-list-links", "may-list-tcp", "may-ask-generic"] {
        let seen = arena.tries("walled", &[id]);
        assert!(matches!(seen, Outcome::Done(_)), "{id}: {seen:?}");
    }
    arena.daemon.stop();
}

/// glibc, iproute2 and libnl bind each socket, and no filter can see the address in memory. So a job can take
/// port ids, but only of three protocols.
#[test]
fn s08_netlink_ports_are_limited_to_three_documented_protocols() {
    let mut arena = Arena::new(Options::default());
    for profile in ["read", "walled"] {
        let seen = arena.tries(profile, &["netlink-ports"]);
        assert!(
            matches!(&seen, Outcome::Done(taken) if taken == "0 4 16"),
            "{profile}: {seen:?}"
        );
    }
    let text = security();
    assert!(text.contains("**Port ids of netlink.**"), "the sentence");
    arena.daemon.stop();
}

/// One connection once held four megabytes. Some hundred of them exceeded the machine's first limit.
#[test]
fn s15_connection_in_own_network_holds_little() {
    let mut arena = Arena::new(Options::default());
    let held = arena.number("walled", &["hold-tcp"]);
    assert!((4 << 10..512 << 10).contains(&held), "{held}");
    let seen = arena.tries("walled", &["may-listen-low"]);
    assert!(matches!(seen, Outcome::Done(_)), "{seen:?}");
    arena.daemon.stop();
}
