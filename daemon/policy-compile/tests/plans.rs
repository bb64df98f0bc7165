//! Who may commit which plan of changes of files, and which rules about that are refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{accounts, policy, source};
use proptest::prelude::*;
use remit_common::refusal::Refusal;
use remit_common::wire::Effect;
use remit_edit::{Action, Edit};
use remit_plan::{
    Base, Bundle, Change, Content, Entry, Kind, Metadata, OldCapabilities, Plan, PlanPath, Source,
    Stat, sha256,
};
use remit_policy::model::rule::{Grantees, Principal};
use remit_policy::{
    Approval, Ask, Basis, CallerIds, Consent, Count, Glob, Network, NotGivable, PlanWithin, Policy,
    PreApproval, Program, Verdict,
};
use remit_policy_compile::load;

const COMMANDS: &str = include_str!("../../../packaging/policy.d/60-plans.toml");

fn edit(path: &str, mode: u32) -> Edit {
    Edit {
        path: PlanPath::new(path).unwrap(),
        action: Action::Write(b"x".to_vec()),
        mode: Some(mode),
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    }
}

fn plan(paths: &[(&str, u32)]) -> Bundle {
    let planned = paths
        .iter()
        .map(|(path, mode)| edit(path, *mode).apply(None).unwrap().unwrap());
    remit_edit::bundle(planned.collect()).unwrap()
}

/// `Ok(None)` if it is allowed, `Ok` with the approvers, or `Err` with a part of the denial's sentence.
#[track_caller]
fn check(rules: &str, paths: &[&str], expect: Result<Option<&str>, &str>) {
    let (policy, _) = policy(&format!("{COMMANDS}\n{rules}"));
    let paths: Vec<_> = paths.iter().map(|path| (*path, 0o644)).collect();
    check_plan(&policy, &plan(&paths), expect);
}

#[track_caller]
fn check_plan(policy: &Policy, plan: &Bundle, expect: Result<Option<&str>, &str>) {
    let caller = CallerIds {
        uid: 7,
        gids: &[901],
    };
    let ask = Ask::Commit {
        name: "plan.commit",
        args: &[],
        plan,
    };
    match (policy.decide(caller, &ask), expect) {
        (Verdict::Allow(_), Ok(None)) => {}
        (Verdict::Ask(pending), Ok(Some(by))) => {
            assert_eq!(pending.approval().asked_of().join(" "), by);
        }
        (Verdict::Deny(denial), Err(part)) => {
            assert!(denial.what.contains(part), "{part:?} is not in {denial:?}");
        }
        (verdict, _) => panic!("{verdict:?}, not {expect:?}"),
    }
}

fn rule(paths: &str, approval: &str) -> String {
    format!(
        "[[grant]]\nto = ['#7']\nallow = ['plan.commit']\npaths = [{paths}]\napproval = {approval}\n"
    )
}

#[test]
fn plan_lies_in_the_paths_of_one_rule() {
    let free = rule("'/etc/nginx', '/srv/app'", "'none'");
    for (paths, expect) in [
        (&["/etc/nginx/a", "/srv/app/x/y"][..], Ok(None)),
        (&["/srv/app"], Ok(None)),
        (&["/etc/nginx2"], Err("the plan changes '/etc/nginx2'")),
        (&["/etc"], Err("the plan changes '/etc'")),
        (
            &["/etc/nginx/a", "/etc/hosts"],
            Err("only with paths: /etc/nginx, /srv/app"),
        ),
    ] {
        check(&free, paths, expect);
    }
    // Two rules with a half each are not one rule.
    let halves = rule("'/etc/nginx'", "'none'") + &rule("'/srv/app'", "'none'");
    check(&halves, &["/srv/app/x"], Ok(None));
    check(
        &halves,
        &["/srv/app/x", "/etc/nginx/a"],
        Err("granted only with paths"),
    );
    // The strictest rule with all paths decides; a rule about other paths does not.
    let ops = rule("'/etc'", "{ by = ['#8'] }") + &free;
    check(&ops, &["/etc/nginx/a"], Ok(Some("#8")));
    check(&ops, &["/etc/hosts"], Ok(Some("#8")));
    check(&ops, &["/srv/app/x"], Ok(None));
    let all = format!(
        "[[grant]]\nto = ['#7']\nallow = ['plan.commit']\napproval = {{ by = ['#9'] }}\n{ops}"
    );
    check(&all, &["/etc/nginx/a"], Ok(Some("#9 and #8")));
    check(&all, &["/opt/x"], Ok(Some("#9")));
    let denied = format!("{all}[[deny]]\nto = ['#7']\ndeny = ['plan.*']\n");
    check(&denied, &["/srv/app/x"], Err("is denied by rule"));
}

#[test]
fn advice_to_lift_the_approval_of_a_commit_loads() {
    let asking = rule("'/srv'", "{ by = ['#8'] }");
    let (asking, _) = policy(&format!("{COMMANDS}\n{asking}"));
    let plan = plan(&[("/srv/a", 0o644)]);
    let ask = Ask::Commit {
        name: "plan.commit",
        args: &[],
        plan: &plan,
    };
    let caller = CallerIds {
        uid: 7,
        gids: &[901],
    };
    let Verdict::Ask(pending) = asking.decide(caller, &ask) else {
        panic!("it needs no approval")
    };
    let lift = Refusal::from(pending).lift.unwrap();
    let expect = "approval = \"none\" and paths = [\"/DIRECTORY\"]";
    assert_eq!(
        lift,
        format!(
            "a [[grant]] of 'plan.commit' with {expect} in place of that one; then remit policy reload"
        )
    );
    check(&rule("'/srv'", "'none'"), &["/srv/a"], Ok(None));
}

#[test]
fn each_rule_that_could_have_the_paths_is_named() {
    let rules = |count: usize| -> String {
        (0..count)
            .map(|at| rule(&format!("'/srv/{at}'"), "'none'"))
            .collect()
    };
    let denied = |count: usize, paths: &[&str]| {
        let text = format!("{COMMANDS}\n{}", rules(count));
        let paths: Vec<_> = paths.iter().map(|path| (*path, 0o644)).collect();
        let plan = &plan(&paths);
        let ask = Ask::Commit {
            name: "plan.commit",
            args: &[],
            plan,
        };
        let first = COMMANDS.lines().count() + 2;
        match policy(&text).0.decide(CALLER, &ask) {
            Verdict::Deny(denial) => (denial, first),
            verdict => panic!("{verdict:?}"),
        }
    };
    for (count, at, only) in [
        (1, &[0][..], "paths: /srv/0"),
        (2, &[0, 5], "paths: /srv/0, or paths: /srv/1"),
        (
            6,
            &[0, 5, 10, 15],
            "paths: /srv/0, or paths: /srv/1, or paths: /srv/2, or paths: /srv/3, or 2 more",
        ),
    ] {
        let (denial, first) = denied(count, &["/etc/motd", "/srv/0/a"]);
        let what = format!("only with {only}, and the plan changes '/etc/motd'");
        assert!(denial.what.ends_with(&what), "{denial:?}");
        let at = at.iter().map(|line| format!("a.toml:{}", first + line));
        let mut at: Vec<String> = at.collect();
        at.extend((count > 4).then(|| "2 more".to_owned()));
        let lift = format!("more in 'paths' of the [[grant]] at {}", at.join(", or "));
        assert_eq!(denial.lift, Some(lift));
        assert_eq!(denial.rule.unwrap().line, first);
    }
    // Each rule has a part of it.
    let (denial, _) = denied(2, &["/srv/0/a", "/srv/1/a"]);
    assert_eq!(denial.object.as_deref(), Some("/srv/1/a"));
}

#[test]
fn nothing_with_a_risk_passes_without_an_approval() {
    let free = rule("'/etc', '/srv', '/usr', '/root', '/var'", "'none'");
    let asks = rule("'/etc', '/srv', '/usr', '/root', '/var'", "{ by = ['#8'] }");
    for path in [
        "/etc/sudoers.d/x",
        "/etc/pam.d/x",
        "/etc/ssh/sshd_config.d/x.conf",
        "/root/.ssh/authorized_keys",
        "/srv/keys/authorized_keys2",
        "/etc/cron.d/x",
        "/etc/systemd/system/x.service",
        "/etc/ld.so.preload",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/etc/profile.d/x.sh",
        "/etc/group",
        "/etc/modprobe.d/x.conf",
        "/var/spool/cron/crontabs/root",
        "/etc/network/interfaces",
        "/etc/sysctl.d/x.conf",
        "/usr/local/sbin/x",
        "/root/.bashrc",
        "/var/lib/x",
    ] {
        check(
            &free,
            &["/srv/a", path],
            Err("without an approval cannot change"),
        );
        check(&asks, &["/srv/a", path], Ok(Some("#8")));
    }
    let (policy, _) = policy(&format!("{COMMANDS}\n{free}"));
    for (mode, is_refused) in [
        (0o644, false),
        (0o755, true),
        (0o4755, true),
        (0o2755, true),
        (0o666, true),
    ] {
        let expect = match is_refused {
            true => Err("without an approval cannot change"),
            false => Ok(None),
        };
        check_plan(&policy, &plan(&[("/srv/a", mode)]), expect);
    }
}

