//! Grants for a time that nobody gets.

use remit_common::admin::{AdminRequest, NewGrant, Whom};
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, change};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, other_admin, user_b};
use remit_tests::process::Identity;

use super::scene::{POLICY, give, give_as, listed, options, reloads, started, to_a, with_group};

fn refused(daemon: &Daemon, who: &Identity, new: NewGrant) -> Refusal {
    let before = daemon.records("refusal").len();
    let refusal = give_as(daemon, who, new).expect_err("it is refused");
    assert_eq!(listed(daemon), [], "{refusal:?}");
    assert_eq!(daemon.records("refusal").len(), before + 1, "{refusal:?}");
    assert_eq!(daemon.records("given").len(), 0, "{refusal:?}");
    assert!(
        refusal.next.is_some() || refusal.lift.is_some() || refusal.object.is_some(),
        "{refusal:?}"
    );
    refusal
}

#[test]
fn only_those_whom_the_rule_names_give_it() {
    let daemon = Daemon::start(Options {
        accounts: Some(with_group("approvers", 64_400, vec!["seven"])),
        ..options()
    });
    let root = Identity::new(0, &[]);
    for who in [other_admin(), root] {
        let refusal = refused(&daemon, &who, to_a("site.reload"));
        assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
        assert!(refusal.message.contains("#64005, %#64400"), "{refusal:?}");
    }
    let of_group = Identity::new(64_007, &[SOCKET_GROUP, ADMIN_GROUP, 64_400]);
    assert!(give_as(&daemon, &of_group, to_a("site.reload")).is_ok());
    assert!(reloads(&daemon));
    daemon.stop();
}

#[test]
fn nobody_gives_to_themselves() {
    let daemon = started();
    let mut new = to_a("site.reload");
    new.to = Whom::User {
        name: "agent".into(),
        uid: admin().uid,
    };
    let refusal = refused(&daemon, &admin(), new);
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    daemon.stop();
}

#[test]
fn what_nothing_could_come_of_is_refused_with_the_reason() {
    let daemon = started();
    let args = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    let long = "x".repeat(caps::NAMED_VALUE + 1);
    let cases: Vec<(NewGrant, Code, &str)> = vec![
        (to_a("site.relaod"), Code::NotFound, "no command"),
        (to_a("Site.reload"), Code::InvalidArgs, "pattern"),
        (to_a(""), Code::InvalidArgs, "pattern"),
        (to_a("all.change"), Code::DeniedRule, "without a sandbox"),
        (to_a("run"), Code::InvalidArgs, "no rule asks"),
        (
            NewGrant {
                args: args("too"),
                ..to_a("site.switch")
            },
            Code::InvalidArgs,
            "'too'",
        ),
        (
            NewGrant {
                args: vec![("to".into(), long)],
                ..to_a("site.switch")
            },
            Code::TooLarge,
            "bytes",
        ),
        (
            NewGrant {
                for_s: 0,
                ..to_a("site.reload")
            },
            Code::InvalidArgs,
            "days",
        ),
        (
            NewGrant {
                for_s: caps::GRANT_S + 1,
                ..to_a("site.reload")
            },
            Code::InvalidArgs,
            "days",
        ),
        (
            NewGrant {
                uses: Some(0),
                ..to_a("site.reload")
            },
            Code::InvalidArgs,
            "uses",
        ),
        (
            NewGrant {
                uses: Some(caps::GRANT_USES + 1),
                ..to_a("site.reload")
            },
            Code::InvalidArgs,
            "uses",
        ),
    ];
    for (new, code, text) in cases {
        let refusal = refused(&daemon, &admin(), new.clone());
        assert_eq!(refusal.code, code, "{new:?}: {refusal:?}");
        assert!(refusal.message.contains(text), "{refusal:?}");
    }
    let most = NewGrant {
        for_s: caps::GRANT_S,
        uses: Some(caps::GRANT_USES),
        ..to_a("site.reload")
    };
    assert!(give_as(&daemon, &admin(), most).is_ok());
    daemon.stop();
}

#[test]
fn while_it_is_locked_none_is_given_and_none_lifts_anything() {
    let daemon = started();
    let lock = AdminRequest::Lock {
        why: "incident".into(),
        kill: false,
    };
    daemon
        .administers(&admin(), lock.clone())
        .expect("it locks");
    assert_eq!(
        refused(&daemon, &admin(), to_a("site.reload")).code,
        Code::Locked
    );
    daemon
        .administers(&admin(), AdminRequest::Unlock)
        .expect("it unlocks");
    give(&daemon, to_a("site.reload"));
    assert!(reloads(&daemon));
    daemon.administers(&admin(), lock).expect("it locks");
    let refusal =
        super::scene::changes(&daemon, &remit_tests::daemon::user_a(), "site.reload", &[]);
    assert_eq!(refusal.expect_err("it is locked").code, Code::Locked);
    daemon.stop();
}

#[test]
fn there_are_so_many_and_no_more() {
    let daemon = started();
    for _ in 0..caps::GRANTS {
        give(&daemon, to_a("site.reload"));
    }
    let refusal = give_as(&daemon, &admin(), to_a("site.reload")).expect_err("there are enough");
    assert_eq!(refusal.code, Code::TooLarge, "{refusal:?}");
    assert_eq!(listed(&daemon).len(), caps::GRANTS);
    super::scene::revoke(&daemon, Some(7)).expect("it is there");
    give(&daemon, to_a("site.reload"));
    // All that there are fit into one answer.
    super::scene::revoke(&daemon, None).expect("they are there");
    let mut large = to_a("site.switch");
    large.args = vec![("to".into(), "x".repeat(caps::NAMED_VALUE))];
    let given = (0..32)
        .take_while(|_| give_as(&daemon, &admin(), large.clone()).is_ok())
        .count();
    assert!((8..32).contains(&given), "{given}");
    assert_eq!(listed(&daemon).len(), given);
    daemon.stop();
}

/// A job that runs as root, with nothing around it, reaches admin.sock as root does, whom the rule names.
#[test]
fn nothing_is_given_from_inside_a_job() {
    let daemon = started();
    let give = [
        daemon.program("remit").display().to_string(),
        "--runtime".to_owned(),
        daemon.runtime().dir().display().to_string(),
        "grant".to_owned(),
        "#64001".to_owned(),
        "site.reload".to_owned(),
        "--for".to_owned(),
        "1min".to_owned(),
    ];
    let policy = POLICY.replace("\"#64005\"", "\"#0\"")
        + &format!(
            "[[command]]\nname = \"give.all\"\nsummary = \"gives\"\nargv = {give:?}\neffect = \"change\"\n\
             profile = \"host\"\n\n[[grant]]\nto = [\"#64002\"]\nallow = [\"give.*\"]\neffect = \"change\"\nunconfined = true\n"
        );
    daemon.set_file("config/policy.d/10-test.toml", &policy);
    daemon
        .administers(&admin(), AdminRequest::Reload)
        .expect("it is right");
    let report = Caller::new(&daemon, &user_b())
        .run(change("give.all", &[]))
        .expect("it is granted");
    let told = String::from_utf8_lossy(&report.stderr.head).into_owned();
    assert_ne!(
        report.ending.as_ref().and_then(|ending| ending.exit),
        Some(0),
        "{report:?}"
    );
    assert!(told.contains("job"), "{told}");
    assert_eq!(listed(&daemon), []);
    assert!(!reloads(&daemon));
    // The same from outside of a job.
    let done = daemon.remit(
        &Identity::new(0, &[]),
        &give[3..].iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert!(done.status.success(), "{done:?}");
    assert!(reloads(&daemon));
    daemon.stop();
}
