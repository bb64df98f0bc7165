//! A name is missing in the user database for a while: denials stay in force.

use remit_common::admin::AdminRequest;
use remit_common::client::ClientError;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;

use super::scene::{AGENTS, BOB, BOT, accounts, options, reload, until, without};

const DIRK: u32 = 64_504;

fn in_directory() -> Accounts {
    Accounts {
        directory: vec![("dirk", DIRK)],
        ..accounts()
    }
}

fn started(policy: &str, accounts: Accounts) -> Daemon {
    Daemon::start(Options {
        policy: policy.to_owned(),
        accounts: Some(accounts),
        ..options()
    })
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
    let mut daemon = started(policy, in_directory());
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
    let mut daemon = started(policy, accounts());
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
    let mut daemon = started(policy, accounts());
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
        record.to_string().contains("somebody more permissions"),
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
