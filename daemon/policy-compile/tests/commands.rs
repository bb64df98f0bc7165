#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{COMMANDS, accounts, source, with_commands};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_policy::{Access, Ask, CallerIds, Policy, Verdict};
use remit_policy_compile::{explain, load};

const DEPLOY: CallerIds<'_> = CallerIds {
    uid: 64001,
    gids: &[100],
};
const OPS: CallerIds<'_> = CallerIds {
    uid: 64001,
    gids: &[100, 901],
};
const MALLORY: CallerIds<'_> = CallerIds {
    uid: 64003,
    gids: &[100],
};

fn read(name: &str) -> Ask<'_> {
    Ask::Command {
        name,
        effect: Effect::Read,
        args: &[],
    }
}

fn change(name: &str) -> Ask<'_> {
    Ask::Command {
        name,
        effect: Effect::Change,
        args: &[],
    }
}

fn run<'a>(profile: Option<&'a str>, env_names: &'a [&'a [u8]]) -> Ask<'a> {
    Ask::Run {
        profile,
        argv0: b"df",
        env_names,
    }
}

fn refusal(policy: &Policy, caller: CallerIds<'_>, ask: &Ask<'_>) -> Refusal {
    match policy.decide(caller, ask) {
        Verdict::Allow(grant) => panic!("{grant:?}"),
        Verdict::Ask(pending) => pending.into(),
        Verdict::Deny(denial) => denial.into(),
    }
}

/// `allow RULE in PROFILE`, `ask RULE in PROFILE: APPROVAL`, or the refusal's code and sentence.
fn outcome(policy: &Policy, caller: CallerIds<'_>, ask: &Ask<'_>) -> String {
    match policy.decide(caller, ask) {
        Verdict::Allow(grant) => format!("allow {} in {}", grant.basis(), grant.profile().name),
        Verdict::Ask(pending) => format!(
            "ask {} in {}: {}",
            pending.rule(),
            pending.profile().name,
            pending.approval()
        ),
        Verdict::Deny(denial) => format!("{}: {}", denial.code, denial.what),
    }
}

const GRANT: &str = "[[grant]]\nto = ['deploy']\nallow = ['nginx.*']\neffect = 'change'\n";

#[test]
fn command_grant_runs_in_own_profile() {
    let policy = with_commands(GRANT);
    for (ask, profile) in [
        (read("nginx.test"), "strict"),
        (change("nginx.reload"), "nginx"),
    ] {
        let Verdict::Allow(grant) = policy.decide(DEPLOY, &ask) else {
            panic!("refused");
        };
        assert_eq!(grant.basis().to_string(), "a.toml:1");
        assert_eq!(grant.profile().name, profile);
        assert_eq!(grant.command().unwrap().profile, *grant.profile());
        assert!(grant.env().is_empty());
    }
    let by_one_name =
        with_commands("[[grant]]\nto = ['deploy']\nallow = ['nginx.test']\nenv = ['TZ']");
    assert_eq!(
        outcome(&by_one_name, DEPLOY, &read("nginx.test")),
        "allow a.toml:1 in strict"
    );
    assert_eq!(
        refusal(&by_one_name, DEPLOY, &change("nginx.reload")).code,
        Code::NotFound
    );
    for ask in [
        run(None, &[]),
        read("run"),
        read("nginx"),
        read("nginx.*"),
        read(""),
    ] {
        assert!(
            matches!(policy.decide(DEPLOY, &ask), Verdict::Deny(_)),
            "{ask:?}"
        );
    }
    let any_program = with_commands("[[grant]]\nto = ['deploy']\nallow = ['run']");
    assert_eq!(
        refusal(&any_program, DEPLOY, &read("nginx.test")).code,
        Code::NotFound
    );
}

