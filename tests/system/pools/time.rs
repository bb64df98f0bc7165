//! Processor time.

use std::collections::BTreeSet;
use std::fs;

use remit_tests::caller::{Caller, at_once, stdout};
use remit_tests::daemon::{Options, user_a};

use super::arena::Arena;

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
