//! What a temporary grant permits, and what it does not.

use remit_common::admin::{AdminRequest, Grantee};
use remit_tests::caller::{Caller, change, stdout};
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP, admin, user_a, user_b};
use remit_tests::process::Identity;
use remit_wire::Request;
use remit_wire::outcome::State;

use super::scene::{
    GROUP, accesses, changes, give, listed, member, options, reloads, runs, started, status, to_a,
    with_group,
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
    assert_eq!(status(&daemon).grants, 1);
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
    assert!(
        asks.why.contains("waits until one of them approves"),
        "{asks:?}"
    );

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
