//! Grants of an account do not pass to the next account with its uid.

use remit_common::admin::Grantee;
use remit_tests::caller::{Caller, at_once, change};

use super::scene::{
    AGENTS, accounts, ann, bot, changes, give_as, grants, newest, reload, runs, started, to_bot,
    until, without,
};

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
            .call(
                remit_common::wire::Request::Run(change("site.reload", &[])),
                |_| {}
            )
            .is_err()
    );
    daemon.stop();
}
