//! Grants for a time over restarts: what is left stays, and what is damaged is gone.

use std::fs;

use remit_tests::daemon::Daemon;

use super::scene::{file, give, listed, reloads, started, status, to_a};

fn with_uses(daemon: &Daemon, uses: u32) -> u64 {
    let mut new = to_a("site.reload");
    new.uses = Some(uses);
    give(daemon, new)
}

#[test]
fn uses_and_time_that_are_left_outlive_a_restart_and_a_death() {
    let mut daemon = started();
    let grant = with_uses(&daemon, 3);
    assert!(reloads(&daemon));
    let before = listed(&daemon);
    daemon.restart_cleanly();
    let after = listed(&daemon);
    assert_eq!((after[0].grant, after[0].uses_left), (grant, Some(2)));
    assert!(after[0].left_ms <= before[0].left_ms, "{after:?}");
    assert!(reloads(&daemon));
    // No orderly stop saves anything now: the use was saved before the run.
    daemon.signal(nix::sys::signal::Signal::SIGKILL);
    daemon.restart_insistently();
    assert_eq!(listed(&daemon)[0].uses_left, Some(1));
    assert!(reloads(&daemon) && !reloads(&daemon));
    let next = with_uses(&daemon, 1);
    assert!(next > grant, "a number is used once");
    daemon.stop();
}

#[test]
fn what_was_revoked_stays_so_over_a_restart() {
    let mut daemon = started();
    let grant = with_uses(&daemon, 3);
    super::scene::revoke(&daemon, Some(grant)).expect("it is there");
    daemon.restart_cleanly();
    assert!(listed(&daemon).is_empty() && !reloads(&daemon));
    daemon.stop();
}

/// Where the disk takes no new file, none outlives a restart.
#[test]
fn what_was_revoked_stays_so_though_nothing_can_be_saved() {
    let mut daemon = started();
    let grant = with_uses(&daemon, 3);
    let blocked = file(&daemon).with_extension("new");
    fs::create_dir(&blocked).expect("the place is ours");
    super::scene::revoke(&daemon, Some(grant)).expect("it is there");
    assert!(!reloads(&daemon));
    fs::remove_dir(&blocked).expect("it is ours");
    daemon.restart_cleanly();
    assert!(listed(&daemon).is_empty() && !reloads(&daemon));
    daemon.stop();
}

#[test]
fn a_damaged_file_is_set_aside_and_all_are_gone() {
    let mut daemon = started();
    with_uses(&daemon, 3);
    for round in 1..=2 {
        // An orderly stop saves what is left: it is damaged while nothing runs.
        daemon.signal(nix::sys::signal::Signal::SIGKILL);
        let mut bytes = fs::read(file(&daemon)).expect("it was saved");
        *bytes.last_mut().expect("it has bytes") ^= 1;
        fs::write(file(&daemon), &bytes).expect("the place is ours");
        daemon.restart_insistently();
        assert_eq!((listed(&daemon), status(&daemon).grants), (Vec::new(), 0));
        assert!(!reloads(&daemon));
        let aside = file(&daemon).with_extension(format!("damaged-{round}"));
        assert_eq!(fs::read(aside).expect("it is kept"), bytes);
        let records = daemon.records("revoked");
        assert_eq!(records.len(), round, "{records:?}");
        let message = records[round - 1]["MESSAGE"]
            .as_str()
            .expect("it has a sentence");
        assert!(
            message.contains("checksum") && message.contains("damaged-"),
            "{message}"
        );
        assert!(daemon.stderr().contains("all grants for a time are gone"));
        with_uses(&daemon, 3);
        assert!(reloads(&daemon));
    }
    daemon.stop();
}