#[test]
fn denied_command_looks_like_unknown_one() {
    let (without, _) = load(
        &[source("a.toml", GRANT.replace("nginx.*", "*"))],
        &accounts(),
    )
    .unwrap();
    let denied = "[[deny]]\nname = 'no-mallory'\nto = ['mallory']\ndeny = ['nginx.*', 'logs']\n";
    for policy in [
        with_commands(GRANT),
        with_commands(&format!("{GRANT}{denied}")),
    ] {
        for name in ["nginx.test", "nginx.reload", "logs", "none.such"] {
            for ask in [read(name), change(name)] {
                let answer = refusal(&policy, MALLORY, &ask);
                assert_eq!(answer, refusal(&without, MALLORY, &ask));
                assert_eq!(answer, Refusal::no_such_command(name));
                assert_eq!(
                    format!("{answer:?}"),
                    format!("{:?}", refusal(&without, MALLORY, &ask))
                );
            }
        }
    }
}

#[test]
fn wrong_tool_refusal_names_the_right_one() {
    let policy = with_commands(GRANT);
    let answer = refusal(&policy, DEPLOY, &read("nginx.reload"));
    assert_eq!(answer.code, Code::InvalidArgs);
    assert!(answer.message.contains("changes the host"), "{answer}");
    assert!(answer.next.unwrap().starts_with("call change "));
    let answer = refusal(&policy, DEPLOY, &change("nginx.test"));
    assert!(
        answer.message.contains("does not change the host"),
        "{answer}"
    );
    assert!(answer.next.unwrap().starts_with("call run "));
    let denied = with_commands(&format!(
        "{GRANT}[[deny]]\nto = ['deploy']\ndeny = ['nginx.reload']"
    ));
    assert_eq!(
        refusal(&denied, DEPLOY, &read("nginx.reload")).by.unwrap(),
        "a.toml:5"
    );
}

#[test]
fn run_includes_builtins_if_base_is_read() {
    let check = |rules: &str, expect: &str| {
        assert_eq!(
            outcome(&with_commands(rules), DEPLOY, &read("logs")),
            expect,
            "{rules}"
        );
    };
    let grant =
        |allow: &str, rest: &str| format!("[[grant]]\nto = ['deploy']\nallow = [{allow}]\n{rest}");
    let none = Refusal::no_such_command("logs");
    let none = format!("{}: {}", none.code, none.message);
    check(&grant("'run'", ""), "allow a.toml:1 in read");
    check(&grant("'*'", ""), "allow a.toml:1 in read");
    check(&grant("'logs'", ""), "allow a.toml:1 in read");
    check(
        &grant("'lo*'", "profile = 'strict'"),
        "allow a.toml:1 in read",
    );
    check(&grant("'run'", "profile = 'strict'"), &none);
    check(&grant("'service.*'", ""), &none);
    let deny = |deny: &str| {
        format!(
            "{}[[deny]]\nto = ['deploy']\ndeny = [{deny}]",
            grant("'run', 'logs'", "")
        )
    };
    check(
        &deny("'run'"),
        "denied_rule: 'logs' is denied by rule a.toml:4",
    );
    check(
        &deny("'logs'"),
        "denied_rule: 'logs' is denied by rule a.toml:4",
    );
    check(&deny("'service.*'"), "allow a.toml:1 in read");
    let wider = "[profile.wide]\nbase = 'read'\ngroups = ['ops']\n[[grant]]\nto = ['deploy']\nallow = ['run']\nrun_profile = 'wide'";
    check(wider, "allow a.toml:4 in read");
}

