//! Denials hold for users who drop a group. A removed user does not void them.

use remit_common::admin::AdminRequest;
use remit_common::outcome::State;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;

use super::scene::{AGENTS, BOB, BOT, accounts, options, reload, without};

const POLICY: &str = "[[grant]]\nto = [\"bot\", \"bob\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                      [[deny]]\nto = [\"%agents\"]\ndeny = [\"run\"]\n";

fn started(policy: &str) -> Daemon {
    Daemon::start(Options {
        policy: policy.to_owned(),
        ..options()
    })
}

/// State after unshare(CLONE_NEWUSER), newgidmap and setgroups([]): without the denied group.
#[test]
fn w12_group_denial_holds_after_setgroups() {
    let mut daemon = started(POLICY);
    let runs = |daemon: &Daemon, uid: u32, groups: &[u32]| {
        Caller::new(daemon, &Identity::new(uid, groups)).run(argv(&["true"]))
    };
    for groups in [&[SOCKET_GROUP, AGENTS][..], &[SOCKET_GROUP]] {
        let refusal = runs(&daemon, BOT, groups).expect_err("agents are denied it");
        assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
        assert!(refusal.message.contains("denied by rule"), "{refusal:?}");
    }
    let report = runs(&daemon, BOB, &[SOCKET_GROUP]).expect("bob is no agent");
    assert_eq!(report.state, State::Exited);
    let mut now = accounts();
    now.groups.retain(|(name, _, _)| *name != "agents");
    now.groups.push(("agents", AGENTS, vec!["bob"]));
    daemon.set_accounts(now);
    reload(&daemon);
    assert!(runs(&daemon, BOT, &[SOCKET_GROUP]).is_ok());
    assert!(runs(&daemon, BOB, &[SOCKET_GROUP]).is_err());
    daemon.stop();
}

/// After userdel the daemon still starts and the denial stays. A name that never existed is an error.
#[test]
fn c12_denial_of_removed_user_warns() {
    let policy = "[[grant]]\nto = [\"bot\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                  [[deny]]\nto = [\"ann\"]\ndeny = [\"run\"]\n";
    let mut daemon = started(policy);
    daemon.set_accounts(without("ann", None));
    let goes_on = |daemon: &Daemon| {
        let record = daemon.records("policy").pop();
        record.is_some_and(|record| {
            record
                .to_string()
                .contains("this denial goes on for uid 64502")
        })
    };
    reload(&daemon);
    assert!(goes_on(&daemon), "the load says so");
    reload(&daemon);
    assert!(goes_on(&daemon), "and says so again");
    daemon.restart_cleanly();
    assert!(
        daemon.stderr().contains("goes on for uid 64502"),
        "{}",
        daemon.stderr()
    );
    reload(&daemon);
    daemon.set_file(
        "config/policy.d/10-test.toml",
        &policy.replace("\"ann\"", "\"anne\""),
    );
    let root = Identity::new(0, &[]);
    let refusal = daemon.administers(&root, AdminRequest::Reload);
    let refusal = refusal.expect_err("there never was such a user");
    assert!(refusal.message.contains("would hit nobody"), "{refusal:?}");
    daemon.stop();
}