#[test]
fn directory_of_the_system_is_named_by_one_rule() {
    let refused = Err("'paths' of the rule names no file or directory in '/etc' that has it");
    let wide = rule("'/etc', '/srv'", "'none'");
    check(&wide, &["/srv/a", "/etc/app/a"], refused);
    let named = rule("'/etc/app', '/srv'", "'none'");
    check(&named, &["/srv/a", "/etc/app/a"], Ok(None));
    for rules in [format!("{wide}{named}"), format!("{named}{wide}")] {
        check(&rules, &["/srv/a", "/etc/app/a"], Ok(None));
        check(&rules, &["/etc/other"], refused);
    }
    // A rule that has only a part of the plan names nothing for it.
    let part = wide + &rule("'/etc/app'", "'none'");
    check(&part, &["/srv/a", "/etc/app/a"], refused);
    check(&part, &["/etc/app/a"], Ok(None));
}

#[test]
fn only_its_name_grants_a_commit() {
    let unknown = Err("there is no command 'plan.commit'");
    for allow in [
        "'*'",
        "'plan.*'",
        "'plan.c*'",
        "'*.commit'",
        "'run', 'plan.make'",
    ] {
        for more in [
            "effect = 'change'\nunconfined = true",
            "effect = 'change'\napproval = { by = ['#8'] }",
        ] {
            let rules = format!("[[grant]]\nto = ['#7']\nallow = [{allow}]\n{more}\n");
            check(&rules, &["/srv/a"], unknown);
        }
    }
    check("", &["/srv/a"], unknown);
}

#[test]
fn command_with_an_error_gives_its_rules_none() {
    let mut machine = accounts();
    let others = Program::Distrusted("others can write it".to_owned());
    machine.programs = [("/usr/libexec/remit/remit-commit".to_owned(), others)].into();
    let rule = rule("'/srv'", "{ by = ['#8'] }") + "confirm = '1min'\nacts = ['plan.make']\n";
    let sources = [source("60.toml", COMMANDS), source("a.toml", rule)];
    let found = load(&sources, &machine).unwrap_err();
    let lines = common::lines(&found);
    assert!(lines.contains("others can write it"), "{lines}");
    assert!(!lines.contains("is only about"), "{lines}");
}

#[test]
fn rules_without_a_second_look_are_refused() {
    let grant = |text: &str| format!("[[grant]]\nto = ['#7']\n{text}\n");
    for (rules, words) in [
        (
            grant("allow = ['plan.commit']"),
            Some("'plan.commit' without an approval could change any file"),
        ),
        (
            grant("allow = ['plan.commit']\nunconfined = true"),
            Some("could change any file"),
        ),
        (
            grant("allow = ['plan.undo']\npaths = ['/srv']"),
            Some("'plan.undo' always needs an approval"),
        ),
        (
            grant("allow = ['plan.undo']\nunconfined = true"),
            Some("'plan.undo' always needs an approval"),
        ),
        (
            grant("allow = ['plan.commit']\npaths = []"),
            Some("'paths' has no path"),
        ),
        (
            grant("allow = ['run']\npaths = ['/srv']"),
            Some("'paths' is only about commits of files"),
        ),
        (
            grant("allow = ['plan.commit']\npaths = ['srv']"),
            Some("'srv': the path does not begin with '/'"),
        ),
        (
            grant("allow = ['plan.commit']\npaths = ['/srv/../etc']"),
            Some("'..'"),
        ),
        (
            grant("allow = ['plan.commit']\npaths = ['/']"),
            Some("'/' itself cannot be changed"),
        ),
        (
            grant("allow = ['plan.commit']\npaths = ['/etc/remit/policy.d']"),
            Some("it is remit's own"),
        ),
        (grant("allow = ['plan.recover']"), Some("without sandbox")),
        (grant("allow = ['plan.commit']\npaths = ['/srv']"), None),
        (
            grant("allow = ['plan.commit', 'plan.undo']\napproval = { by = ['#8'] }"),
            None,
        ),
    ] {
        let mut machine = accounts();
        machine.protected = vec!["/etc/remit".to_owned()];
        let sources = [source("60.toml", COMMANDS), source("a.toml", &rules)];
        let found = match load(&sources, &machine) {
            Ok((policy, _)) => {
                // What is sent is checked again.
                let sent = Policy::decode(&policy.encode()).unwrap();
                assert_eq!(sent.grants, policy.grants);
                None
            }
            Err(found) => Some(found.iter().map(ToString::to_string).collect::<String>()),
        };
        let is_right = match (&found, words) {
            (Some(found), Some(words)) => found.contains(words),
            (found, words) => found.is_none() && words.is_none(),
        };
        assert!(is_right, "{rules}: {found:?}");
    }
}

#[test]
fn command_of_remit_commit_is_as_the_package_has_it() {
    let command = |argv: &str, more: &str| {
        let argv = argv.split(' ').collect::<Vec<_>>().join("\", \"");
        format!(
            "[[command]]\nname = 'x.y'\nsummary = 'x'\nargv = [\"{argv}\"]\neffect = 'change'\nprofile = 'host'\n{more}\n"
        )
    };
    let (program, plan) = ("/usr/libexec/remit/remit-commit", "stdin = 'plan'");
    let undo = |words: &str| format!("{program} undo /srv/state {words}");
    let id = "args.id = { type = 'string', pattern = '[0-9a-f]{32}' }";
    let flag = |word: &str| format!("{id}\nargs.all = {{ type = 'bool', flag = '{word}' }}");
    for (text, is_refused) in [
        (
            command(&format!("{program} commit /srv/state"), plan),
            false,
        ),
        (command(&format!("{program} recover /srv/state"), ""), false),
        (command(&format!("{program} commit /srv/state"), ""), true),
        (
            command(&format!("{program} recover /srv/state"), plan),
            true,
        ),
        (
            command(&format!("{program} commit /srv/state more"), plan),
            true,
        ),
        (command(&format!("{program} undo /srv/state"), ""), true),
        (command(&undo("{id}"), id), false),
        (
            command(&undo("{id} {all}"), &flag("--with-contents")),
            false,
        ),
        (command(&undo("{all} {id}"), &flag("--with-contents")), true),
        (command(&undo("{id} {all}"), &flag("--partly")), true),
        (command(&undo("{id} --with-contents"), id), true),
        (
            command(
                &format!("{program} commit /srv/state"),
                "stdin = 'plan'\nenv = { LD_PRELOAD = '/x' }",
            ),
            true,
        ),
        (command("/usr/bin/true commit /srv/state", plan), true),
    ] {
        let loaded = load(&[source("a.toml", &text)], &accounts());
        assert_eq!(loaded.is_err(), is_refused, "{text}: {loaded:?}");
    }
}

/// What the caller wrote is read by a program that can do nothing else.
#[test]
fn check_of_plans_only_looks() {
    let rules = |effect: &str, profile: &str| {
        format!(
            "[[command]]\nname = 'x.check'\nsummary = 'x'\nargv = ['/usr/bin/true']\neffect = '{effect}'\nprofile = 'x'\nstdin = 'plan'\n\
             [profile.x]\n{profile}\n"
        )
    };
    let strict = "base = 'strict'\nread = ['/etc/nginx']";
    for (effect, more, is_refused) in [
        ("read", "", false),
        ("read", "scratch = ['/run']\nnetwork = 'loopback'", false),
        ("read", "exec = ['/opt/x']", false),
        ("change", "", true),
        ("read", "write = ['/srv/x']", true),
        ("read", "sockets = ['/run/x.sock']", true),
        ("read", "devices = ['/dev/kvm']", true),
        ("read", "network = 'host'", true),
        ("read", "network = ['127.0.0.1:80']", true),
    ] {
        let text = rules(effect, &format!("{strict}\n{more}"));
        let loaded = load(&[source("a.toml", &text)], &accounts());
        let found = loaded.err().map(|found| common::lines(&found));
        let said = found.as_deref().unwrap_or_default();
        assert_eq!(
            said.contains("is for remit-commit, and for commands"),
            is_refused,
            "{text}: {said}"
        );
        assert_eq!(found.is_some(), is_refused, "{text}: {said}");
    }
    for (more, is_refused) in [
        ("", false),
        ("eyes = 'root'\nspace = '64M'", false),
        ("network = ['deb.debian.org:80']", true),
    ] {
        let text = rules("read", &format!("base = 'plan'\n{more}"));
        let found = load(&[source("a.toml", &text)], &accounts()).err();
        let said = found.map(|found| common::lines(&found)).unwrap_or_default();
        let is_of_checks = said.contains("or in one of base plan without network");
        assert_eq!(is_of_checks, is_refused, "{text}: {said}");
    }
    for base in ["base = 'read'", "base = 'host'"] {
        assert!(
            load(&[source("a.toml", rules("read", base))], &accounts()).is_err(),
            "{base}"
        );
    }
    // Who runs it learns what these can read.
    for (base, more, warns) in [
        (strict, "", false),
        (strict, "user = 'root'", true),
        (strict, "capabilities = ['CAP_DAC_READ_SEARCH']", true),
        (strict, "capabilities = ['CAP_NET_BIND_SERVICE']", false),
        ("base = 'plan'", "", false),
        ("base = 'plan'", "eyes = 'root'", true),
    ] {
        let (policy, found) = policy(&rules("read", &format!("{base}\n{more}")));
        assert!(policy.command("x.check").unwrap().checks_plans());
        assert_eq!(
            common::lines(&found).contains("can learn whatever"),
            warns,
            "{more}: {found:?}"
        );
        let any = "who may run 'x.check' runs any program in the profile 'x': a plan may replace the program";
        let runs_any = common::lines(&found).contains(any);
        assert_eq!(runs_any, base != strict, "{base}: {found:?}");
    }
}