#[test]
fn the_strictest_of_all_matching_grants_decides() {
    let rules = "[[grant]]\nname = 'plain'\nto = ['deploy']\nallow = ['run', 'nginx.*']\neffect = 'change'\nenv = ['TZ']\n\
        [[grant]]\nname = 'hour'\nto = ['%ops']\nallow = ['*']\neffect = 'change'\napproval = { by = ['%remit', 'root'], expires = '1h' }\n\
        [[grant]]\nname = 'soon'\nto = ['deploy']\nallow = ['nginx.reload']\napproval = { by = ['%remit'], expires = '90s' }";
    let policy = with_commands(rules);
    let check =
        |caller, ask: &Ask<'_>, expect: &str| assert_eq!(outcome(&policy, caller, ask), expect);
    check(
        DEPLOY,
        &read("nginx.test"),
        "allow plain (a.toml:1) in strict",
    );
    let hour = "needs approval by %remit, root, asked for at most 1 h";
    check(
        OPS,
        &read("nginx.test"),
        &format!("ask hour (a.toml:7) in strict: {hour}"),
    );
    check(
        DEPLOY,
        &change("nginx.reload"),
        "ask soon (a.toml:13) in nginx: needs approval by %remit, asked for at most 90 s",
    );
    check(
        OPS,
        &change("nginx.reload"),
        "ask soon (a.toml:13) in nginx: needs approval by %remit, asked for at most 90 s",
    );
    check(
        OPS,
        &run(None, &[]),
        &format!("ask hour (a.toml:7) in read: {hour}"),
    );
    check(
        OPS,
        &run(None, &[b"TZ"]),
        &format!("ask hour (a.toml:7) in read: {hour}"),
    );
    check(
        DEPLOY,
        &run(None, &[b"TZ"]),
        "allow plain (a.toml:1) in read",
    );
    let answer = refusal(&policy, OPS, &read("nginx.test"));
    assert_eq!(answer.code, Code::NeedsApproval);
    assert_eq!(answer.by.as_deref(), Some("hour (a.toml:7)"));
    assert!(answer.message.contains(hour), "{answer}");
    let next = answer.next.as_deref().unwrap();
    assert!(next.contains("waits until they approve it"), "{answer}");
}

#[test]
fn advice_to_lift_approval_loads() {
    let made = |name: &str, grant: &str| {
        common::policy(&format!(
            "[profile.h]\nbase = 'host'\nuser = 'root'\n\
             [[command]]\nname = 'a.host'\nsummary = 'x'\nargv = ['/usr/bin/true']\neffect = 'change'\nprofile = 'h'\n\
             [[command]]\nname = 'a.strict'\nsummary = 'x'\nargv = ['/usr/bin/true']\neffect = 'change'\nprofile = 'strict'\n\
             [[grant]]\nto = ['deploy']\nallow = ['{name}']\n{grant}"
        ))
        .0
    };
    for (name, expect) in [
        ("a.host", "approval = \"none\" and unconfined = true"),
        ("a.strict", "approval = \"none\""),
    ] {
        let asking = made(name, "approval = { by = ['root'] }");
        let lift = refusal(&asking, DEPLOY, &change(name)).lift.unwrap();
        let advice = format!(
            "a [[grant]] of '{name}' with {expect} in place of that one; then remit policy reload"
        );
        assert_eq!(lift, advice);
        let granted = made(name, &expect.replace(" and ", "\n"));
        assert!(outcome(&granted, DEPLOY, &change(name)).starts_with("allow "));
    }
}

#[test]
fn run_is_granted_by_profile() {
    let policy = with_commands(
        "[profile.seen]\nbase = 'read'\ncapabilities = ['CAP_DAC_READ_SEARCH']\n\
         [[grant]]\nto = ['deploy']\nallow = ['run']\nrun_profile = 'seen'\n\
         [[grant]]\nto = ['deploy']\nallow = ['run']\nrun_profile = 'strict'",
    );
    let check =
        |profile, expect: &str| assert_eq!(outcome(&policy, DEPLOY, &run(profile, &[])), expect);
    check(Some("seen"), "allow a.toml:4 in seen");
    check(Some("strict"), "allow a.toml:8 in strict");
    let refused = "denied_rule: no rule grants uid 64001 'run' in a profile ";
    check(None, &format!("{refused}'read'"));
    check(
        Some("nginx"),
        &format!("{refused}'nginx', if there is one of this name"),
    );
    // A profile without a grant and one that does not exist have the same refusal, except for the name.
    let [there, not_there] = ["nginx", "ngonx"].map(|profile| {
        let refusal = refusal(&policy, DEPLOY, &run(Some(profile), &[]));
        format!("{refusal:?}").replace(profile, "X")
    });
    assert_eq!(there, not_there);
    assert_eq!(refusal(&policy, DEPLOY, &run(Some("host"), &[])).lift, None);
    // An unknown name does not become a rule: a policy with it would not load.
    for profile in ["root", "a\"b"] {
        let lift = refusal(&policy, DEPLOY, &run(Some(profile), &[]))
            .lift
            .unwrap();
        assert!(!lift.contains(profile), "{lift}");
        let rule = lifting(&lift);
        assert!(
            load(&[source("x.toml", &rule)], &accounts()).is_err(),
            "{rule}"
        );
        let policy = with_commands(&rule.replace("PROFILE", "strict"));
        assert_eq!(
            outcome(&policy, DEPLOY, &run(Some("strict"), &[])),
            "allow a.toml:1 in strict"
        );
    }
    let lift = refusal(&with_commands(""), DEPLOY, &run(None, &[]))
        .lift
        .unwrap();
    let policy = with_commands(&lifting(&lift));
    assert_eq!(
        outcome(&policy, DEPLOY, &run(None, &[])),
        "allow a.toml:1 in read"
    );
}

