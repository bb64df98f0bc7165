//! Grants for a time over restarts: what is left stays, and what is damaged is gone.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use remit_tests::daemon::Daemon;

use super::scene::{file, give, give_as, listed, reloads, started, status, to_a};

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
    daemon.signal(Signal::SIGKILL);
    daemon.restart_insistently();
    assert_eq!(listed(&daemon)[0].uses_left, Some(1));
    assert!(reloads(&daemon) && !reloads(&daemon));
    let next = with_uses(&daemon, 1);
    assert!(next > grant, "a number is used once");
    daemon.stop();
}

/// Whoever works by a grant would else have everybody wait for the disk. A daemon that dies has saved it all the same.
#[test]
fn w15_a_use_is_saved_and_does_not_wait_for_the_disk() {
    let mut daemon = started();
    let _ = with_uses(&daemon, 3);
    daemon.signal(Signal::SIGKILL);
    daemon.launch_by("without-fsync");
    daemon.restart_insistently();
    assert!(reloads(&daemon), "the use was not saved without fsync(2)");
    daemon.signal(Signal::SIGKILL);
    daemon.restart_insistently();
    assert_eq!(listed(&daemon)[0].uses_left, Some(2));
    // What outlives a reboot is on the disk before it is used, and so is what is given.
    let given = give_as(&daemon, &remit_tests::daemon::admin(), to_a("site.reload"));
    assert!(given.is_err(), "{given:?}");
    daemon.signal(Signal::SIGKILL);
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

/// The file as if it were saved in another boot: the id of the boot stands first, behind the magic, the
/// checksum and its length.
fn saved_in_another_boot(daemon: &Daemon) {
    const BODY: usize = 16 + 32;
    let mut bytes = fs::read(file(daemon)).expect("it was saved");
    let boot = &mut bytes[BODY + 1..BODY + 37];
    let id = fs::read("/proc/sys/kernel/random/boot_id").expect("Linux has one");
    assert_eq!(boot, &id[..36]);
    boot[0] = if boot[0] == b'0' { b'1' } else { b'0' };
    let body = daemon.path().join("body");
    fs::write(&body, &bytes[BODY..]).expect("the place is ours");
    let sum = Command::new("sha256sum")
        .arg(&body)
        .output()
        .expect("coreutils are there");
    let hex = String::from_utf8_lossy(&sum.stdout).into_owned();
    for (at, byte) in bytes[16..BODY].iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("it is hexadecimal");
    }
    fs::write(file(daemon), bytes).expect("the place is ours");
}

#[test]
fn a_reboot_ends_all_but_those_that_are_meant_to_go_on() {
    let mut daemon = started();
    let ends = with_uses(&daemon, 3);
    let mut new = to_a("site.switch");
    (new.across_reboot, new.uses) = (true, Some(7));
    let goes_on = give(&daemon, new);
    daemon.signal(Signal::SIGKILL);
    saved_in_another_boot(&daemon);
    daemon.restart_insistently();
    let left = listed(&daemon);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((left[0].grant, left[0].uses_left), (goes_on, Some(7)));
    assert!(left[0].left_ms > 0 && left[0].left_ms <= 60_000, "{left:?}");
    assert!(!reloads(&daemon));
    let expired = daemon.records("expired");
    assert_eq!(expired.len(), 1, "{expired:?}");
    assert_eq!(expired[0]["REMIT_GRANT"], ends.to_string());
    assert_eq!(expired[0]["REMIT_CAUSE"], "the machine was booted again");
    // And once more: what is left now was saved in this boot, also where the daemon has not ended in order.
    daemon.signal(Signal::SIGKILL);
    daemon.restart_insistently();
    assert_eq!(daemon.records("expired").len(), 1);
    daemon.restart_cleanly();
    assert_eq!(listed(&daemon).len(), 1);
    daemon.stop();
}

#[test]
fn a_damaged_file_is_set_aside_and_all_are_gone() {
    let mut daemon = started();
    with_uses(&daemon, 3);
    for round in 1..=2 {
        // An orderly stop saves what is left: it is damaged while nothing runs.
        daemon.signal(Signal::SIGKILL);
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
