//! Accounts that are not in /etc/passwd but in a directory service; and uids without an account, because subordinate
//! uids give one user thousands of uids.

use remit_common::refusal::Code;
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;
use remit_wire::client::ClientError;

use super::scene::{
    AGENTS, ANN, BOT, OPS, accounts, ann, approve, asked, give_as, grants, newest, options, runs,
    started, to_bot,
};

fn in_directory() -> Accounts {
    let mut accounts = accounts();
    let (there, here) = accounts
        .users
        .into_iter()
        .partition(|(name, _)| *name != "bob");
    (accounts.directory, accounts.users) = (there, here);
    accounts
}

fn with(accounts: Accounts) -> Daemon {
    Daemon::start(Options {
        accounts: Some(accounts),
        ..options()
    })
}

#[test]
fn w09_an_account_of_a_directory_asks_and_approves() {
    let mut daemon = with(in_directory());
    let view = asked(&daemon);
    let record = newest(&daemon, "asked");
    assert_eq!(record["REMIT_USER"], "bot", "{record}");
    assert!(approve(&daemon, &ann(), &view).is_ok());
    assert_eq!(newest(&daemon, "approved")["REMIT_APPROVER"], "ann");
    let _ = give_as(&daemon, &ann(), to_bot("site.*")).expect("ann can approve it");
    assert_eq!(grants(&daemon)[0].by, "ann");
    assert!(runs(&daemon));
    let mut now = in_directory();
    now.directory.retain(|(name, _)| *name != "ann");
    daemon.set_accounts(now);
    assert!(!runs(&daemon));
    let view = asked(&daemon);
    assert!(approve(&daemon, &ann(), &view).is_err());
    daemon.stop();
}

/// A uid with two names uses the first one, as in the whole system.
#[test]
fn w09_an_account_with_two_names_asks() {
    let mut accounts = accounts();
    accounts.users.push(("robot", BOT));
    let daemon = with(accounts);
    let view = asked(&daemon);
    assert_eq!(newest(&daemon, "asked")["REMIT_USER"], "bot");
    assert!(approve(&daemon, &ann(), &view).is_ok());
    daemon.stop();
}

#[test]
fn w09_uid_without_account_is_named_by_number() {
    let daemon = started();
    let stranger = Identity::new(64_600, &[SOCKET_GROUP]);
    assert!(daemon.client(&stranger).is_err(), "it is nobody's");
    assert_eq!(newest(&daemon, "refusal")["REMIT_USER"], "#64600");
    daemon.stop();
}

const POLICY: &str = "[[grant]]\nto = [\"%agents\", \"#64601\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                      [[deny]]\nto = [\"bot\"]\ndeny = [\"run\"]\n";

/// State after newuidmap(1) and setresuid(2): the uid changes, the groups stay.
#[test]
fn a01_a_uid_without_an_account_is_refused() {
    let daemon = Daemon::start(Options {
        policy: POLICY.to_owned(),
        ..options()
    });
    let groups = [SOCKET_GROUP, AGENTS];
    let refusal = Caller::new(&daemon, &Identity::new(BOT, &groups)).run(argv(&["true"]));
    assert!(refusal.is_err(), "a rule denies it to bot");
    for uid in [200_000, 200_001, 2_000_000_000] {
        let mut user = Identity::new(uid, &groups);
        // The primary group stays as well.
        user.gid = BOT;
        match daemon.client(&user) {
            Err(ClientError::Refused(refusal)) => {
                assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
                assert!(refusal.message.contains("has no account"), "{refusal:?}");
            }
            other => panic!("{uid}: {other:?}"),
        }
        let record = daemon.records("refusal").pop().expect("it is recorded");
        assert_eq!(record["REMIT_USER"], format!("#{uid}"), "{record}");
    }
    let mut user = Identity::new(200_002, &[SOCKET_GROUP, ADMIN_GROUP, OPS]);
    user.gid = ANN;
    let refusal = daemon.administers(&user, remit_common::admin::AdminRequest::Status);
    let refusal = refusal.expect_err("it has no account");
    assert!(refusal.message.contains("has no account"), "{refusal:?}");
    let named = Identity::new(64_601, &[SOCKET_GROUP]);
    let report = Caller::new(&daemon, &named).run(argv(&["true"]));
    assert!(report.is_ok(), "{report:?}");
    daemon.stop();
}