/// Returns the rule in the way out of a denial.
fn lifting(lift: &str) -> String {
    assert!(
        lift.contains("; then remit policy check and remit policy reload"),
        "{lift}"
    );
    let (_, rule) = lift.split_once("policy.d: ").unwrap();
    rule.split_once("; then").unwrap().0.to_owned()
}

#[test]
fn root_tries_any_sandbox() {
    let policy = with_commands("");
    let root = CallerIds { uid: 0, gids: &[0] };
    let tried = |profile| Ask::Try {
        profile: Some(profile),
        env_names: &[],
    };
    assert_eq!(
        outcome(&policy, root, &tried("strict")),
        "allow try by root in strict"
    );
    assert_eq!(
        outcome(&policy, root, &tried("nginx")),
        "allow try by root in nginx"
    );
    assert!(outcome(&policy, root, &tried("host")).contains("is no sandbox"));
    assert!(
        outcome(&policy, root, &tried("ngonx")).contains("there is: read, strict, host, nginx)")
    );
}

/// `NAME RULE PROFILE [APPROVAL]` of each command.
fn commands(access: &Access<'_>) -> Vec<String> {
    let lines = access.commands.iter().map(|one| {
        let approval = one.approval.as_ref().map(|approval| format!(" {approval}"));
        format!(
            "{} {} {}{}",
            one.named.name(),
            one.rule,
            one.profile.name,
            approval.unwrap_or_default()
        )
    });
    lines.collect()
}

/// `RULE: PATTERNS in PROFILE (VARIABLES) [APPROVAL]` of each grant.
fn grants(access: &Access<'_>) -> Vec<String> {
    let lines = access.grants.iter().map(|view| {
        let approval = view
            .approval
            .as_ref()
            .map(|approval| format!(" {approval}"));
        format!(
            "{}: {} in {} ({}){}",
            view.rule,
            view.allow.join(" "),
            view.profile,
            view.env.join(" "),
            approval.unwrap_or_default()
        )
    });
    lines.collect()
}

