#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{accounts, policy, source};
use remit_policy::{Ask, CallerIds, Verdict};
use remit_policy_compile::load;

const RUN: Ask<'_> = Ask::Run {
    profile: None,
    argv0: b"df",
    env_names: &[],
};

fn env<'a>(env_names: &'a [&'a [u8]]) -> Ask<'a> {
    Ask::Run {
        profile: None,
        argv0: b"df",
        env_names,
    }
}

fn in_profile(profile: &str) -> Ask<'_> {
    Ask::Run {
        profile: Some(profile),
        argv0: b"df",
        env_names: &[],
    }
}

/// `Ok` with the rule that allows, or `Err` with a part of the denial's sentence.
#[track_caller]
fn check(text: &str, uid: u32, gids: &[u32], ask: &Ask<'_>, expect: Result<&str, &str>) {
    let (policy, _) = policy(text);
    match (policy.decide(CallerIds { uid, gids }, ask), expect) {
        (Verdict::Allow(grant), Ok(rule)) => assert_eq!(grant.basis().to_string(), rule),
        (Verdict::Deny(denial), Err(part)) => {
            assert!(denial.what.contains(part), "{part:?} is not in {denial:?}");
        }
        (verdict, _) => panic!("{verdict:?}, not {expect:?}"),
    }
}

const NO_GRANT: Result<&str, &str> = Err("no rule grants 'run' to uid");

#[test]
fn grant_reaches_only_named_subjects() {
    let users = "[[grant]]\nto = ['deploy']\nallow = ['run']";
    check(users, 64001, &[100], &RUN, Ok("a.toml:1"));
    check(users, 64003, &[100], &RUN, NO_GRANT);
    check(users, 0, &[0], &RUN, NO_GRANT);
    // The group of the same name is something else.
    check(users, 64003, &[902], &RUN, NO_GRANT);
    check(users, 64003, &[64001], &RUN, NO_GRANT);

    let group = "[[grant]]\nto = ['%ops']\nallow = ['run']";
    check(group, 64003, &[901], &RUN, Ok("a.toml:1"));
    check(group, 64003, &[100, 5, 901], &RUN, Ok("a.toml:1"));
    check(group, 901, &[], &RUN, NO_GRANT);
    check(group, 64003, &[], &RUN, NO_GRANT);

    let ids = "[[grant]]\nto = ['#7', '%#8', '#0']\nallow = ['run']";
    check(ids, 7, &[], &RUN, Ok("a.toml:1"));
    check(ids, 9, &[8], &RUN, Ok("a.toml:1"));
    check(ids, 8, &[7], &RUN, NO_GRANT);
    check(ids, 0, &[], &RUN, Ok("a.toml:1"));
}

#[test]
fn a_name_of_digits_is_a_name() {
    let text = "[[grant]]\nto = ['64001']\nallow = ['run']";
    check(text, 64010, &[], &RUN, Ok("a.toml:1"));
    check(text, 64001, &[], &RUN, NO_GRANT);
}

#[test]
fn odd_names_are_looked_up_and_nothing_else() {
    let text = "[[grant]]\nto = ['../../x', 'a b%c']\nallow = ['run']";
    check(text, 64011, &[], &RUN, Ok("a.toml:1"));
    check(text, 64012, &[], &RUN, Ok("a.toml:1"));
}

#[test]
fn empty_means_none() {
    check("", 0, &[0], &RUN, NO_GRANT);
    check("grant = []", 0, &[0], &RUN, NO_GRANT);
    check(
        "[[grant]]\nto = []\nallow = ['run']",
        0,
        &[0],
        &RUN,
        NO_GRANT,
    );
    check(
        "[[grant]]\nto = ['root']\nallow = []",
        0,
        &[0],
        &RUN,
        NO_GRANT,
    );
    let no_env = "[[grant]]\nto = ['root']\nallow = ['run']\nenv = []";
    check(no_env, 0, &[0], &env(&[b"TZ"]), Err("lacks 'TZ'"));
}

