//! What a temporary grant permits, and what it does not. Over restarts valid ones stay, damaged ones are gone.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminRequest, Grantee};
use remit_tests::caller::{Caller, change, stdout};
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP, admin, user_a, user_b};
use remit_tests::process::Identity;
use remit_wire::Request;
use remit_wire::outcome::State;

use super::scene::{
    GROUP, accesses, changes, file, give, give_as, listed, member, options, reloads, runs, started,
    to_a, with_group,
};

#[test]
fn granted_change_starts_and_record_names_grant() {
    let daemon = started();
    assert!(!reloads(&daemon));
    assert_eq!(daemon.records("intent").len(), 0);
    let grant = give(&daemon, to_a("site.reload"));
    assert!(reloads(&daemon) && reloads(&daemon));
    assert!(!runs(&daemon, &user_a(), "site.switch", &[("to", "blue")]));

    let intents = daemon.records("intent");
    assert_eq!(intents.len(), 2);
    for intent in &intents {
        let rule = intent["REMIT_RULE"].as_str().expect("it has a rule");
        let by = format!("grant {grant} given by #64005");
        assert!(rule.starts_with("asks (") && rule.ends_with(&by), "{rule}");
    }
    let granted = daemon.records("given");
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0]["REMIT_GRANT"], grant.to_string());
    assert_eq!(granted[0]["REMIT_TO"], "#64001 (uid 64001)");
    assert_eq!(granted[0]["REMIT_WHAT"], "site.reload");
    assert_eq!(granted[0]["REMIT_UID"], "64005");
    assert!(granted[0]["REMIT_UNTIL"].is_string(), "{}", granted[0]);

    let all = listed(&daemon);
    assert_eq!((all.len(), all[0].grant, all[0].by_uid), (1, grant, 64_005));
    assert!(all[0].left_ms > 0 && all[0].left_ms <= 60_000, "{all:?}");
    assert_eq!(daemon.status().grants, 1);
    daemon.stop();
}

#[test]
fn granted_arguments_match_byte_for_byte() {
    let daemon = started();
    let mut new = to_a("site.switch");
    new.args = vec![("to".into(), "blue".into())];
    give(&daemon, new);
    let switch = |args: &[(&str, &str)]| runs(&daemon, &user_a(), "site.switch", args);
    assert!(switch(&[("to", "blue")]));
    assert!(
        switch(&[("to", "blue"), ("how", "slow")]),
        "others are free"
    );
    for other in ["blu", "bluf", "blue ", " blue", "clue", "blues"] {
        assert!(!switch(&[("to", other)]), "{other:?}");
    }
    let report = changes(&daemon, &user_a(), "site.switch", &[("to", "blue")]).expect("it runs");
    assert_eq!(stdout(&report), "[blue][fast]");
    daemon.stop();
}

#[test]
fn default_value_does_not_match_granted_value() {
    let daemon = started();
    let mut new = to_a("site.switch");
    new.args = vec![("how".into(), "fast".into())];
    give(&daemon, new);
    let switch = |args: &[(&str, &str)]| runs(&daemon, &user_a(), "site.switch", args);
    assert!(!switch(&[("to", "blue")]));
    assert!(switch(&[("to", "blue"), ("how", "fast")]));
    daemon.stop();
}

#[test]
fn group_grant_covers_members_except_grantor() {
    let daemon = Daemon::start(Options {
        accounts: Some(with_group("ops", GROUP, vec!["one", "two", "boss"])),
        ..options()
    });
    let mut new = to_a("site.*");
    new.to = Grantee::Group {
        name: "ops".into(),
        gid: GROUP,
    };
    give(&daemon, new);
    for uid in [64_011, 64_012] {
        assert!(runs(&daemon, &member(uid), "site.reload", &[]), "{uid}");
    }
    assert!(!reloads(&daemon), "user A is not of the group");
    // The giver is a member of the group, but nobody approves an own request.
    let before = daemon.records("intent").len();
    let _outcome = changes(&daemon, &member(admin().uid), "site.reload", &[]);
    assert_eq!(daemon.records("intent").len(), before);
    daemon.stop();
}

/// A connection keeps the groups that its user had when it was made.
#[test]
fn removed_member_loses_group_grant_at_reload() {
    const LOST_GROUP: u32 = 64_301;
    let mut daemon = Daemon::start(Options {
        accounts: Some(with_group("given", LOST_GROUP, vec!["agent"])),
        ..options()
    });
    let mut new = to_a("site.*");
    new.to = Grantee::Group {
        name: "given".into(),
        gid: LOST_GROUP,
    };
    give(&daemon, new);
    let of_group = Identity::new(user_a().uid, &[SOCKET_GROUP, LOST_GROUP]);
    let mut connected = Caller::new(&daemon, &of_group);
    let report = connected
        .run(change("site.reload", &[]))
        .expect("it is given");
    assert_eq!(report.state, State::Exited, "{report:?}");
    daemon.set_accounts(with_group("given", LOST_GROUP, vec![]));
    daemon
        .administers(&admin(), AdminRequest::Reload)
        .expect("the policy is right");
    let run = Request::Run(change("site.reload", &[]));
    let reply = connected.0.call(run, |_| {});
    assert!(reply.is_err(), "it has to connect again: {reply:?}");
    assert_eq!(daemon.records("intent").len(), 1);
    daemon.stop();
}

#[test]
fn pattern_excludes_unsandboxed_and_foreign_approvals() {
    let daemon = started();
    give(&daemon, to_a("*"));
    assert!(reloads(&daemon));
    assert!(!runs(&daemon, &user_a(), "all.change", &[]));
    let refused = changes(&daemon, &user_b(), "site.reload", &[]);
    assert!(refused.is_err(), "no rule grants it to user B: {refused:?}");
    daemon.stop();
}

#[test]
fn access_tells_what_is_left() {
    let daemon = started();
    let asks = accesses(&daemon, &user_a(), Some("site.reload"))
        .asked
        .expect("it is asked about");
    assert!(!asks.allowed && asks.approval.is_some(), "{asks:?}");
    assert!(asks.why.contains("waits until they approve it"), "{asks:?}");

    let mut new = to_a("site.*");
    (new.uses, new.for_s) = (Some(4), 720);
    give(&daemon, new);
    assert!(reloads(&daemon));
    let report = accesses(&daemon, &user_a(), None);
    let granted = report.grants.last().expect("there are grants");
    assert_eq!(
        (granted.rule.as_str(), granted.allow.as_slice()),
        ("grant 1", &["site.*".to_owned()][..])
    );
    let left = granted.left.as_deref().expect("it is one for a time");
    assert_eq!(left, "3 uses and 11 min left, given by #64005");
    assert_eq!(granted.profile, "strict");

    let asked = accesses(&daemon, &user_a(), Some("site.reload"))
        .asked
        .expect("it is asked about");
    assert!(
        asked.allowed && asked.why.contains("3 uses and 11 min left"),
        "{asked:?}"
    );
    let host = accesses(&daemon, &user_a(), Some("all.change"))
        .asked
        .expect("it is asked about");
    assert!(!host.allowed && host.approval.is_some(), "{host:?}");
    let others = accesses(&daemon, &member(64_011), None).grants;
    assert!(
        others.iter().all(|grant| grant.left.is_none()),
        "{others:?}"
    );
    daemon.stop();
}

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
    let outcome = give_as(&daemon, &admin(), to_a("site.reload"));
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
        assert_eq!((listed(&daemon), daemon.status().grants), (Vec::new(), 0));
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