/// Whoever may run it without asking could read each file by a program of their own.
#[test]
fn check_in_a_copy_with_the_eyes_of_root_needs_an_approval() {
    let rules = |profile: &str, grant: &str| {
        format!(
            "[[command]]\nname = 'x.check'\nsummary = 'x'\nargv = ['/usr/bin/true']\neffect = 'read'\nprofile = 'x'\nstdin = 'plan'\n\
             [profile.x]\n{profile}\n[[grant]]\nto = ['deploy']\n{grant}\n"
        )
    };
    let (eyes, approval) = (
        "base = 'plan'\neyes = 'root'",
        "approval = { by = ['%remit'] }",
    );
    for (profile, grant, is_refused) in [
        (eyes, "allow = ['x.check']".to_owned(), true),
        (eyes, "allow = ['x.*']\nunconfined = true".to_owned(), true),
        (
            eyes,
            "allow = ['x.check']\napproval = 'none'".to_owned(),
            true,
        ),
        (eyes, format!("allow = ['x.check']\n{approval}"), false),
        ("base = 'plan'", "allow = ['x.check']".to_owned(), false),
    ] {
        let text = rules(profile, &grant);
        let found = load(&[source("a.toml", &text)], &accounts()).err();
        let said = found.map(|found| common::lines(&found)).unwrap_or_default();
        let part = "'x.check' would run any program of a plan with the eyes of root (profile 'x') and without approval";
        assert_eq!(said.contains(part), is_refused, "{text}: {said}");
        assert_eq!(said.is_empty(), !is_refused, "{text}: {said}");
    }
    let deploy = CallerIds {
        uid: 64_001,
        gids: &[],
    };
    for (profile, is_lifted) in [(eyes, false), ("base = 'plan'", true)] {
        let text = rules(profile, &format!("allow = ['x.check']\n{approval}"));
        let (name, effect, args) = ("x.check", Effect::Read, &[][..]);
        let asked = policy(&text)
            .0
            .decide(deploy, &Ask::Command { name, effect, args });
        let Verdict::Ask(pending) = asked else {
            panic!("it asks");
        };
        let lift = Refusal::from(pending).lift;
        assert_eq!(lift.is_some(), is_lifted, "{lift:?}");
    }
}

#[test]
fn difference_of_paths_is_shown() {
    let load = |rules: &str| policy(&format!("{COMMANDS}\n{rules}")).0;
    let (old, new) = (
        load(&rule("'/srv/app'", "'none'")),
        load(&rule("'/srv'", "'none'")),
    );
    assert_eq!(
        remit_policy_compile::diff(&old, &new),
        ["#7 gains plan.commit (paths: /srv)"]
    );
    assert_eq!(
        remit_policy_compile::diff(&new, &old),
        [
            "#7 gains plan.commit (paths: /srv/app)",
            "#7 loses plan.commit (paths: /srv)",
        ]
    );
    assert!(!new.is_within(&old));
    let access = new.access(CallerIds { uid: 7, gids: &[] });
    let shown: Vec<_> = access
        .commands
        .iter()
        .filter_map(|one| one.scope())
        .collect();
    assert_eq!(shown, ["only with paths: /srv"]);
}

const SITE: &str = "
[[command]]\nname = 'site.change'\nsummary = 'x'\nargv = ['/usr/bin/true', '{word}']\neffect = 'change'\nprofile = 'strict'
args.word = { type = 'enum', values = ['a', 'b'] }
[[command]]\nname = 'site.look'\nsummary = 'x'\nargv = ['/usr/bin/true']\neffect = 'read'\nprofile = 'read'
[[command]]\nname = 'site.stdin'\nsummary = 'x'\nargv = ['/usr/bin/cat']\neffect = 'read'\nprofile = 'read'\nstdin = 'caller'
[[command]]\nname = 'site.file'\nsummary = 'x'\nargv = ['/usr/bin/cat', '{file}']\neffect = 'read'\nprofile = 'read'
args.file = { type = 'path', under = '/srv', is = 'file', pass = 'descriptor' }
[[command]]\nname = 'site.secret'\nsummary = 'x'\nargv = ['/usr/bin/cat']\neffect = 'read'\nprofile = 'read'\nstdin = '{key}'
args.key = { type = 'secret' }
";

const ASKS: &str = "[[grant]]\nto = ['#7']\nallow = ['plan.commit', 'plan.undo']\nacts = ['site.change', 'site.look', 'site.later']
approval = { by = ['#8'] }\n";

fn site(rules: &str) -> Policy {
    policy(&format!("{COMMANDS}\n{SITE}\n{rules}")).0
}

const CALLER: CallerIds<'_> = CallerIds {
    uid: 7,
    gids: &[901],
};

fn then(calls: &[&str]) -> Vec<(String, String)> {
    let then = calls
        .iter()
        .map(|call| ("then".to_owned(), (*call).to_owned()));
    then.collect()
}

/// Returns the calls that follow, or what the refusal says.
fn follow(policy: &Policy, path: &str, calls: &[&str]) -> Result<Vec<String>, String> {
    let (plan, args) = (plan(&[(path, 0o644)]), then(calls));
    let ask = Ask::Commit {
        name: "plan.commit",
        args: &args,
        plan: &plan,
    };
    let terms = match policy.decide(CALLER, &ask) {
        Verdict::Allow(grant) => grant.terms().clone(),
        Verdict::Ask(pending) => pending.terms().clone(),
        Verdict::Deny(denial) => {
            assert!(!denial.next.is_empty());
            return Err(denial.what);
        }
    };
    // The arguments bind to the commit itself.
    terms.command().unwrap().bind(&args, true).unwrap();
    Ok(terms.acts().iter().map(remit_policy::Act::text).collect())
}

/// Returns the paths of each rule that allows an undo with these calls after it.
fn undo_paths(policy: &Policy, calls: &[&str]) -> Vec<Vec<PlanPath>> {
    let mut args = then(calls);
    args.push(("id".to_owned(), "0".repeat(32)));
    let ask = Ask::Command {
        name: "plan.undo",
        effect: Effect::Change,
        args: &args,
    };
    let Verdict::Ask(pending) = policy.decide(CALLER, &ask) else {
        panic!("it asks");
    };
    pending.terms().undo_paths().to_vec()
}

#[test]
fn rule_with_the_paths_of_an_undo_names_what_follows_it() {
    let rule = |path: &str, acts: &str| {
        format!(
            "[[grant]]\nto = ['#7']\nallow = ['plan.undo']\npaths = ['{path}']\n{acts}\napproval = {{ by = ['#8'] }}\n"
        )
    };
    let rules = rule("/etc/nginx", "acts = ['site.look']") + &rule("/srv", "");
    let policy = site(&rules);
    let allowed = |calls: &[&str]| {
        let paths = undo_paths(&policy, calls);
        let paths = paths.iter().flatten();
        paths.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(allowed(&[]), ["/etc/nginx", "/srv"]);
    assert_eq!(allowed(&["site.look"]), ["/etc/nginx"]);
}

/// An undo of nginx's files needs no approver of sshd's, and neither can approve the other's.
#[test]
fn undo_asks_the_approvers_of_its_commit() {
    let rule = |paths: &str, by: &str| {
        format!(
            "[[grant]]\nto = ['#7']\nallow = ['plan.commit', 'plan.undo']\n{paths}\napproval = {{ by = {by} }}\n"
        )
    };
    let policy = site(
        &(rule("paths = ['/etc/nginx']", "['#8']")
            + &rule(
                "paths = ['/etc/ssh', '/srv/a/b']",
                "['#9', '#10'], count = 2, signed = 'touch'",
            )
            + &rule("paths = ['/etc/nginx', '/srv', '/opt']", "['#8', '#11']")),
    );
    let args = [("id".to_owned(), "0".repeat(32))];
    for (paths, expect) in [
        (&["/etc/nginx/a"][..], Ok(("#8", 1))),
        (&["/srv/x"], Ok(("#8 #11", 1))),
        (&["/etc/nginx", "/opt"], Ok(("#8", 1))),
        (&["/etc/ssh/sshd_config"], Ok(("2 of (#9, #10)", 2))),
        // One path, and a directory above one, of the stricter rule are enough.
        (
            &["/srv/x", "/srv/a/b/c"],
            Ok(("2 of (#9, #10) and (#8, #11)", 2)),
        ),
        (&["/srv/a"], Ok(("2 of (#9, #10) and (#8, #11)", 2))),
        (
            &["/etc/ssh/a", "/etc/nginx/a"],
            Err("the commit has others"),
        ),
        (&["/usr/x"], Err("the commit has others")),
        // Without a journal.
        (&[], Ok(("2 of #8 and (#9, #10)", 2))),
    ] {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| PlanPath::new(*path).unwrap())
            .collect();
        let paths = paths.as_slice();
        let ask = |name, args| policy.decide(CALLER, &Ask::Paths { name, args, paths });
        match (ask("plan.undo", &args[..]), expect) {
            (Verdict::Ask(pending), Ok((by, count))) => {
                let asked = pending.approval();
                assert_eq!(
                    (asked.asked_of().join(" "), asked.count().get()),
                    (by.to_owned(), count),
                    "{paths:?}"
                );
                assert_eq!(asked.signed().is_some(), count == 2, "{paths:?}");
                let all = |own: &Vec<PlanPath>| {
                    paths
                        .iter()
                        .all(|path| own.iter().any(|own| path.is_in(own.as_bytes())))
                };
                assert!(pending.terms().undo_paths().iter().all(all), "{paths:?}");
                let Verdict::Ask(commit) = ask("plan.commit", &[]) else {
                    panic!("{paths:?}: the commit asks");
                };
                assert_eq!(commit.approval(), asked, "{paths:?}");
            }
            (Verdict::Deny(denial), Err(why)) => {
                assert!(denial.what.contains(why), "{}", denial.what);
                // A path of another user's commit.
                assert!(denial.object.is_none() && !denial.what.contains("/usr/x"));
            }
            (verdict, expect) => panic!("{paths:?}: {verdict:?}, not {expect:?}"),
        }
    }
}

