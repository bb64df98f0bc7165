//! A grant for a time ends with the right of who gave it.

use remit_tests::daemon::Daemon;

use super::scene::{
    accounts, ann, bob, give_as, grants, newest, reload, runs, started, to_bot, without,
    without_ann_in_ops,
};

fn given() -> Daemon {
    let daemon = started();
    assert!(!runs(&daemon));
    let _ = give_as(&daemon, &ann(), to_bot("site.*")).expect("ann can approve it");
    assert!(runs(&daemon), "the grant covers it");
    daemon
}

/// The grant is gone, on record with the reason, and bot's change waits for a person.
fn has_ended(daemon: &Daemon, why: &str) {
    assert!(!runs(daemon), "a person is asked");
    assert_eq!(grants(daemon), []);
    let record = newest(daemon, "revoked");
    let cause = record["REMIT_CAUSE"].as_str().expect("it has a cause");
    assert!(cause.contains(why), "{cause}");
    assert_eq!(record["REMIT_GRANT"], "1");
    assert_eq!(record["REMIT_APPROVER"], "ann");
}

#[test]
fn w06_a_giver_without_the_group_gives_no_more_after_a_reload() {
    let mut daemon = given();
    reload(&daemon);
    assert!(runs(&daemon), "nothing has changed");
    daemon.set_accounts(without_ann_in_ops());
    reload(&daemon);
    assert_eq!(grants(&daemon), [], "the reload ends it");
    has_ended(&daemon, "ann is no longer in the group");
    daemon.stop();
}

#[test]
fn w06_a_giver_without_the_rules_group_gives_no_more() {
    let mut daemon = given();
    let mut now = accounts();
    now.groups.retain(|(name, _, _)| *name != "ops");
    now.groups.push(("ops", super::scene::OPS, vec!["bob"]));
    daemon.set_accounts(now);
    reload(&daemon);
    has_ended(&daemon, "no rule names ann");
    daemon.stop();
}

/// Nobody has reloaded the policy: each use looks again.
#[test]
fn c15_a_giver_without_the_group_gives_no_more_at_the_next_use() {
    let mut daemon = given();
    daemon.set_accounts(without_ann_in_ops());
    has_ended(&daemon, "ann is no longer in the group");
    daemon.stop();
}

#[test]
fn c15_a_giver_whose_account_is_gone_gives_no_more() {
    let mut daemon = given();
    daemon.set_accounts(without("ann", None));
    has_ended(&daemon, "the account of ann is gone");
    daemon.stop();
}

#[test]
fn c15_a_giver_whose_uid_is_anothers_gives_no_more() {
    let mut daemon = given();
    daemon.set_accounts(without("ann", Some("eve")));
    has_ended(&daemon, "'eve' now");
    daemon.stop();
}

/// It was saved by a daemon that has ended meanwhile.
#[test]
fn c15_a_grant_without_a_living_giver_ends_at_the_start() {
    let mut daemon = given();
    daemon.set_accounts(without("ann", None));
    daemon.restart_cleanly();
    assert_eq!(grants(&daemon), []);
    has_ended(&daemon, "the account of ann is gone");
    daemon.stop();
}

/// What one gave ends; what another gave stays.
#[test]
fn c15_another_givers_grant_goes_on() {
    let mut daemon = given();
    let _ = give_as(&daemon, &bob(), to_bot("site.*")).expect("bob can approve it");
    daemon.set_accounts(without("ann", None));
    assert!(runs(&daemon), "by bob's");
    let left = grants(&daemon);
    assert_eq!((left.len(), left[0].by.as_str()), (1, "bob"));
    assert_eq!(daemon.records("revoked").len(), 1);
    daemon.stop();
}

/// Who has the group in their process alone gives nothing.
#[test]
fn w06_nobody_gives_by_a_group_that_they_have_lost() {
    let mut daemon = started();
    daemon.set_accounts(without_ann_in_ops());
    let refusal = give_as(&daemon, &ann(), to_bot("site.*")).expect_err("ann has lost the group");
    assert!(refusal.message.contains("no longer"), "{refusal:?}");
    assert_eq!(grants(&daemon), []);
    daemon.set_accounts(accounts());
    assert!(give_as(&daemon, &ann(), to_bot("site.*")).is_ok());
    daemon.stop();
}
