//! Temporary grants over restarts: valid ones stay, damaged ones are gone.

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
fn remaining_uses_and_time_survive_restart_and_kill() {
    let mut daemon = started();
    let grant = with_uses(&daemon, 3);
    assert!(reloads(&daemon));
    let before = listed(&daemon);
    daemon.restart_cleanly();
    let after = listed(&daemon);
    assert_eq!((after[0].grant, after[0].uses_left), (grant, Some(2)));
    assert!(after[0].left_ms <= before[0].left_ms, "{after:?}");
    assert!(reloads(&daemon));
    // SIGKILL prevents an orderly save, so the use must have been saved before the run.
    daemon.signal(Signal::SIGKILL);
    daemon.restart_insistently();
    assert_eq!(listed(&daemon)[0].uses_left, Some(1));
    assert!(reloads(&daemon) && !reloads(&daemon));
    let next = with_uses(&daemon, 1);
    assert!(next > grant, "a number is used once");
    daemon.stop();
}

/// A use is written without fsync(2), because everybody would wait for the disk. It still survives the daemon's
/// death.
#[test]
fn w15_use_is_saved_without_waiting_for_disk() {
    let mut daemon = started();
    let _ = with_uses(&daemon, 3);
    daemon.signal(Signal::SIGKILL);
    daemon.launch_without("fsync");
    daemon.restart_insistently();
    assert!(reloads(&daemon), "the use was not saved without fsync(2)");
    daemon.signal(Signal::SIGKILL);
    daemon.restart_insistently();
    assert_eq!(listed(&daemon)[0].uses_left, Some(2));
    // A grant that outlives a reboot is synced before use, and so is each new grant.
    let outcome = give_as(&daemon, &remit_tests::daemon::admin(), to_a("site.reload"));
    assert!(outcome.is_err(), "{outcome:?}");
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

/// If the disk accepts no new file, no grant outlives a restart.
#[test]
fn revocation_holds_if_saving_fails() {
    let mut daemon = started();
    let grant = with_uses(&daemon, 3);
    let blocked = file(&daemon).with_extension("new");
    fs::create_dir(&blocked).expect("the directory is writable");
    super::scene::revoke(&daemon, Some(grant)).expect("it is there");
    assert!(!reloads(&daemon));
    fs::remove_dir(&blocked).expect("it is ours");
    daemon.restart_cleanly();
    assert!(listed(&daemon).is_empty() && !reloads(&daemon));
    daemon.stop();
}

/// Changes the file to look as if another boot saved it. The layout is magic, checksum, length of the boot id,
/// boot id.
fn saved_in_another_boot(daemon: &Daemon) {
    const BODY: usize = 16 + 32;
    let mut bytes = fs::read(file(daemon)).expect("it was saved");
    let boot = &mut bytes[BODY + 1..BODY + 37];
    let id = fs::read("/proc/sys/kernel/random/boot_id").expect("Linux has one");
    assert_eq!(boot, &id[..36]);
    boot[0] = if boot[0] == b'0' { b'1' } else { b'0' };
    let body = daemon.path().join("body");
    fs::write(&body, &bytes[BODY..]).expect("the directory is writable");
    let sum = Command::new("sha256sum")
        .arg(&body)
        .output()
        .expect("coreutils are there");
    let hex = String::from_utf8_lossy(&sum.stdout).into_owned();
    for (at, byte) in bytes[16..BODY].iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("it is hexadecimal");
    }
    fs::write(file(daemon), bytes).expect("the directory is writable");
}

#[test]
fn reboot_ends_grants_without_across_reboot() {
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
    assert_eq!(expired[0]["REMIT_CAUSE"], "the machine was rebooted");
    // Once more: the file was now saved in this boot, even if the daemon was killed.
    daemon.signal(Signal::SIGKILL);
    daemon.restart_insistently();
    assert_eq!(daemon.records("expired").len(), 1);
    daemon.restart_cleanly();
    assert_eq!(listed(&daemon).len(), 1);
    daemon.stop();
}

#[test]
fn damaged_grants_file_is_quarantined_and_grants_end() {
    let mut daemon = started();
    with_uses(&daemon, 3);
    for round in 1..=2 {
        // SIGKILL, because an orderly stop would save over the damage.
        daemon.signal(Signal::SIGKILL);
        let mut bytes = fs::read(file(&daemon)).expect("it was saved");
        *bytes.last_mut().expect("it has bytes") ^= 1;
        fs::write(file(&daemon), &bytes).expect("the directory is writable");
        daemon.restart_insistently();
        assert_eq!((listed(&daemon), status(&daemon).grants), (Vec::new(), 0));
        assert!(!reloads(&daemon));
        let quarantined = file(&daemon).with_extension(format!("damaged-{round}"));
        assert_eq!(fs::read(quarantined).expect("it is kept"), bytes);
        let records = daemon.records("revoked");
        assert_eq!(records.len(), round, "{records:?}");
        let message = records[round - 1]["MESSAGE"]
            .as_str()
            .expect("it has a sentence");
        assert!(
            message.contains("checksum") && message.contains("damaged-"),
            "{message}"
        );
        assert!(daemon.stderr().contains("all temporary grants are lost"));
        with_uses(&daemon, 3);
        assert!(reloads(&daemon));
    }
    daemon.stop();
}