/// Returns the approval of a floor by uid 11.
fn floor() -> Approval {
    let by = Grantees {
        ids: [(Principal::User(11), "#11".to_owned())].into(),
        words: vec!["#11".to_owned()],
        ..Grantees::default()
    };
    Approval::new(by, Count::One, 600)
}

/// A floor is asked about what a rule allows to a person. It lifts nothing that a rule refuses, or asks others for.
#[test]
fn floor_is_asked_about_plans_that_need_a_person() {
    let free = rule("'/srv'", "'none'") + "acts = ['site.look', 'site.change']\n";
    let asks = rule("'/srv/asks'", "{ by = ['#8'] }");
    let own = "[[grant]]\nto = ['#7']\nallow = ['site.change']\napproval = { by = ['#9'] }\n";
    let denies = "[[deny]]\nto = ['#7']\ndeny = ['site.look']\n";
    let policy = |rules: &str| site(&format!("{free}{asks}{own}{rules}"));
    let link = Edit {
        action: Action::Link(b"/etc/shadow".to_vec()),
        mode: None,
        ..edit("/srv/link", 0o644)
    };
    let link = link.apply(None).unwrap().unwrap();
    let link = remit_edit::bundle(vec![link]).unwrap();
    for (rules, plan, calls, alone, under) in [
        ("", plan(&[("/srv/a", 0o644)]), &[][..], "allowed", "#11"),
        (
            "",
            plan(&[("/srv/a", 0o755)]),
            &[],
            "without an approval cannot",
            "#11",
        ),
        ("", link, &[], "without an approval cannot", "#11"),
        ("", plan(&[("/srv/asks/a", 0o644)]), &[], "#8", "#8"),
        (
            "",
            plan(&[("/opt/a", 0o644)]),
            &[],
            "granted only",
            "granted only",
        ),
        (
            "",
            plan(&[("/srv/a", 0o644)]),
            &["site.look"],
            "by itself it is refused",
            "#11",
        ),
        (
            denies,
            plan(&[("/srv/a", 0o644)]),
            &["site.look"],
            "denied by",
            "denied by",
        ),
        (
            "",
            plan(&[("/srv/a", 0o644)]),
            &["site.change word=a"],
            "by itself it needs",
            "by itself it needs",
        ),
        (
            "",
            plan(&[("/srv/a", 0o644)]),
            &["site.no"],
            "not name it",
            "not name it",
        ),
    ] {
        let (policy, args) = (policy(rules), then(calls));
        let ask = Ask::Commit {
            name: "plan.commit",
            args: &args,
            plan: &plan,
        };
        for (floor, expect) in [(None, alone), (Some(&floor()), under)] {
            let found = match policy.decide_under(CALLER, &ask, floor) {
                Verdict::Allow(_) => "allowed".to_owned(),
                Verdict::Ask(pending) => {
                    let by = pending.approval().asked_of().join(" ");
                    // The rule has the approval that the other advice names.
                    let refusal = Refusal::from(pending);
                    let of_floor = "floor.approval of remit.toml";
                    let lift = match (by.as_str(), alone) {
                        ("#11", "allowed") => Some(of_floor),
                        ("#11", _) => None,
                        _ => Some("a [[grant]] of 'plan.commit' with approval = \"none\""),
                    };
                    let found = refusal.lift.unwrap_or_default();
                    assert_eq!(lift.is_none(), found.is_empty(), "{alone}: {found}");
                    assert!(found.starts_with(lift.unwrap_or_default()), "{found}");
                    assert_eq!(refusal.by.as_deref() == Some(of_floor), by == "#11");
                    by
                }
                Verdict::Deny(denial) => denial.what,
            };
            assert!(found.contains(expect), "{expect}: {found}");
        }
    }
    let looks = "[[grant]]\nto = ['#7']\nallow = ['site.look']\napproval = 'none'\n";
    let (name, effect, args) = ("site.look", Effect::Read, &[][..]);
    let ask = Ask::Command { name, effect, args };
    let found = policy(looks).decide_under(CALLER, &ask, Some(&floor()));
    assert!(matches!(found, Verdict::Allow(_)), "{found:?}");
}

/// Attack: a rule about one of the calls that follow has no paths, and does not allow the undo.
#[test]
fn paths_of_an_undo_are_of_a_rule_that_allows_it() {
    let grant = "[[grant]]\nto = ['#7']\nallow = ['plan.undo']\nacts = ['site.look', 'site.change']\n\
                 approval = { by = ['#8'] }\n";
    let policy = site(&format!(
        "{grant}paths = ['/srv/app']\n{grant}args = {{ then = ['site.look'] }}\n"
    ));
    let paths = |calls: &[&str]| undo_paths(&policy, calls);
    let app = vec![PlanPath::new("/srv/app").unwrap()];
    let both = paths(&["site.look"]);
    assert!(
        both.contains(&app) && both.contains(&Vec::new()),
        "{both:?}"
    );
    assert_eq!(paths(&["site.look", "site.change word=a"]), [app]);
}

#[test]
fn rule_names_the_commands_that_follow() {
    let free = "[[grant]]\nto = ['#7']\nallow = ['plan.commit']\npaths = ['/srv']\nacts = ['site.look', 'site.change']\napproval = 'none'\n";
    let looks = "[[grant]]\nto = ['#7']\nallow = ['site.look']\napproval = 'none'\n";
    let changes = |approval: &str| {
        format!("[[grant]]\nto = ['#7']\nallow = ['site.change']\napproval = {approval}\n")
    };
    let denied = "[[deny]]\nto = ['#7']\ndeny = ['site.change']\nargs = { word = ['b'] }\n";
    let none = "[[grant]]\nto = ['#7']\nallow = ['plan.commit']\napproval = { by = ['#8'] }\n";
    let halves = none.replace("approval", "acts = ['site.look']\napproval")
        + &none.replace("approval", "acts = ['site.change']\napproval");
    let (change, look) = ("site.change word=a", "site.look");
    let both = [look, change];
    for (rules, calls, expect) in [
        (ASKS.to_owned(), &both[..], Ok(())),
        (ASKS.to_owned(), &[], Ok(())),
        (
            none.to_owned(),
            &[look],
            Err(
                "'site.look' cannot follow 'plan.commit': the rule does not name it in 'acts'; it names none",
            ),
        ),
        (
            ASKS.to_owned(),
            &["site.stdin"],
            Err("it names site.change, site.later, site.look"),
        ),
        (
            ASKS.to_owned(),
            &["site.later"],
            Err("there is no such command"),
        ),
        (
            ASKS.to_owned(),
            &["plan.undo id=x"],
            Err("the rule does not name it"),
        ),
        // Each rule names one of them.
        (halves.clone(), &[look], Ok(())),
        (halves, &both, Err("the rule does not name it")),
        // A denial of the command holds, with its arguments.
        (format!("{ASKS}{denied}"), &both, Ok(())),
        (
            format!("{ASKS}{denied}"),
            &["site.change word=b"],
            Err("'site.change' is denied by rule"),
        ),
        // Without an approval, the commands need none either.
        (
            free.to_owned(),
            &[look],
            Err("the commit needs no approval, and by itself it is refused"),
        ),
        (format!("{free}{looks}"), &[look], Ok(())),
        (
            format!("{free}{looks}"),
            &both,
            Err("the commit needs no approval, and by itself it is refused"),
        ),
        (
            format!("{free}{looks}{}", changes("{ by = ['#8'] }")),
            &both,
            Err("the commit needs no approval, and by itself it needs"),
        ),
        (format!("{free}{looks}{}", changes("'none'")), &both, Ok(())),
        // What is no call of a command.
        (
            ASKS.to_owned(),
            &["site.look "],
            Err("each word is NAME=VALUE"),
        ),
        (
            ASKS.to_owned(),
            &["site.look a"],
            Err("each word is NAME=VALUE"),
        ),
        (
            ASKS.to_owned(),
            &["site.look =a"],
            Err("each word is NAME=VALUE"),
        ),
        (
            ASKS.to_owned(),
            &[" site.look"],
            Err("does not begin with a name"),
        ),
        (ASKS.to_owned(), &["a=b"], Err("does not begin with a name")),
        (ASKS.to_owned(), &[""], Err("does not begin with a name")),
        (
            ASKS.to_owned(),
            &["site.*"],
            Err("the rule does not name it"),
        ),
    ] {
        let found = follow(&site(&rules), "/srv/a", calls);
        match (&found, expect) {
            (Ok(found), Ok(())) => assert_eq!(found, calls, "{rules}"),
            (Err(found), Err(part)) => {
                assert!(found.contains(part), "{part:?} is not in {found:?}")
            }
            _ => panic!("{rules}: {calls:?}: {found:?}"),
        }
    }
}