#[test]
fn unknown_grantee_gets_nothing() {
    let text = "[[grant]]\nto = ['ghost', '%ghosts', 'ALL', 'deploy']\nallow = ['run']";
    check(text, 64001, &[], &RUN, Ok("a.toml:1"));
    check(text, 64003, &[100], &RUN, NO_GRANT);
    let (_, warnings) = policy(text);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn unowned_ids_are_refused_before_rules() {
    let text = "[[grant]]\nto = ['%#100', 'root']\nallow = ['run']";
    for uid in [65534, 0x8000_0000, u32::MAX - 1, u32::MAX] {
        check(text, uid, &[100], &RUN, Err("can be granted nothing"));
    }
    check(text, 0x7fff_ffff, &[100], &RUN, Ok("a.toml:1"));
    let (policy, _) = policy(text);
    assert!(
        policy
            .access(CallerIds {
                uid: u32::MAX,
                gids: &[100]
            })
            .grants
            .is_empty()
    );
}

#[test]
fn denial_wins_in_any_order() {
    let grant = "[[grant]]\nname = 'yes'\nto = ['deploy', '%ops']\nallow = ['run']\n";
    let deny = "[[deny]]\nname = 'no'\nto = ['%ops']\ndeny = ['run']\n";
    for text in [format!("{grant}{deny}"), format!("{deny}{grant}")] {
        check(
            &text,
            64003,
            &[901],
            &RUN,
            Err("'run' is denied by rule no (a.toml:"),
        );
        check(&text, 64001, &[100, 901], &RUN, Err("denied by rule no"));
        check(
            &text,
            64001,
            &[100, 901],
            &in_profile("none such"),
            Err("denied by rule no"),
        );
        let (policy, _) = policy(&text);
        assert!(
            policy
                .access(CallerIds {
                    uid: 64001,
                    gids: &[901]
                })
                .grants
                .is_empty()
        );
        assert_eq!(
            policy
                .access(CallerIds {
                    uid: 64001,
                    gids: &[]
                })
                .grants
                .len(),
            1
        );
    }
}

#[test]
fn one_rule_covers_all_variables_or_none_does() {
    let text = "[[grant]]\nto = ['deploy']\nallow = ['run']\nenv = ['TZ']\n\
        [[grant]]\nname = 'lang'\nto = ['deploy']\nallow = ['run']\nenv = ['LANG', 'LC_ALL']";
    check(text, 64001, &[], &env(&[]), Ok("a.toml:1"));
    check(text, 64001, &[], &env(&[b"TZ", b"TZ"]), Ok("a.toml:1"));
    check(
        text,
        64001,
        &[],
        &env(&[b"LC_ALL", b"LANG"]),
        Ok("lang (a.toml:5)"),
    );
    check(
        text,
        64001,
        &[],
        &env(&[b"TZ", b"LANG"]),
        Err("rule a.toml:1 lacks 'LANG'"),
    );
    check(text, 64001, &[], &env(&[b"tz"]), Err("lacks 'tz'"));
    check(
        text,
        64001,
        &[],
        &env(&[b"LD_PRELOAD"]),
        Err("lacks 'LD_PRELOAD'"),
    );
    check(
        text,
        64001,
        &[],
        &env(&[b"\xff\n"]),
        Err("lacks '\\xff\\n'"),
    );
    check(
        text,
        64001,
        &[],
        &env(&vec![b"X".as_slice(); 1000]),
        Err("992 more"),
    );
}

#[test]
fn a_profile_is_granted_by_name() {
    let text = "[[grant]]\nto = ['deploy']\nallow = ['run']\nrun_profile = 'read'";
    check(text, 64001, &[], &in_profile("read"), Ok("a.toml:1"));
    for name in ["host", "strict", "Read", "read ", "", "\u{1b}[2J"] {
        check(
            text,
            64001,
            &[],
            &in_profile(name),
            Err("'run' in a profile '"),
        );
    }
    let (policy, _) = policy(text);
    let Verdict::Allow(grant) = policy.decide(
        CallerIds {
            uid: 64001,
            gids: &[],
        },
        &RUN,
    ) else {
        panic!("refused");
    };
    assert_eq!(grant.profile().name, "read");
}

#[test]
fn a_stranger_learns_nothing_by_asking() {
    let (policy, _) = policy("[[grant]]\nto = ['deploy']\nallow = ['run']");
    let stranger = CallerIds {
        uid: 64003,
        gids: &[100],
    };
    let asks = [
        RUN,
        in_profile("host"),
        in_profile("none such"),
        env(&[b"TZ"]),
    ];
    let answers = asks.map(|ask| policy.decide(stranger, &ask));
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
}

#[test]
fn what_lifts_a_denial_does_lift_it() {
    let (before, _) = policy("");
    let caller = CallerIds {
        uid: 64003,
        gids: &[100],
    };
    let Verdict::Deny(denial) = before.decide(caller, &RUN) else {
        panic!("allowed");
    };
    let lift = denial.lift.unwrap();
    let (_, line) = lift.split_once(": ").unwrap();
    let (line, _) = line.split_once(';').unwrap();
    check(line, 64003, &[100], &RUN, Ok("a.toml:1"));
}

#[test]
fn never_permitted_variable_has_no_lift() {
    let (policy, _) = policy("[[grant]]\nto = ['deploy']\nallow = ['run']");
    let caller = CallerIds {
        uid: 64001,
        gids: &[],
    };
    let denial = |names: &[&[u8]]| match policy.decide(caller, &env(names)) {
        Verdict::Deny(denial) => denial,
        verdict => panic!("{verdict:?}"),
    };
    for never in [b"PATH".as_slice(), b"LD_PRELOAD", b"\xff"] {
        let denial = denial(&[b"TZ", never]);
        assert_eq!(denial.lift, None);
        assert!(denial.what.contains("no policy can permit"), "{denial:?}");
    }
    assert!(denial(&[b"TZ"]).lift.is_some());
}

#[test]
fn access_shows_what_decide_allows() {
    let (policy, _) = policy(
        "[[grant]]\nname = 'one'\nto = ['%ops']\nallow = ['run']\nenv = ['TZ', 'LANG']\n\
         [[grant]]\nto = ['deploy']\nallow = ['run']\nenv = ['A']\n\
         [[grant]]\nname = 'never-decides'\nto = ['deploy']\nallow = ['run']",
    );
    let access = policy.access(CallerIds {
        uid: 64001,
        gids: &[901],
    });
    let views = access.grants;
    let rules: Vec<_> = views.iter().map(|view| view.rule.as_str()).collect();
    assert_eq!(rules, ["one (a.toml:1)", "a.toml:6"]);
    assert_eq!(
        (views[0].profile.as_str(), views[0].allow.as_slice()),
        ("read", &["run".to_owned()][..])
    );
    assert_eq!(views[0].env, ["LANG", "TZ"]);
    assert!(
        policy
            .access(CallerIds { uid: 1, gids: &[] })
            .grants
            .is_empty()
    );
    assert_eq!(
        policy.groups_named().iter().copied().collect::<Vec<_>>(),
        [901]
    );
}

#[test]
fn the_digest_covers_names_bytes_and_accounts() {
    let accounts = accounts();
    let digest = |sources: &[(&str, &str)], accounts: &_| {
        let sources: Vec<_> = sources
            .iter()
            .map(|(name, text)| source(name, text))
            .collect();
        load(&sources, accounts).unwrap().0.digest().to_owned()
    };
    let grant = "[[grant]]\nto = ['deploy', '%ghosts']\nallow = ['run']";
    let base = digest(&[("a", grant), ("b", "")], &accounts);
    assert_eq!(base, digest(&[("b", ""), ("a", grant)], &accounts));
    let mut moved = accounts.clone();
    moved
        .users
        .insert("deploy".into(), remit_policy::Ids { uid: 5, gid: 5 });
    let mut born = accounts.clone();
    born.groups.insert("ghosts".into(), 5);
    let commented = format!("{grant} # x");
    for other in [
        digest(&[("a", grant)], &accounts),
        digest(&[("a", grant), ("c", "")], &accounts),
        digest(&[("a", &commented), ("b", "")], &accounts),
        digest(&[("a", grant), ("b", "")], &moved),
        digest(&[("a", grant), ("b", "")], &born),
    ] {
        assert_ne!(base, other);
    }
    let mut unrelated = accounts.clone();
    unrelated
        .users
        .insert("new".into(), remit_policy::Ids { uid: 5, gid: 5 });
    assert_eq!(base, digest(&[("a", grant), ("b", "")], &unrelated));
    let texts = |text: &str, accounts: &_| {
        let policy = load(&[source("a", text)], accounts).unwrap().0;
        policy.texts().to_owned()
    };
    assert_eq!(texts(grant, &accounts), texts(grant, &moved));
    assert_eq!(texts(grant, &accounts), texts(grant, &born));
    assert_ne!(texts(grant, &accounts), texts(&commented, &accounts));
}

#[test]
fn the_shipped_policy_lets_group_remit_look() {
    let text = include_str!("../../../packaging/policy.d/10-default.toml");
    check(
        text,
        64003,
        &[100, 900],
        &RUN,
        Ok("default-read (a.toml:18)"),
    );
    check(
        text,
        64003,
        &[100, 900],
        &env(&[b"TZ"]),
        Ok("default-read (a.toml:18)"),
    );
    check(text, 64003, &[100], &RUN, NO_GRANT);
    check(text, 0, &[0], &RUN, Ok("default-read (a.toml:18)"));
    let (_, warnings) = policy(text);
    let about: Vec<&str> = warnings.iter().map(|warning| warning.message()).collect();
    assert!(
        about.iter().all(|about| about.starts_with("there is no ")),
        "{about:?}"
    );
}

#[test]
fn only_root_may_try_without_rules() {
    let tried = |profile, env_names| Ask::Try { profile, env_names };
    let denied = "[[deny]]\nto = ['#0']\ndeny = ['run']";
    for text in ["", denied] {
        check(text, 0, &[0], &tried(None, &[]), Ok("try by root"));
        check(
            text,
            0,
            &[],
            &tried(Some("read"), &[b"TZ"]),
            Ok("try by root"),
        );
    }
    check(
        "",
        0,
        &[],
        &tried(Some("nginx"), &[]),
        Err("no profile 'nginx'"),
    );
    check(
        "",
        0,
        &[],
        &tried(None, &[b"LD_PRELOAD"]),
        Err("LD_PRELOAD"),
    );
    check("", 0, &[], &tried(None, &[b"A\xff"]), Err("variable"));
    let granted = "[[grant]]\nto = ['#7', '%#0']\nallow = ['run']";
    for uid in [7, 65534, 4_000_000_000] {
        let Verdict::Deny(_) = policy(granted)
            .0
            .decide(CallerIds { uid, gids: &[0] }, &tried(None, &[]))
        else {
            panic!("uid {uid} is not root");
        };
    }
    check(granted, 7, &[], &tried(None, &[]), Err("only root may try"));
    let (policy, _) = policy("");
    let Verdict::Allow(grant) =
        policy.decide(CallerIds { uid: 0, gids: &[] }, &tried(None, &[b"TZ"]))
    else {
        panic!("root may");
    };
    assert_eq!(
        (grant.profile().name.as_str(), grant.env()),
        ("read", &["TZ".to_owned()][..])
    );
}

const CHANGE: Ask<'_> = Ask::Change {
    profile: None,
    env_names: &[],
};

