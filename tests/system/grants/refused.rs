//! Temporary grants that are refused.

use remit_common::admin::{AdminRequest, Grantee, NewGrant};
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, change};
use remit_tests::daemon::{
    ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, other_admin, user_a, user_b,
};
use remit_tests::process::Identity;

use super::scene::{
    POLICY, accesses, give, give_as, listed, options, reloads, started, to_a, with_group,
};

fn refused(daemon: &Daemon, user: &Identity, new: NewGrant) -> Refusal {
    let before = daemon.records("refusal").len();
    let refusal = give_as(daemon, user, new).expect_err("it is refused");
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
fn grant_starts_no_change_where_floor_asks() {
    for (config, is_started) in [("", true), ("[floor]\napproval = true\n", false)] {
        let daemon = Daemon::start(Options {
            config: config.to_owned(),
            ..options()
        });
        match is_started {
            true => {
                give(&daemon, to_a("site.reload"));
            }
            false => {
                let refusal = refused(&daemon, &admin(), to_a("site.reload"));
                assert_eq!(refusal.object.as_deref(), Some("floor.approval"));
            }
        }
        assert_eq!(reloads(&daemon), is_started, "{config}");
        let views = accesses(&daemon, &user_a(), None).grants;
        let temporary = views.iter().filter(|view| view.left.is_some()).count();
        assert_eq!(temporary == 1, is_started, "{views:?}");
        daemon.stop();
    }
}

#[test]
fn only_approvers_of_rule_may_grant() {
    let daemon = Daemon::start(Options {
        accounts: Some(with_group("approvers", 64_400, vec!["seven"])),
        ..options()
    });
    let root = Identity::new(0, &[]);
    for user in [other_admin(), root] {
        let refusal = refused(&daemon, &user, to_a("site.reload"));
        assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
        assert!(refusal.message.contains("#64005, %#64400"), "{refusal:?}");
    }
    let of_group = Identity::new(64_007, &[SOCKET_GROUP, ADMIN_GROUP, 64_400]);
    assert!(give_as(&daemon, &of_group, to_a("site.reload")).is_ok());
    assert!(reloads(&daemon));
    daemon.stop();
}

#[test]
fn grant_to_oneself_is_refused() {
    let daemon = started();
    let mut new = to_a("site.reload");
    new.to = Grantee::User {
        name: "agent".into(),
        uid: admin().uid,
    };
    let refusal = refused(&daemon, &admin(), new);
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    daemon.stop();
}

#[test]
fn useless_grant_is_refused_with_reason() {
    let daemon = started();
    let args = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    let long = "x".repeat(caps::NAMED_VALUE + 1);
    let cases: Vec<(NewGrant, Code, &str)> = vec![
        (to_a("site.relaod"), Code::NotFound, "no command"),
        (to_a("Site.reload"), Code::InvalidArgs, "pattern"),
        (to_a(""), Code::InvalidArgs, "pattern"),
        (to_a("all.change"), Code::DeniedRule, "without a sandbox"),
        (to_a("run"), Code::InvalidArgs, "no rule requires"),
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
fn lock_refuses_grants_and_suspends_existing() {
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
    let refusal = super::scene::changes(&daemon, &user_a(), "site.reload", &[]);
    assert_eq!(refusal.expect_err("it is locked").code, Code::Locked);
    daemon.stop();
}

#[test]
fn there_are_so_many_and_no_more() {
    let daemon = started();
    // They do not end meanwhile.
    let small = NewGrant {
        for_s: 3600,
        ..to_a("site.reload")
    };
    for _ in 0..caps::GRANTS {
        give(&daemon, small.clone());
    }
    let refusal = give_as(&daemon, &admin(), small.clone()).expect_err("there are enough");
    assert_eq!(refusal.code, Code::TooLarge, "{refusal:?}");
    assert_eq!(listed(&daemon).len(), caps::GRANTS);
    super::scene::revoke(&daemon, Some(7)).expect("it is there");
    give(&daemon, small.clone());
    super::scene::revoke(&daemon, None).expect("they are there");
    let mut large = to_a("site.switch");
    large.args = vec![("to".into(), "x".repeat(caps::NAMED_VALUE))];
    let granted = (0..32)
        .take_while(|_| give_as(&daemon, &admin(), large.clone()).is_ok())
        .count();
    assert!((8..32).contains(&granted), "{granted}");
    assert_eq!(listed(&daemon).len(), granted);
    daemon.stop();
}

/// A job that runs as root without a sandbox reaches admin.sock as root, which the rule names as approver.
#[test]
fn grant_from_inside_job_is_refused() {
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
    let output_text = String::from_utf8_lossy(&report.stderr.head).into_owned();
    assert_ne!(
        report.ending.as_ref().and_then(|ending| ending.exit),
        Some(0),
        "{report:?}"
    );
    assert!(output_text.contains("job"), "{output_text}");
    assert_eq!(listed(&daemon), []);
    assert!(!reloads(&daemon));
    let done = daemon.remit(
        &Identity::new(0, &[]),
        &give[3..].iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert!(done.status.success(), "{done:?}");
    assert!(reloads(&daemon));
    daemon.stop();
}