#[test]
fn access_shows_what_decides_and_nothing_else() {
    let policy = with_commands(
        "[[grant]]\nname = 'all'\nto = ['deploy']\nallow = ['run', 'nginx.*']\neffect = 'change'\nenv = ['TZ']\n\
         [[grant]]\nname = 'ask'\nto = ['%ops']\nallow = ['run', 'nginx.reload']\nenv = ['LANG']\napproval = { by = ['%remit'], expires = '10min' }\n\
         [[grant]]\nname = 'no-more'\nto = ['deploy']\nallow = ['nginx.test', 'run']\n\
         [[deny]]\nto = ['deploy']\ndeny = ['service.*']",
    );
    let deploy = policy.access(DEPLOY);
    assert_eq!(
        grants(&deploy),
        ["all (a.toml:1): run nginx.* in read (TZ)"]
    );
    assert_eq!(
        commands(&deploy),
        [
            "logs all (a.toml:1) read",
            "nginx.reload all (a.toml:1) nginx",
            "nginx.test all (a.toml:1) strict"
        ]
    );
    let profiles: Vec<_> = deploy
        .profiles
        .iter()
        .map(|profile| &profile.name)
        .collect();
    assert_eq!(profiles, ["read", "strict", "nginx"]);

    let asked = "needs approval by %remit, asked for at most 10 min";
    let ops = policy.access(OPS);
    assert_eq!(
        grants(&ops),
        [
            format!("ask (a.toml:7): run nginx.reload in read (LANG) {asked}"),
            "all (a.toml:1): nginx.test in strict ()".into(),
            format!("all (a.toml:1): run in read (TZ) {asked}"),
        ]
    );
    assert_eq!(
        commands(&ops),
        [
            format!("logs ask (a.toml:7) read {asked}"),
            format!("nginx.reload ask (a.toml:7) nginx {asked}"),
            "nginx.test all (a.toml:1) strict".into(),
        ]
    );

    let mallory = policy.access(MALLORY);
    assert!(
        mallory.grants.is_empty() && mallory.commands.is_empty() && mallory.profiles.is_empty()
    );

    let one = with_commands(
        "[[grant]]\nto = ['deploy']\nallow = ['nginx.test', 'nginx.reload']\n[[deny]]\nto = ['%ops']\ndeny = ['nginx.t*', 'run']",
    );
    assert_eq!(
        grants(&one.access(OPS)),
        ["a.toml:1: nginx.reload in nginx ()"]
    );
    assert_eq!(one.access(OPS).profiles.len(), 1);
}

#[test]
fn the_profiles_of_files_follow_those_of_remit() {
    let policy = with_commands("[profile.aaa]\nbase = 'read'");
    let names: Vec<_> = policy
        .profiles()
        .map(|profile| profile.name.as_str())
        .collect();
    assert_eq!(names, ["read", "strict", "host", "aaa", "nginx"]);
    let names: Vec<_> = policy
        .commands()
        .map(|command| command.name.as_str())
        .collect();
    assert_eq!(names, ["nginx.reload", "nginx.test"]);
    assert_eq!(policy.named("logs").unwrap().effect(), Effect::Read);
    assert_eq!(
        policy.named("nginx.reload").unwrap().effect(),
        Effect::Change
    );
    assert!(policy.named("run").is_none() && policy.command("logs").is_none());
    assert!(COMMANDS.contains("nginx.reload"));
}