/// `Ok` with the approvers and the profile, or `Err` with a part of the denial's sentence.
#[track_caller]
fn check_one_off(text: &str, ask: &Ask<'_>, expect: Result<(&str, &str), &str>) {
    let (policy, _) = policy(text);
    let caller = CallerIds {
        uid: 7,
        gids: &[901],
    };
    match (policy.decide(caller, ask), expect) {
        (Verdict::Ask(pending), Ok((by, profile))) => {
            assert_eq!(pending.approval().asked_of().join(" "), by, "{text}");
            assert_eq!(pending.profile().name, profile, "{text}");
        }
        (Verdict::Deny(denial), Err(part)) => {
            assert!(denial.what.contains(part), "{part:?} is not in {denial:?}");
        }
        (verdict, _) => panic!("{verdict:?}, not {expect:?}"),
    }
}

#[test]
fn one_off_change_needs_its_whole_name_and_an_approval() {
    let no_grant = Err("no rule grants uid 7 a one-off 'change'");
    let approval = "approval = { by = ['#8'] }";
    let rule = |allow: &str, more: &str| {
        format!("[[grant]]\nto = ['#7']\nallow = [{allow}]\n{approval}\n{more}\n")
    };
    let granted = rule("'change'", "");
    check_one_off(&granted, &CHANGE, Ok(("#8", "host")));
    for pattern in ["'*'", "'c*'", "'chang*'", "'*change*'", "'run', 'logs'"] {
        for more in ["", "effect = 'change'", "effect = 'read'"] {
            check_one_off(&rule(pattern, more), &CHANGE, no_grant);
        }
    }
    check_one_off("", &CHANGE, no_grant);
    check_one_off(&granted.replace("#7", "#9"), &CHANGE, no_grant);
    let without = "[[grant]]\nto = ['#7']\nallow = ['*']\neffect = 'change'\nunconfined = true";
    check_one_off(without, &CHANGE, no_grant);
    check(&granted, 7, &[901], &RUN, NO_GRANT);
}

