//! Temporary grants: one ends with its giver's right to approve, and does not pass to the next account with its uid.
//! One use permits one run, and only of the commands that existed when the grant was given.

use remit_common::admin::Grantee;
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::Daemon;
use remit_wire::outcome::State;

use super::scene::{
    AGENTS, POLICY, accounts, ann, bob, bot, changes, give_as, grants, newest, options, reload,
    runs, started, to_bot, until, without, without_ann_in_ops,
};

fn start_with_grant() -> Daemon {
    let daemon = started();
    assert!(!runs(&daemon));
    let _ = give_as(&daemon, &ann(), to_bot("site.*")).expect("ann can approve it");
    assert!(runs(&daemon), "the grant covers it");
    daemon
}

fn has_ended(daemon: &Daemon, why: &str) {
    assert!(!runs(daemon), "a person has to approve it");
    assert_eq!(grants(daemon), []);
    let record = newest(daemon, "revoked");
    let cause = record["REMIT_CAUSE"].as_str().expect("it has a cause");
    assert!(cause.contains(why), "{cause}");
    assert_eq!(record["REMIT_GRANT"], "1");
    assert_eq!(record["REMIT_APPROVER"], "ann");
}

#[test]
fn w06_grant_ends_at_reload_without_grantors_group() {
    let mut daemon = start_with_grant();
    reload(&daemon);
    assert!(runs(&daemon), "nothing has changed");
    daemon.set_accounts(without_ann_in_ops());
    reload(&daemon);
    assert_eq!(grants(&daemon), [], "the reload ends it");
    has_ended(&daemon, "ann is no longer in the group");
    daemon.stop();
}

#[test]
fn w06_grant_ends_if_grantor_leaves_rules_group() {
    let mut daemon = start_with_grant();
    let mut now = accounts();
    now.groups.retain(|(name, _, _)| *name != "ops");
    now.groups.push(("ops", super::scene::OPS, vec!["bob"]));
    daemon.set_accounts(now);
    reload(&daemon);
    has_ended(&daemon, "no rule lets ann approve");
    daemon.stop();
}

/// Each use checks the giver again, without a reload.
#[test]
fn c15_grant_ends_at_use_without_grantors_group() {
    let mut daemon = start_with_grant();
    daemon.set_accounts(without_ann_in_ops());
    has_ended(&daemon, "ann is no longer in the group");
    daemon.stop();
}

#[test]
fn c15_grant_ends_with_grantors_account() {
    let mut daemon = start_with_grant();
    daemon.set_accounts(without("ann", None));
    has_ended(&daemon, "the account of ann no longer exists");
    daemon.stop();
}

#[test]
fn c15_grant_ends_if_grantors_uid_is_reassigned() {
    let mut daemon = start_with_grant();
    daemon.set_accounts(without("ann", Some("eve")));
    has_ended(&daemon, "'eve' now");
    daemon.stop();
}

/// The grant was saved by an earlier daemon.
#[test]
fn c15_grant_without_grantor_ends_at_start() {
    let mut daemon = start_with_grant();
    daemon.set_accounts(without("ann", None));
    daemon.restart_cleanly();
    assert_eq!(grants(&daemon), []);
    has_ended(&daemon, "the account of ann no longer exists");
    daemon.stop();
}

#[test]
fn c15_another_givers_grant_goes_on() {
    let mut daemon = start_with_grant();
    let _ = give_as(&daemon, &bob(), to_bot("site.*")).expect("bob can approve it");
    daemon.set_accounts(without("ann", None));
    assert!(runs(&daemon), "by bob's");
    let left = grants(&daemon);
    assert_eq!((left.len(), left[0].by.as_str()), (1, "bob"));
    assert_eq!(daemon.records("revoked").len(), 1);
    daemon.stop();
}

/// A group that only the giver's process still has is not enough.
#[test]
fn w06_grant_by_lost_group_is_refused() {
    let mut daemon = started();
    daemon.set_accounts(without_ann_in_ops());
    let refusal = give_as(&daemon, &ann(), to_bot("site.*")).expect_err("ann has lost the group");
    assert!(refusal.message.contains("no longer"), "{refusal:?}");
    assert_eq!(grants(&daemon), []);
    daemon.set_accounts(accounts());
    assert!(give_as(&daemon, &ann(), to_bot("site.*")).is_ok());
    daemon.stop();
}