#[test]
fn explanation_covers_every_rule() {
    let policy = with_commands(
        "[[grant]]\nname = 'plain'\nto = ['deploy']\nallow = ['run', 'nginx.*']\neffect = 'change'\nenv = ['TZ']\n\
         [[grant]]\nname = 'ask'\nto = ['%ops']\nallow = ['run']\napproval = { by = ['%remit'], expires = '10min' }\n\
         [[grant]]\nname = 'strict'\nto = ['deploy']\nallow = ['run']\nrun_profile = 'strict'\n\
         [[deny]]\nname = 'no-reload'\nto = ['%ops']\ndeny = ['nginx.reload']",
    );
    let check = |caller, ask: &Ask<'_>, why: &str, considered: [&str; 4]| {
        let explanation = explain(&policy, caller, ask);
        assert_eq!(explanation.verdict, policy.decide(caller, ask));
        assert_eq!(explanation.why, why);
        let outcome = explanation.considered.iter();
        let outcome: Vec<_> = outcome
            .map(|(rule, why)| format!("{} {why}", rule.name.as_ref().unwrap()))
            .collect();
        assert_eq!(outcome, considered);
    };
    let asked = "needs approval by %remit, asked for at most 10 min";
    check(
        DEPLOY,
        &read("nginx.test"),
        "allowed in profile strict by plain (a.toml:1)",
        [
            "no-reload is not about this caller",
            "ask is not about this caller",
            "plain decides: allows 'nginx.test'",
            "strict does not allow 'nginx.test'",
        ],
    );
    check(
        OPS,
        &change("nginx.reload"),
        "'nginx.reload' is denied by rule no-reload (a.toml:17)",
        [
            "no-reload decides: denies 'nginx.reload'",
            "ask does not allow 'nginx.reload'",
            "plain allows 'nginx.reload', but a denial wins",
            "strict does not allow 'nginx.reload'",
        ],
    );
    check(
        OPS,
        &run(None, &[b"TZ"]),
        &format!(
            "allowed in profile read by ask (a.toml:7); it {asked}; one of them, never who asks, types: remit approve ID"
        ),
        [
            "no-reload does not deny 'run'",
            &format!(
                "ask decides: allows 'run'; it {asked}, but does not list 'TZ'; its approval holds whichever rule lists them"
            ),
            "plain allows 'run'; but rule ask (a.toml:7) is stricter or comes before it",
            "strict allows 'run' in profile strict, not in 'read'",
        ],
    );
    check(
        DEPLOY,
        &run(None, &[b"TZ", b"LANG"]),
        "no single rule lets this caller set all variables asked for; rule plain (a.toml:1) lacks 'LANG'",
        [
            "no-reload is not about this caller",
            "ask is not about this caller",
            "plain comes closest: allows 'run', but does not list 'LANG'",
            "strict allows 'run' in profile strict, not in 'read'",
        ],
    );
    let members = CallerIds {
        uid: 64003,
        gids: &[901],
    };
    check(
        members,
        &change("nginx.reload"),
        "no rule grants 'nginx.reload' to this caller: it is refused as an unknown command",
        [
            "no-reload denies 'nginx.reload', which this caller may not use anyway",
            "ask does not allow 'nginx.reload'",
            "plain is not about this caller",
            "strict is not about this caller",
        ],
    );
    check(
        DEPLOY,
        &read("nginx.reload"),
        "the command 'nginx.reload' changes the host, and this asks for one that does not; ask for 'change nginx.reload' instead",
        [
            "no-reload is not about this caller",
            "ask is not about this caller",
            "plain allows 'nginx.reload'",
            "strict does not allow 'nginx.reload'",
        ],
    );
    let unknown = explain(&policy, DEPLOY, &read("ngonx"));
    assert_eq!(unknown.why, "there is no command 'ngonx'");
    let root = CallerIds { uid: 0, gids: &[0] };
    let tried = Ask::Try {
        profile: None,
        env_names: &[],
    };
    let tried = explain(&policy, root, &tried);
    assert_eq!(tried.why, "allowed in profile read by try by root");
    assert!(tried.considered.is_empty());
}

#[test]
fn a_policy_can_be_shared() {
    fn shared<T: Send + Sync>(_: &T) {}
    let policy = with_commands("");
    shared(&policy);
    shared(policy.command("nginx.test").unwrap());
    shared(policy.profile("nginx").unwrap());
}

#[test]
fn repository_is_trusted_only_without_extra_rights() {
    let check = |profile: &str, ask: &dyn Fn() -> Ask<'static>, trusted: bool| {
        let text = format!(
            "[profile.p]\n{profile}\n[[command]]\nname = 'a.git'\nsummary = 'x'\nargv = ['/bin/git']\n\
             effect = 'read'\nprofile = 'p'\n[[grant]]\nto = ['deploy']\nallow = ['a.git', 'run']\n"
        );
        let (policy, _) = load(&[source("a.toml", text)], &accounts()).unwrap();
        let Verdict::Allow(grant) = policy.decide(DEPLOY, &ask()) else {
            panic!("{profile}");
        };
        let env = remit_policy::environment(grant.terms(), &[]).unwrap();
        let names = |entry: &std::ffi::CString| entry.as_bytes().starts_with(b"GIT_CONFIG_");
        assert_eq!(env.iter().any(names), trusted, "{profile}");
    };
    let command = || read("a.git");
    check("base = 'read'", &command, true);
    check("base = 'strict'\nread = ['/srv/git']", &command, true);
    check("base = 'strict'\nwrite = ['/srv/w']", &command, false);
    check("base = 'strict'\nnetwork = 'host'", &command, false);
    check("base = 'read'\ngroups = ['ops']", &command, false);
    let more = "base = 'read'\ncapabilities = ['CAP_DAC_READ_SEARCH']";
    check(more, &command, false);
    check("base = 'read'", &|| run(None, &[]), true);
}
