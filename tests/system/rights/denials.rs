//! Denials hold for users who drop a group, and while a name is missing in the user database. A removed user does not
//! void them.

use remit_common::admin::AdminRequest;
use remit_common::refusal::{Code, Refusal};
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;
use remit_wire::client::ClientError;
use remit_wire::outcome::State;

use super::scene::{AGENTS, BOB, BOT, accounts, options, reload, until, without};

const POLICY: &str = "[[grant]]\nto = [\"bot\", \"bob\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                      [[deny]]\nto = [\"%agents\"]\ndeny = [\"run\"]\n";

fn started(policy: &str, accounts: Option<Accounts>) -> Daemon {
    let options = options();
    Daemon::start(Options {
        policy: policy.to_owned(),
        accounts: accounts.or(options.accounts),
        ..options
    })
}

/// State after unshare(CLONE_NEWUSER), newgidmap and setgroups([]): without the denied group.
#[test]
fn w12_group_denial_holds_after_setgroups() {
    let mut daemon = started(POLICY, None);
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
    let mut daemon = started(policy, None);
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

const DIRK: u32 = 64_504;

fn in_directory() -> Accounts {
    Accounts {
        directory: vec![("dirk", DIRK)],
        ..accounts()
    }
}

fn runs(daemon: &Daemon, uid: u32, groups: &[u32]) -> Result<State, Refusal> {
    let client = match daemon.client(&Identity::new(uid, groups)) {
        Err(ClientError::Refused(refusal)) => return Err(refusal),
        client => client.expect("it answers"),
    };
    let report = Caller(client).run(argv(&["true"]))?;
    Ok(report.state)
}

fn is_denied(daemon: &Daemon, uid: u32, groups: &[u32]) {
    let refusal = runs(daemon, uid, groups).expect_err("a rule denies it");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(refusal.message.contains("denied by rule"), "{refusal:?}");
}

#[test]
fn a02_a_denial_outlives_a_directory_that_is_away() {
    let policy = "[[grant]]\nto = [\"%agents\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                  [[deny]]\nto = [\"dirk\"]\ndeny = [\"run\"]\n";
    let mut daemon = started(policy, Some(in_directory()));
    let groups = [SOCKET_GROUP, AGENTS];
    is_denied(&daemon, DIRK, &groups);
    assert_eq!(runs(&daemon, BOT, &groups).expect("bot may"), State::Exited);
    for restarts in [false, true] {
        // sssd answers "not found" while it is offline.
        daemon.set_accounts(Accounts {
            directory: vec![("other", 64_505)],
            ..accounts()
        });
        match restarts {
            true => daemon.restart_cleanly(),
            false => reload(&daemon),
        }
        for _ in 0..3 {
            assert!(runs(&daemon, DIRK, &groups).is_err(), "while it is away");
        }
        // The name is back, without a reload.
        daemon.set_accounts(in_directory());
        is_denied(&daemon, DIRK, &groups);
        assert_eq!(runs(&daemon, BOT, &groups).expect("bot may"), State::Exited);
        reload(&daemon);
        is_denied(&daemon, DIRK, &groups);
    }
    daemon.stop();
}

#[test]
fn a02_group_denial_holds_if_directory_is_unavailable() {
    let policy = "[[grant]]\nto = [\"#64501\", \"bob\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                  [[deny]]\nto = [\"%agents\"]\ndeny = [\"run\"]\n";
    let mut daemon = started(policy, Some(accounts()));
    let mut no_group = accounts();
    no_group.groups.retain(|(name, _, _)| *name != "agents");
    let no_member = without("bot", None);
    for away in [no_group, no_member] {
        for restarts in [false, true] {
            is_denied(&daemon, BOT, &[SOCKET_GROUP]);
            daemon.set_accounts(away.clone());
            match restarts {
                true => daemon.restart_cleanly(),
                false => reload(&daemon),
            }
            is_denied(&daemon, BOT, &[SOCKET_GROUP]);
            assert!(
                runs(&daemon, BOB, &[SOCKET_GROUP]).is_ok(),
                "bob is no agent"
            );
            daemon.set_accounts(accounts());
        }
        reload(&daemon);
    }
    // A user with an account who has left the group is no longer denied.
    let mut now = accounts();
    now.groups.retain(|(name, _, _)| *name != "agents");
    now.groups.push(("agents", AGENTS, vec!["bob"]));
    daemon.set_accounts(now);
    reload(&daemon);
    assert!(runs(&daemon, BOT, &[SOCKET_GROUP]).is_ok());
    daemon.stop();
}

#[test]
fn a02_a_connection_brings_no_weaker_policy_in_force() {
    let policy = "[[grant]]\nto = [\"bot\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                  [[deny]]\nto = [\"%agents\"]\ndeny = [\"run\"]\n";
    let mut daemon = started(policy, Some(accounts()));
    let weaker = "[[grant]]\nto = [\"bot\", \"%agents\"]\nallow = [\"run\"]\napproval = \"none\"\n";
    daemon.set_file("config/policy.d/10-test.toml", weaker);
    let mut now = without("bot", Some("eve"));
    now.groups.retain(|(name, _, _)| *name != "agents");
    now.groups.push(("agents", AGENTS, vec!["eve"]));
    daemon.set_accounts(now);
    let groups = [SOCKET_GROUP, AGENTS];
    assert!(runs(&daemon, BOT, &groups).is_err(), "uid was bot's");
    until("the policy is read again", || {
        !daemon.records("policy").is_empty()
    });
    let record = daemon.records("policy").pop().expect("there is one");
    assert_eq!(record["REMIT_VERDICT"], "refused", "{record}");
    assert!(
        record.to_string().contains("may give more permissions"),
        "{record}"
    );
    assert!(runs(&daemon, BOT, &groups).is_err(), "it is not in force");
    let root = Identity::new(0, &[]);
    let _ = daemon
        .administers(&root, AdminRequest::Reload)
        .expect("it is right");
    assert!(
        runs(&daemon, BOT, &groups).is_ok(),
        "an administrator loads it"
    );
    daemon.stop();
}