/// Attack: one more path, of a rule that asks and names nothing that follows, takes no approval of a command away.
#[test]
fn approvers_of_another_path_approve_nothing_that_others_are_asked_for() {
    let acts = "acts = ['site.change']\n";
    let free = rule("'/srv'", "'none'") + acts;
    let asks = rule("'/srv/asks'", "{ by = ['#8'] }");
    let own = |approval: &str| {
        format!("[[grant]]\nto = ['#7']\nallow = ['site.change']\napproval = {approval}\n")
    };
    let by_others = own("{ by = ['#9'] }");
    let refused = Err("no rule that names it asks for an approval of the commit, and by itself it");
    for (rules, expect) in [
        (format!("{free}{asks}{by_others}"), refused),
        (format!("{free}{asks}{}", own("'none'")), Ok(1)),
        // A rule that names it asks, and has all paths or only one.
        (
            format!("{}{acts}{by_others}", rule("'/srv'", "{ by = ['#8'] }")),
            Ok(1),
        ),
        (format!("{free}{asks}{acts}{by_others}"), refused),
    ] {
        let policy = site(&rules);
        let paths = ["/srv/a", "/srv/asks/a"];
        let found = terms(&policy, &paths, &["site.change word=a"]);
        match (found.map(|(_, acts)| acts), expect) {
            (Err(found), Err(part)) => assert!(found.contains(part), "{rules}: {found}"),
            (found, expect) => assert_eq!(found, expect.map_err(str::to_owned), "{rules}"),
        }
    }
}

#[test]
fn turn_of_a_command_asks_the_policy_again() {
    let policy = site(ASKS);
    let act = |policy: &Policy| {
        let (plan, args) = (plan(&[("/srv/a", 0o644)]), then(&["site.change word=b"]));
        let ask = Ask::Commit {
            name: "plan.commit",
            args: &args,
            plan: &plan,
        };
        match policy.decide(CALLER, &ask) {
            Verdict::Ask(pending) => pending.terms().acts()[0].clone(),
            verdict => panic!("{verdict:?}"),
        }
    };
    let rule = policy.grants[0].id.clone();
    let basis = Basis::Approved {
        rule: rule.clone(),
        by: "bob".to_owned(),
    };
    let own = act(&policy);
    let grant = policy.act(CALLER, "plan.commit", &own, &basis).unwrap();
    assert_eq!(grant.command().unwrap().name, "site.change");
    assert_eq!(grant.basis(), &basis);
    let other = CallerIds { uid: 9, gids: &[] };
    assert!(policy.act(other, "plan.commit", &own, &basis).is_err());
    assert!(policy.act(CALLER, "plan.recover", &own, &basis).is_err());
    // Without an approval it would need a rule of its own.
    for basis in [
        Basis::Rule(rule),
        Basis::Recovery,
        Basis::Notification,
        Basis::TryByRoot,
    ] {
        assert!(
            policy.act(CALLER, "plan.commit", &own, &basis).is_err(),
            "{basis:?}"
        );
    }
    let denied = "[[deny]]\nto = ['#7']\ndeny = ['site.change']\n";
    let defined = SITE.replace("'a', 'b'", "'a', 'b', 'c'");
    for (policy, part) in [
        (
            site(&ASKS.replace("'site.change', ", "")),
            "cannot follow 'plan.commit' any more",
        ),
        (site(""), "cannot follow 'plan.commit' any more"),
        (site(&format!("{ASKS}{denied}")), "is denied by rule"),
        (
            self::policy(&format!("{COMMANDS}\n{defined}\n{ASKS}")).0,
            "any more",
        ),
        (
            self::policy(&format!("{COMMANDS}\n{ASKS}")).0,
            "there is no such command",
        ),
    ] {
        let denial = policy.act(CALLER, "plan.commit", &own, &basis).unwrap_err();
        assert!(denial.what.contains(part), "{part:?} is not in {denial:?}");
    }
}

#[test]
fn units_are_completed_in_what_follows() {
    let text = "[[command]]\nname = 'site.unit'\nsummary = 'x'\nargv = ['/usr/bin/true', '{unit}']\neffect = 'change'\nprofile = 'strict'\nargs.unit = { type = 'unit' }";
    let acts = ASKS.replace("'site.later'", "'site.unit'");
    let policy = site(&format!("{text}\n{acts}"));
    for (call, expect) in [
        ("site.unit unit=nginx", "site.unit unit=nginx.service"),
        ("site.unit unit=a.timer", "site.unit unit=a.timer"),
        ("site.unit  unit=nginx", "site.unit  unit=nginx"),
        ("plan.undo then=site.unit", "plan.undo then=site.unit"),
    ] {
        let mut args = then(&[call]);
        policy.complete(CALLER, "plan.commit", &mut args);
        assert_eq!(args, then(&[expect]));
    }
}

/// A refused caller reads their arguments in their history.
#[test]
fn arguments_are_completed_only_of_what_a_rule_names_for_the_caller() {
    let units = ["site.unit", "site.other"].map(|name| {
        format!(
            "[[command]]\nname = '{name}'\nsummary = 'x'\nargv = ['/usr/bin/true', '{{unit}}']\neffect = 'change'\nprofile = 'strict'\nargs.unit = {{ type = 'unit' }}\n"
        )
    });
    let acts = ASKS.replace("'site.later'", "'site.unit'");
    let units = units.concat();
    let granted = "[[grant]]\nto = ['#7']\nallow = ['site.unit']\napproval = { by = ['#8'] }\n";
    let policy = site(&format!("{units}\n{acts}\n{granted}"));
    let ids = |uid| CallerIds { uid, gids: &[] };
    let unit = vec![("unit".to_owned(), "nginx".to_owned())];
    for (uid, name, args, is_completed) in [
        (7, "site.unit", unit.clone(), true),
        (9, "site.unit", unit.clone(), false),
        (7, "site.other", unit, false),
        (7, "plan.commit", then(&["site.unit unit=nginx"]), true),
        (9, "plan.commit", then(&["site.unit unit=nginx"]), false),
        (7, "plan.commit", then(&["site.other unit=nginx"]), false),
    ] {
        let mut completed = args.clone();
        policy.complete(ids(uid), name, &mut completed);
        assert_eq!(
            completed != args,
            is_completed,
            "{uid} {name} {completed:?}"
        );
    }
}

#[test]
fn only_what_an_approver_sees_whole_can_follow() {
    let grant = |allow: &str, acts: &str| {
        format!(
            "[[grant]]\nto = ['#7']\nallow = ['{allow}']\nacts = [{acts}]\napproval = {{ by = ['#8'] }}\n"
        )
    };
    for (allow, acts, words) in [
        ("plan.commit", "'site.look', 'site.change'", None),
        ("plan.undo", "'site.look'", None),
        (
            "site.look",
            "'site.look'",
            Some("'acts' is only about commits and undoes"),
        ),
        ("plan.commit", "'site.*'", Some("is not the whole name")),
        ("plan.commit", "'*'", Some("is not the whole name")),
        ("plan.commit", "'run'", Some("is not the whole name")),
        ("plan.commit", "'change'", Some("is not the whole name")),
        ("plan.commit", "'logs'", Some("is not the whole name")),
        ("plan.commit", "'plan.undo'", Some("it commits or undoes")),
        (
            "plan.commit",
            "'plan.make'",
            Some("it takes standard input"),
        ),
        (
            "plan.commit",
            "'site.stdin'",
            Some("it takes standard input"),
        ),
        (
            "plan.commit",
            "'site.secret'",
            Some("it takes standard input"),
        ),
        (
            "plan.commit",
            "'site.file'",
            Some("it takes a file or a secret"),
        ),
    ] {
        let rules = grant(allow, acts);
        let text = format!("{COMMANDS}\n{SITE}\n{rules}");
        let found = match load(&[source("a.toml", &text)], &accounts()) {
            Ok((policy, _)) => {
                let sent = Policy::decode(&policy.encode()).unwrap();
                assert_eq!(sent.grants, policy.grants);
                None
            }
            Err(found) => Some(found.iter().map(ToString::to_string).collect::<String>()),
        };
        match (&found, words) {
            (None, None) => {}
            (Some(found), Some(words)) => assert!(found.contains(words), "{rules}: {found}"),
            _ => panic!("{rules}: {found:?}"),
        }
    }
    let (_, warnings) = policy(&format!(
        "{COMMANDS}\n{}",
        grant("plan.commit", "'site.later'")
    ));
    let warnings: String = warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.contains("nothing of this name can follow"),
        "{warnings}"
    );
}

#[test]
fn difference_of_what_can_follow_is_shown() {
    let less = "acts = ['site.look']";
    let (old, new) = (
        site(&ASKS.replace("acts = ['site.change', 'site.look', 'site.later']", less)),
        site(ASKS),
    );
    let all = "(acts: site.change, site.later, site.look)";
    let gains = |acts: &str| {
        let by = "(needs approval by #8, asked for at most 10 min)";
        format!("#7 gains plan.commit {acts}, plan.undo {acts} {by}")
    };
    let loses = format!("#7 loses plan.commit {all}, plan.undo {all}");
    assert_eq!(remit_policy_compile::diff(&old, &new), [gains(all)]);
    assert_eq!(
        remit_policy_compile::diff(&new, &old),
        [gains("(acts: site.look)"), loses]
    );
    assert!(!new.is_within(&old));
    let access = new.access(CALLER);
    let shown: Vec<_> = access
        .commands
        .iter()
        .filter_map(|one| one.scope())
        .collect();
    assert_eq!(shown, ["then: site.change, site.later, site.look"; 2]);
}