#[test]
fn w13_grant_excludes_next_account_with_uid() {
    let mut daemon = started();
    let _ = give_as(&daemon, &ann(), to_bot("site.*")).expect("ann can approve it");
    assert!(runs(&daemon));
    let mut now = without("bot", Some("eve"));
    now.groups.retain(|(name, _, _)| *name != "agents");
    now.groups.push(("agents", AGENTS, vec!["eve"]));
    daemon.set_accounts(now);
    // The first connection triggers a reload, because the rule names bot.
    until("eve may ask", || {
        changes(&daemon, &bot(), "site.reload").is_ok_and(|report| report.state.is_waiting())
    });
    assert_eq!(daemon.records("intent").len(), 1);
    reload(&daemon);
    assert_eq!(grants(&daemon), [], "it ends with its account");
    let cause = newest(&daemon, "revoked")["REMIT_CAUSE"].to_string();
    assert!(cause.contains("'eve' now"), "{cause}");
    daemon.stop();
}

#[test]
fn c01_named_rule_excludes_next_account_with_uid() {
    let mut daemon = started();
    assert!(!runs(&daemon), "bot may ask");
    let asked = daemon.records("asked").len();
    daemon.set_accounts(without("bot", Some("eve")));
    let mut eve = bot();
    eve.groups.retain(|gid| *gid != AGENTS);
    for _ in 0..2 {
        let refused = changes(&daemon, &eve, "site.reload").expect_err("no rule grants it to eve");
        assert!(
            refused.message.contains("'eve' now")
                || refused.message.contains("there is no command"),
            "{refused:?}"
        );
    }
    assert_eq!(daemon.records("asked").len(), asked);
    // The policy is reloaded automatically. bot's rule applies again once bot exists.
    until("the policy is read again", || {
        daemon.records("policy").len() == 1
    });
    daemon.set_accounts(accounts());
    reload(&daemon);
    assert!(!runs(&daemon), "bot may ask");
    daemon.stop();
}

#[test]
fn c01_group_grant_ends_with_group() {
    let mut daemon = started();
    let mut new = to_bot("site.*");
    new.to = Grantee::Group {
        name: "agents".into(),
        gid: AGENTS,
    };
    let _ = give_as(&daemon, &ann(), new).expect("ann can approve it");
    assert!(runs(&daemon));
    let mut now = accounts();
    now.groups.retain(|(name, _, _)| *name != "agents");
    now.groups.push(("interns", AGENTS, vec!["bot"]));
    daemon.set_accounts(now);
    assert!(!runs(&daemon));
    assert_eq!(grants(&daemon), []);
    let cause = newest(&daemon, "revoked")["REMIT_CAUSE"].to_string();
    assert!(cause.contains("'interns' now"), "{cause}");
    daemon.stop();
}

#[test]
fn c01_a_request_ends_with_its_account() {
    let mut daemon = started();
    let mut caller = Caller::new(&daemon, &bot());
    let job = caller
        .run(at_once(change("site.reload", &[])))
        .expect("bot may ask")
        .job;
    daemon.set_accounts(without("bot", Some("eve")));
    reload(&daemon);
    let record = newest(&daemon, "void");
    assert_eq!(record["REMIT_JOB"], job.to_string());
    let cause = record["REMIT_CAUSE"].to_string();
    assert!(cause.contains("'eve' now"), "{cause}");
    assert!(
        caller
            .0
            .call(remit_wire::Request::Run(change("site.reload", &[])), |_| {})
            .is_err()
    );
    daemon.stop();
}

