//! Accounts that are not in /etc/passwd but in a directory service.

use remit_tests::accounts::Accounts;
use remit_tests::daemon::{Daemon, Options};

use super::scene::{
    BOT, accounts, ann, approve, asked, give_as, grants, newest, options, runs, started, to_bot,
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
    let stranger =
        remit_tests::process::Identity::new(64_600, &[remit_tests::daemon::SOCKET_GROUP]);
    assert!(daemon.client(&stranger).is_err(), "it is nobody's");
    assert_eq!(newest(&daemon, "refusal")["REMIT_USER"], "#64600");
    daemon.stop();
}