/// A rule that allows nothing by itself is shown with what it adds to the others.
#[test]
fn difference_of_a_rule_that_decides_nothing_is_shown() {
    let open = "[[grant]]\nto = ['#7']\nallow = ['plan.commit']\napproval = { by = ['#8'] }\n";
    let more = rule("'/srv'", "'none'");
    for (key, gained, lost) in [
        (
            "acts = ['site.look']\n",
            "#7 gains plan.commit (paths: /srv; acts: site.look)",
            "#7 loses plan.commit (paths: /srv; acts: site.look)",
        ),
        (
            "confirm = '5min'\n",
            "#7 has to have plan.commit (paths: /srv) confirmed within 5min; otherwise it is undone",
            "#7 no longer has to have plan.commit (paths: /srv) confirmed by its rule",
        ),
    ] {
        let old = site(open);
        let new = site(&format!("{open}{more}{key}"));
        for (changes, expect) in [
            (remit_policy_compile::diff(&old, &new), gained),
            (remit_policy_compile::diff(&new, &old), lost),
        ] {
            let all = changes.join("\n");
            assert!(changes.len() == 1 && all.starts_with(expect), "{all}");
        }
    }
}

/// Nobody sees the plan, so nobody approves what follows it, and its undo must not carry it either.
#[test]
fn grant_for_a_time_covers_no_command_that_follows() {
    let policy = site(&ASKS.replace(
        "approval =",
        "confirm = '5min'\npaths = ['/srv']\napproval =",
    ));
    let consent = Consent {
        by: CallerIds { uid: 8, gids: &[] },
        name: "bob",
        requester: 7,
        proof: None,
    };
    let paths = [PlanPath::new("/srv").unwrap()];
    let plan = plan(&[("/srv/a", 0o644)]);
    for (calls, is_covered) in [(&[][..], true), (&["site.change word=b"][..], false)] {
        let args = then(calls);
        let ask = Ask::Commit {
            name: "plan.commit",
            args: &args,
            plan: &plan,
        };
        let Verdict::Ask(pending) = policy.decide(CALLER, &ask) else {
            panic!("it asks");
        };
        let within = PlanWithin {
            plan: &plan,
            paths: &paths,
            requester: CALLER,
        };
        let lifted = pending.granted(&consent, 1, Some(within));
        assert_eq!(lifted.is_ok(), is_covered, "{calls:?}: {lifted:?}");
        if let Ok(lifted) = lifted {
            assert_eq!(lifted.terms().confirm_s(), Some(300));
        }
    }
}

/// The seconds for a confirmation, and the commands that follow.
fn terms(policy: &Policy, paths: &[&str], calls: &[&str]) -> Result<(Option<u32>, usize), String> {
    let paths: Vec<_> = paths.iter().map(|path| (*path, 0o644)).collect();
    let (plan, args) = (plan(&paths), then(calls));
    let ask = Ask::Commit {
        name: "plan.commit",
        args: &args,
        plan: &plan,
    };
    let of = |terms: &remit_policy::Terms| Ok((terms.confirm_s(), terms.acts().len()));
    match policy.decide(CALLER, &ask) {
        Verdict::Allow(grant) => of(grant.terms()),
        Verdict::Ask(pending) => of(pending.terms()),
        Verdict::Deny(denial) => Err(denial.what),
    }
}

/// A later file asks for no approval of other paths, so without paths no verdict is that of each plan.
#[test]
fn verdict_of_a_commit_is_tested_with_its_paths_if_these_decide() {
    let test = |verdict: &str, more: &str| {
        format!(
            "[[test]]\nwho = '#7'\nwhat = 'change plan.commit'\nverdict = '{verdict}'\n{more}\n"
        )
    };
    let asks = rule("'/etc/nginx'", "{ by = ['#8'] }");
    let found = |rules: &str, test: &str| {
        let sources = [
            source("0.toml", COMMANDS),
            source("a.toml", format!("{asks}{test}")),
            source("b.toml", rules),
        ];
        match load(&sources, &accounts()) {
            Ok(_) => String::new(),
            Err(found) => common::lines(&found),
        }
    };
    let none = rule("'/srv'", "'none'");
    let within = rule("'/srv/app'", "{ by = ['#8'] }") + &none;
    let depends =
        "the verdict depends on the paths of the plan: rule a.toml:1 needs approval by #8";
    for (rules, verdict, more, expect) in [
        ("", "ask", "", ""),
        (&none, "ask", "", depends),
        (&none, "allow", "", depends),
        (&none, "deny", "", "expected deny, got ask"),
        (&none, "ask", "paths = ['/etc/nginx/a']", ""),
        (&none, "allow", "paths = ['/srv/a', '/srv/b']", ""),
        (
            &none,
            "ask",
            "paths = ['/srv/a']",
            "expected ask, got allow",
        ),
        (&none, "deny", "paths = ['/srv/a', '/etc/nginx/a']", ""),
        (&none, "deny", "paths = ['/opt']", ""),
        (&none, "deny", "paths = ['/srv/a/.ssh/authorized_keys']", ""),
        (
            &none,
            "ask",
            "paths = ['srv']",
            "'srv': the path does not begin with '/'",
        ),
        (&within, "ask", "", depends),
        // No plan there is allowed without an approval.
        (&rule("'/etc'", "'none'"), "ask", "", ""),
        (&rule("'/etc'", "'none'"), "deny", "paths = ['/etc/a']", ""),
        (
            &rule("'/etc/a'", "'none'"),
            "allow",
            "paths = ['/etc/a']",
            "",
        ),
        // Whatever a rule says.
        (
            &rule("'/run/a'", "{ by = ['#8'] }"),
            "deny",
            "paths = ['/run/a']",
            "",
        ),
        (&rule("'/sys'", "'none'"), "deny", "paths = ['/sys/a']", ""),
        // Whatever lies there is asked about.
        (&rule("'/etc/nginx/a'", "'none'"), "ask", "", ""),
    ] {
        let found = found(rules, &test(verdict, more));
        assert_eq!(
            found.is_empty(),
            expect.is_empty(),
            "{verdict} {more}: {found}"
        );
        assert!(found.contains(expect), "{verdict} {more}: {found}");
        if expect == depends {
            let (path, line) = match rules == none {
                true => ("/srv", 1),
                false => ("/srv/another-file", 6),
            };
            let other =
                format!("for a plan of '{path}' alone rule b.toml:{line} asks for no approval");
            assert!(
                found.contains(&other) && found.contains("write paths = "),
                "{found}"
            );
        }
    }
    let look = "[[test]]\nwho = '#7'\nwhat = 'run plan.make'\nverdict = 'deny'\npaths = ['/srv']\n";
    assert!(found("", look).contains("paths are only for a command that commits"));

    let (policy, _) = policy(&format!("{COMMANDS}\n{asks}{none}"));
    let (name, effect, args) = ("plan.commit", Effect::Change, &[][..]);
    let said = |ask: &Ask<'_>| remit_policy_compile::explain(&policy, CALLER, ask);
    let both = said(&Ask::Command { name, effect, args });
    let part = "it depends on the paths of the plan: for one of '/srv' alone rule a.toml:";
    assert!(both.why.contains(part), "{}", both.why);
    let paths = [PlanPath::new("/srv/a").unwrap()];
    let one = said(&Ask::Paths {
        name,
        args,
        paths: &paths,
    });
    assert!(matches!(one.verdict, Verdict::Allow(_)) && !one.why.contains(part));
    let lines: Vec<_> = one
        .considered
        .iter()
        .map(|(_, line)| line.as_str())
        .collect();
    let of = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(
        of("allows 'plan.commit' only with paths: /etc/nginx"),
        1,
        "{lines:?}"
    );
    assert_eq!(of("decides: allows 'plan.commit'"), 1, "{lines:?}");
}

/// Attack: a path outside of the narrower rule, beside the one that it is about.
#[test]
fn one_more_path_takes_no_approval_away() {
    let (conf, app) = ("/srv/app/conf/a", "/srv/app/b");
    let rules = rule("'/srv/app/conf'", "{ by = ['#8'] }") + &rule("'/srv/app'", "'none'");
    check(&rules, &[conf], Ok(Some("#8")));
    check(&rules, &[app], Ok(None));
    check(&rules, &[conf, app], Ok(Some("#8")));
    check(&rules, &[app, "/srv/app/conf"], Ok(Some("#8")));
    // Both have to agree, also if only one of them allows the whole plan.
    let rules = rule("'/srv/db'", "{ by = ['#9'] }") + &rule("'/srv'", "{ by = ['#8'] }");
    check(&rules, &["/srv/db/a"], Ok(Some("#9 and #8")));
    check(&rules, &["/srv/db/a", "/srv/b"], Ok(Some("#9 and #8")));
    check(&rules, &["/srv/b"], Ok(Some("#8")));
    // An approval is no permission: one rule still has all paths.
    let outside = Err("granted only with paths");
    check(&rules, &["/srv/db/a", "/etc/a"], outside);
    let halves = rule("'/srv/db'", "{ by = ['#9'] }") + &rule("'/srv/app'", "{ by = ['#8'] }");
    check(&halves, &["/srv/db/a", "/srv/app/b"], outside);
}