/// Jobs waited for a slot under a policy without approval. A grant given meanwhile does not let them run.
#[test]
fn w05_one_use_does_not_run_all_that_waited() {
    let free = POLICY.replace(
        "approval = { by = [\"%ops\", \"bob\"], expires = \"10min\" }",
        "approval = \"none\"",
    );
    let daemon = Daemon::start(remit_tests::daemon::Options {
        jobs: 1,
        policy: format!(
            "{free}\n[[grant]]\nto = [\"root\"]\nallow = [\"site.*\"]\neffect = \"change\"\napproval = {{ by = [\"%ops\"] }}\n"
        ),
        ..options()
    });
    let mut caller = Caller::new(&daemon, &bot());
    let first = caller
        .run(at_once(change("site.wait", &[])))
        .expect("it runs");
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            caller
                .run(at_once(change("site.reload", &[])))
                .expect("it waits")
                .job
        })
        .collect();
    daemon.set_file("config/policy.d/10-test.toml", POLICY);
    reload(&daemon);
    let mut new = to_bot("site.*");
    new.uses = Some(1);
    let _ = give_as(&daemon, &ann(), new).expect("ann can approve it");
    let _ = caller.stop(first.job).expect("it is bot's");
    let ends: Vec<_> = waiting.iter().map(|job| caller.end_of(*job)).collect();
    for end in &ends {
        assert_eq!(end.state, State::Denied, "{end:?}");
        let cause = remit_tests::caller::cause(end);
        assert!(cause.contains("needs an approval now"), "{cause}");
    }
    let by_grant = |daemon: &Daemon| {
        let intents = daemon.records("intent").into_iter();
        let by = |record: &serde_json::Value| record["REMIT_RULE"].to_string().contains("grant 1");
        intents.filter(by).count()
    };
    assert_eq!(
        (by_grant(&daemon), grants(&daemon)[0].uses_left),
        (0, Some(1))
    );
    let mut states = Vec::new();
    for _ in 0..2 {
        let report = caller.run(change_at_once()).expect("a rule grants it");
        states.push(match report.state {
            State::AwaitingApproval => State::AwaitingApproval,
            _ => caller.end_of(report.job).state,
        });
    }
    assert_eq!(states, [State::Exited, State::AwaitingApproval]);
    assert_eq!(by_grant(&daemon), 1);
    until("it is used up", || grants(&daemon).is_empty());
    daemon.stop();
}

fn change_at_once() -> remit_wire::Run {
    at_once(change("site.reload", &[]))
}

const LATER: &str = r##"
[[command]]
name = "site.wipe"
summary = "wipes"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"
"##;

fn state(daemon: &Daemon, name: &str) -> State {
    let report = changes(daemon, &bot(), name).expect("a rule grants it");
    report.state
}

#[test]
fn q06_pattern_grant_excludes_later_commands() {
    let mut daemon = started();
    let granted = give_as(&daemon, &ann(), to_bot("site.*")).expect("ann can approve it");
    assert_eq!(granted.new.what, "site.*");
    assert_eq!(granted.covered, ["site.reload", "site.wait"]);
    let record = newest(&daemon, "given");
    assert_eq!(record["REMIT_COVERED"], "site.reload, site.wait");
    let record = record.to_string();
    assert!(
        record.contains("site.* (site.reload, site.wait)"),
        "{record}"
    );
    daemon.set_file("config/policy.d/20-later.toml", LATER);
    reload(&daemon);
    for restarts in [false, true] {
        if restarts {
            daemon.restart_cleanly();
        }
        assert_eq!(state(&daemon, "site.wipe"), State::AwaitingApproval);
        assert!(runs(&daemon), "it was there");
        assert_eq!(grants(&daemon)[0].covered, ["site.reload", "site.wait"]);
    }
    daemon.stop();
}

#[test]
fn q06_grant_excludes_redefined_command() {
    for what in ["site.reload", "site.*"] {
        let daemon = started();
        let _ = give_as(&daemon, &ann(), to_bot(what)).expect("ann can approve it");
        assert!(runs(&daemon));
        let other = POLICY.replace("/usr/bin/true", "/usr/bin/false");
        daemon.set_file("config/policy.d/10-test.toml", &other);
        reload(&daemon);
        assert_eq!(state(&daemon, "site.reload"), State::AwaitingApproval);
        let left = usize::from(what.contains('*'));
        assert_eq!(grants(&daemon).len(), left, "{what}");
        daemon.stop();
    }
}