#[test]
fn every_rule_about_one_off_changes_asks_and_any_denial_wins() {
    let rule = |to: &str, by: &str, more: &str| {
        format!(
            "[[grant]]\nto = ['{to}']\nallow = ['change']\napproval = {{ by = ['{by}'] }}\n{more}\n"
        )
    };
    let both = rule("#7", "#8", "") + &rule("%ops", "#9", "");
    check_one_off(&both, &CHANGE, Ok(("#8 and #9", "host")));
    for denied in ["change", "*", "ch*"] {
        let text = format!("{both}[[deny]]\nname = 'no'\nto = ['#7']\ndeny = ['{denied}']\n");
        check_one_off(&text, &CHANGE, Err("denied by rule no"));
    }
    let text = format!("{both}[[deny]]\nto = ['#7']\ndeny = ['run', 'logs']\n");
    check_one_off(&text, &CHANGE, Ok(("#8 and #9", "host")));
    // A denial says nothing to a caller without a grant.
    let denial = "[[deny]]\nto = ['#7']\ndeny = ['change']\n";
    check_one_off(denial, &CHANGE, Err("no rule grants uid 7"));
}

#[test]
fn one_off_change_names_its_profile_and_variables() {
    let text = "[[grant]]\nto = ['#7']\nallow = ['change']\napproval = { by = ['#8'] }\nenv = ['TZ']\n\
                [profile.wide]\nbase = 'strict'\nwrite = ['/srv']\n";
    let ask = |profile, env_names| Ask::Change { profile, env_names };
    for profile in ["host", "strict", "read", "wide"] {
        check_one_off(text, &ask(Some(profile), &[]), Ok(("#8", profile)));
    }
    check_one_off(
        text,
        &ask(Some("narrow"), &[]),
        Err("there is no profile 'narrow'"),
    );
    for inspect in ["names", "processes", "file"] {
        let text = format!("{text}[profile.inspector]\nbase = 'read'\ninspect = '{inspect}'\n");
        let refused = Err("no one-off change runs in the profile 'inspector'");
        check_one_off(&text, &ask(Some("inspector"), &[]), refused);
    }
    check_one_off(text, &ask(None, &[b"TZ"]), Ok(("#8", "host")));
    check_one_off(text, &ask(None, &[b"LC_ALL"]), Err("lacks 'LC_ALL'"));
    check_one_off(
        text,
        &ask(None, &[b"LD_PRELOAD"]),
        Err("no policy can permit"),
    );
}

#[test]
fn the_example_of_one_off_changes_asks() {
    let text = include_str!("../../../packaging/examples/one-off.toml");
    let accounts = accounts();
    let loaded = load(&[source("one-off.toml", text)], &accounts);
    assert!(loaded.is_ok(), "{loaded:?}");
}