/// Attack: as above. The rule that only has a part of the plan gives it nothing.
#[test]
fn one_more_path_takes_no_confirmation_away() {
    let (conf, app) = ("/srv/app/conf/a", "/srv/app/b");
    let part = rule("'/srv/app/conf'", "'none'") + "confirm = '5min'\n";
    let whole = rule("'/srv/app'", "'none'");
    for confirmed in [part.clone() + &whole, whole.clone() + &part] {
        let policy = site(&confirmed);
        let confirm = |paths: &[&str]| terms(&policy, paths, &[]).map(|(confirm, _)| confirm);
        assert_eq!(confirm(&[conf]), Ok(Some(300)));
        assert_eq!(confirm(&[conf, app]), Ok(Some(300)));
        assert_eq!(confirm(&[app]), Ok(None));
        // The rule that allows it is the one on record.
        let plan = plan(&[(conf, 0o644), (app, 0o644)]);
        let ask = Ask::Commit {
            name: "plan.commit",
            args: &[],
            plan: &plan,
        };
        let Verdict::Allow(grant) = policy.decide(CALLER, &ask) else {
            panic!("it needs no approval");
        };
        let mut rules = policy.grants.iter();
        let allows = rules.find(|rule| rule.confirm_s.is_none()).unwrap();
        assert_eq!(grant.basis(), &Basis::Rule(allows.id.clone()));
    }
    // A user who leaves the rule would not have to confirm any more.
    let both = |part: &str| site(&(part.to_owned() + &whole));
    let two = part.replace("['#7']", "['#7', '#9']");
    let other = part.replace("['#7']", "['#9']");
    assert!(both(&two).is_within(&both(&two)));
    assert!(!both(&other).is_within(&both(&two)));
    assert!(site(&other).is_within(&site(&two)));
    // What follows is named by a rule that has all paths.
    let acts = "acts = ['site.change']\n";
    let asks = rule("'/srv/app/conf'", "{ by = ['#8'] }");
    let call = ["site.change word=a"];
    let policy = site(&(asks.clone() + acts + &whole));
    assert_eq!(terms(&policy, &[conf], &call), Ok((None, 1)));
    let refused = terms(&policy, &[conf, app], &call).unwrap_err();
    assert!(refused.contains("the rule does not name it"), "{refused}");
    let policy = site(&(asks + &whole + acts));
    assert_eq!(terms(&policy, &[conf, app], &call), Ok((None, 1)));
}

const DIRECTORIES: [&str; 5] = ["/srv", "/srv/a", "/srv/a/x", "/srv/b", "/opt/site"];

fn directories() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(DIRECTORIES.to_vec(), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// One rule has all paths. Whatever one rule wants for one path of a plan, the whole plan needs.
    #[test]
    fn plan_needs_what_each_of_its_paths_needs(
        rules in prop::collection::vec((directories(), 0_u32..4, prop::option::of(10_u32..99)), 1..5),
        changed in directories(),
    ) {
        let text: String = rules.iter().map(|(paths, by, confirm)| {
            let approval = match by {
                0 | 1 => "'none'".to_owned(),
                by => format!("{{ by = ['#{by}', '#11'] }}"),
            };
            let confirm = confirm.map(|seconds| format!("confirm = '{seconds}s'\n"));
            rule(&format!("'{}'", paths.join("', '")), &approval) + &confirm.unwrap_or_default()
        }).collect();
        let policy = site(&text);
        let files: Vec<String> = changed.iter().map(|directory| format!("{directory}/file")).collect();
        let is_in = |file: &str, paths: &[&str]| paths.iter().any(|own| file.starts_with(&format!("{own}/")));
        let plan = plan(&files.iter().map(|file| (file.as_str(), 0o644)).collect::<Vec<_>>());
        let ask = Ask::Commit { name: "plan.commit", args: &[], plan: &plan };
        let is_whole = rules.iter().any(|(paths, ..)| files.iter().all(|file| is_in(file, paths)));
        let about: Vec<_> = rules.iter().filter(|(paths, ..)| files.iter().any(|file| is_in(file, paths))).collect();
        let by: Vec<u32> = about.iter().map(|(_, by, _)| *by).filter(|by| *by > 1).collect();
        let confirm = about.iter().filter_map(|(.., confirm)| *confirm).min();
        let verdict = policy.decide(CALLER, &ask);
        prop_assert_eq!(is_whole, !matches!(verdict, Verdict::Deny(_)), "{:?}", verdict);
        match verdict {
            Verdict::Allow(grant) => {
                prop_assert!(by.is_empty(), "{}", text);
                prop_assert_eq!(grant.terms().confirm_s(), confirm);
            }
            Verdict::Ask(pending) => {
                let meets = |uid| pending.approval().is_met_by(CallerIds { uid, gids: &[] });
                for uid in [2, 3] {
                    prop_assert_eq!(meets(uid), by.iter().all(|by| *by == uid), "{} {}", uid, text);
                }
                prop_assert!(meets(11) && !by.is_empty());
                prop_assert_eq!(pending.terms().confirm_s(), confirm);
            }
            Verdict::Deny(_) => {}
        }
    }
}

/// A plan with a base whose hash its sender wrote, and the change that needs no more than these rights.
fn hashed(change: fn(Base) -> Change, mode: u32, uid: u32, gid: u32) -> Bundle {
    let old = b"4711";
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: 4,
        meta: Metadata { mode, uid, gid },
    };
    let change = change(Base {
        stat,
        sha256: Some(sha256(old)),
        capabilities: OldCapabilities::Unread,
    });
    let new = change.content().map_or(&b""[..], |_| b"new");
    let path = PlanPath::new("/srv/pin").unwrap();
    let plan = Plan::new(vec![Entry { path, change }]).unwrap();
    let old = plan.shown_old()[0].map_or(&b""[..], |_| old);
    Bundle::new(&plan, new, old).unwrap()
}

/// Attack: a commit answers whether an unreadable file has guessed bytes.
#[test]
fn hash_of_unreadable_bytes_needs_an_approval() {
    let (free, _) = policy(&format!("{COMMANDS}\n{}", rule("'/srv'", "'none'")));
    let (asks, _) = policy(&format!(
        "{COMMANDS}\n{}",
        rule("'/srv'", "{ by = ['#8'] }")
    ));
    let changes: [fn(Base) -> Change; 3] = [
        |base| Change::SetMetadata {
            base,
            meta: Metadata {
                mode: base.stat.meta.mode & 0o600,
                ..base.stat.meta
            },
        },
        |base| Change::Replace {
            base,
            content: Content {
                size: 3,
                sha256: sha256(b"new"),
                source: Source::Bundle,
                capabilities: None,
                mtime: None,
            },
            meta: base.stat.meta,
        },
        |base| Change::Remove { base },
    ];
    let consent = Consent {
        by: CallerIds { uid: 8, gids: &[] },
        name: "bob",
        requester: 7,
        proof: None,
    };
    let paths = [PlanPath::new("/srv").unwrap()];
    // The caller is uid 7 with group 901.
    for (mode, uid, gid, is_readable) in [
        (0o644, 0, 0, true),
        (0o640, 0, 901, true),
        (0o640, 7, 0, true),
        (0o640, 0, 0, false),
        (0o640, 0, 7, false),
        (0o640, 901, 0, false),
        (0o620, 0, 901, false),
        (0o604, 0, 901, false),
        (0o244, 7, 0, false),
        (0o620, 0, 0, false),
    ] {
        for change in changes {
            let plan = hashed(change, mode, uid, gid);
            let expect = match is_readable {
                true => Ok(None),
                false => Err("its owner and mode do not let uid 7 read it"),
            };
            check_plan(&free, &plan, expect);
            check_plan(&asks, &plan, Ok(Some("#8")));
            // Nobody looks at a plan of a grant for a time either.
            let ask = Ask::Commit {
                name: "plan.commit",
                args: &[],
                plan: &plan,
            };
            let Verdict::Ask(pending) = asks.decide(CALLER, &ask) else {
                panic!("it asks");
            };
            let within = PlanWithin {
                plan: &plan,
                paths: &paths,
                requester: CALLER,
            };
            let lifted = pending.granted(&consent, 1, Some(within));
            assert_eq!(lifted.is_ok(), is_readable, "{mode:o} {uid} {gid}");
        }
    }
}

/// The daemon decodes the plan of a call only if a rule grants its command to the caller.
#[test]
fn plan_of_a_caller_without_a_grant_changes_no_verdict() {
    let granted = rule("'/srv'", "'none'");
    let denied = "[[deny]]\nto = ['#9']\ndeny = ['plan.commit']\n";
    let (policy, _) = policy(&format!("{COMMANDS}\n{granted}{denied}"));
    let (name, args) = ("plan.commit", &[][..]);
    for (uid, is_granted) in [(7, true), (8, false), (9, false), (65_534, false)] {
        let caller = CallerIds { uid, gids: &[] };
        assert_eq!(policy.is_granted(caller, name), is_granted, "{uid}");
        let effect = Effect::Change;
        let unread = policy.decide(caller, &Ask::Command { name, effect, args });
        for path in ["/srv/x", "/etc/x"] {
            let plan = &plan(&[(path, 0o644)]);
            let read = policy.decide(caller, &Ask::Commit { name, args, plan });
            assert!(
                is_granted || read == unread,
                "{uid}: {read:?}, not {unread:?}"
            );
        }
    }
}

#[test]
fn example_lets_the_reload_of_the_readme_follow_a_commit() {
    let text = include_str!("../../../packaging/examples/plans.toml")
        .replace("%remit-admin", "%ops")
        .replace("\"%remit\"", "\"#7\"");
    let changes = include_str!("../../../packaging/policy.d/50-changes.toml");
    let sources = [
        source("50-changes.toml", changes),
        source("60-plans.toml", COMMANDS),
        source("65-plans.toml", text),
    ];
    let (policy, _) = load(&sources, &accounts()).unwrap();
    let call = "service.reload unit=nginx.service";
    assert_eq!(follow(&policy, "/etc/nginx/a", &[call]).unwrap(), [call]);
}

#[test]
fn example_without_an_approval_needs_none() {
    let text = include_str!("../../../packaging/examples/plans.toml");
    let text = text
        .replace("%remit-admin", "%ops")
        .replace("\"%remit\"", "\"#7\"");
    let (before, after) = text.split_once("# [[grant]]").unwrap();
    let (grant, after) = after.split_once("\n\n").unwrap();
    let text = format!(
        "{before}[[grant]]{}\n\n{after}",
        grant.replace("\n# ", "\n")
    );
    let load = |paths: &str| {
        let own = "[\"/var/www/texts\"]";
        assert!(text.contains(own), "{text}");
        let sources = [
            source(
                "50-changes.toml",
                include_str!("../../../packaging/policy.d/50-changes.toml"),
            ),
            source("60-plans.toml", COMMANDS),
            source("65-plans.toml", text.replace(own, paths)),
        ];
        load(&sources, &accounts()).unwrap()
    };
    for (paths, warns) in [
        ("['/var/www/texts']", false),
        ("['/srv/site/texts']", true),
        ("['/srv/site', '/etc/nginx/site']", true),
        ("['/srv/site', '/var/www/texts']", false),
    ] {
        let (policy, found) = load(paths);
        let lines = common::lines(&found);
        let part = "'plan.commit' asks here, too: these paths are also those of rule commits (65-plans.toml:";
        assert_eq!(lines.contains(part), warns, "{paths}: {lines}");
        assert_eq!(found.is_empty(), !warns, "{paths}: {lines}");
        if !warns {
            check_plan(&policy, &plan(&[("/var/www/texts/a", 0o644)]), Ok(None));
        }
    }
}

#[test]
fn paths_of_which_no_plan_is_allowed_are_warned_of() {
    let (asks, none) = ("{ by = ['#8'] }", "'none'");
    let kernels = "no plan can change '/proc/sys': it belongs to the kernel or to this boot";
    let system = "no plan can change '/etc' or what is in it without an approval";
    for (path, approval, expect) in [
        ("/proc/sys", asks, kernels),
        ("/proc/sys", none, kernels),
        ("/etc", none, system),
        ("/etc", asks, ""),
        ("/etc/nginx", none, ""),
        ("/srv", none, ""),
    ] {
        let (_, found) = policy(&format!(
            "{COMMANDS}\n{}",
            rule(&format!("'{path}'"), approval)
        ));
        let lines = common::lines(&found);
        assert_eq!(lines.is_empty(), expect.is_empty(), "{path}: {lines}");
        assert!(lines.contains(expect), "{path}: {lines}");
    }
}

/// Whom a rule does not ask, or not about these calls, is not asked by it.
#[test]
fn rule_without_an_approval_has_an_effect_if_no_other_asks() {
    let none = rule("'/srv/app'", "'none'");
    let asks = rule("'/srv'", "{ by = ['#8'] }");
    for (asking, warns) in [
        (asks.clone(), true),
        (asks.replace("#7", "#9"), false),
        (asks.replace("['#7']", "['#7', '#9']"), true),
        (asks.replace("'/srv'", "'/srv/app/conf'"), false),
        (format!("{asks}args = {{ then = ['site.look'] }}\n"), false),
        (asks.replace("plan.commit", "plan.undo"), false),
        (asks.replace("paths = ['/srv']\n", ""), true),
    ] {
        let (_, found) = policy(&format!("{COMMANDS}\n{SITE}\n{none}{asking}"));
        let lines = common::lines(&found);
        assert_eq!(lines.contains("asks here, too"), warns, "{asking}: {lines}");
    }
    // deploy is in group ops.
    for (user, group, warns) in [
        ("deploy", "%ops", true),
        ("mallory", "%ops", false),
        ("%ops", "deploy", false),
    ] {
        let (none, asks) = (none.replace("#7", user), asks.replace("#7", group));
        let (_, found) = policy(&format!("{COMMANDS}\n{SITE}\n{none}{asks}"));
        let lines = common::lines(&found);
        assert_eq!(lines.contains("asks here, too"), warns, "{user}: {lines}");
    }
}

#[test]
fn c13_grant_is_judged_by_its_paths() {
    let rules = rule("'/etc/nginx', '/srv/app'", "{ by = ['#8'] }")
        + &rule("'/opt', '/srv/app/keys'", "{ by = ['#9'] }");
    let (policy, _) = policy(&format!("{COMMANDS}\n{rules}"));
    let judged = |paths: &[&str]| {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| PlanPath::new(*path).unwrap())
            .collect();
        policy.may_give(&PreApproval {
            by: CallerIds { uid: 8, gids: &[] },
            to: Principal::User(7),
            what: &Glob::parse("plan.commit").unwrap(),
            args: &[],
            paths: &paths,
        })
    };
    for (paths, expect) in [
        (&["/etc/nginx/a"][..], Ok(())),
        (&["/etc"], Ok(())),
        (&["/usr", "/srv/app"], Ok(())),
        (&["/etc/nginx2"], Err(NotGivable::Unasked)),
        (&["/usr", "/var"], Err(NotGivable::Unasked)),
        (&["/opt/x"], Err(NotGivable::NotApprover(vec!["#9".into()]))),
        // Most plans there are asked of the giver alone; each request is judged by its own paths.
        (&["/srv"], Ok(())),
        (&["/srv/app", "/srv/app/keys"], Ok(())),
        (
            &["/srv/app/keys/x"],
            Err(NotGivable::NotApprover(vec!["#9".into()])),
        ),
        // No rule has the other path.
        (
            &["/usr", "/srv/app/keys"],
            Err(NotGivable::NotApprover(vec!["#9".into()])),
        ),
    ] {
        assert_eq!(judged(paths), expect, "{paths:?}");
    }
}

/// The profile that remit-policy(5) has for copies that fetch packages.
fn fetching() -> &'static str {
    let page = include_str!("../../../packaging/man/remit-policy.5");
    let (_, section) = page
        .split_once("\n.SS Names that a copy reaches\n")
        .unwrap();
    let (_, example) = section.split_once("\n.EX\n").unwrap();
    example.split_once(".EE\n").unwrap().0
}

/// `#   remit plan …` of an example.
fn plan_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#   remit plan "))
}

/// Returns the text of an example and of all that its comments name as needed, for the accounts of these tests.
#[allow(clippy::disallowed_methods, reason = "a test may read files")]
fn with_needed(file: &str, text: &str) -> Vec<remit_policy::Source> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/examples");
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    let comments = comments.join("\n").replace("\n# ", " ");
    let mut sources = vec![
        source(
            "50-changes.toml",
            include_str!("../../../packaging/policy.d/50-changes.toml"),
        ),
        source("60-plans.toml", COMMANDS),
    ];
    for other in ["plans.toml", "copies.toml", "nginx.toml", "checks.toml"] {
        let is_named = [' ', '(']
            .iter()
            .any(|before| comments.contains(&format!("{before}{other}")));
        if other != file && is_named {
            let text = std::fs::read_to_string(format!("{examples}/{other}")).unwrap();
            sources.push(source(other, text.replace("%remit-admin", "%ops")));
        }
    }
    if comments.contains("'Names that a copy reaches'") {
        sources.push(source("fetch.toml", fetching()));
    }
    sources.push(source(file, text.replace("%remit-admin", "%ops")));
    sources
}

#[allow(clippy::disallowed_methods, reason = "a test may read files")]
#[test]
fn lines_of_examples_are_granted_by_what_they_name() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in plan_lines(&text) {
            seen += 1;
            let (policy, _) = load(&with_needed(file, &text), &accounts()).unwrap();
            let allowed = |ask: &Ask<'_>| {
                let caller = CallerIds {
                    uid: 7,
                    gids: &[900],
                };
                match policy.decide(caller, ask) {
                    Verdict::Allow(grant) => grant.terms().profile().clone(),
                    other => panic!("{file}: {line}: {other:?}"),
                }
            };
            let named = |name: &str, args: &[(String, String)]| {
                let effect = Effect::Read;
                allowed(&Ask::Command { name, effect, args });
            };
            let (options, program) = line.split_once(" -- ").unwrap_or((line, ""));
            let mut options = options.split_whitespace();
            let mut profile = "plan";
            while let Some(option) = options.next() {
                match option {
                    "--profile" => profile = options.next().unwrap(),
                    "--check" => named(options.next().unwrap(), &[]),
                    _ => {}
                }
            }
            let Some(argv0) = program.split_whitespace().next() else {
                named("plan.make", &[]);
                continue;
            };
            let profile = allowed(&Ask::Run {
                profile: Some(profile),
                argv0: argv0.as_bytes(),
                env_names: &[],
            });
            let fetches = ["apt-get", "dnf"].contains(&argv0);
            let reaches = matches!(profile.network, Network::Names(_));
            assert_eq!(profile.base, remit_policy::Base::Plan, "{file}: {line}");
            assert!(reaches || !fetches, "{file}: {line}: it reaches nothing");
            let job = "0123456789abcdef0123456789abcdef";
            named("plan.extract", &[("job".to_owned(), job.to_owned())]);
        }
    }
    assert!(seen >= 6, "only {seen} lines were seen");
}
