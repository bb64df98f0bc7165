//! Descriptions of changes of policy: none without an effect. And which may replace another: those that allow no more.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{COMMANDS, accounts, lines, source};
use remit_policy::{HostAddress, Ids, MachineTable, Policy, Source};
use remit_policy_compile::{diff, load};

fn loaded(sources: &[Source], machine: &MachineTable) -> Policy {
    match load(sources, machine) {
        Ok((policy, _)) => policy,
        Err(found) => panic!("{}", lines(&found)),
    }
}

fn with(rules: &str) -> Policy {
    loaded(
        &[source("0.toml", COMMANDS), source("a.toml", rules)],
        &accounts(),
    )
}

#[track_caller]
fn check(old: &str, new: &str, expect: &[&str], back: &[&str]) {
    assert_eq!(diff(&with(old), &with(new)), expect, "{old} → {new}");
    assert_eq!(diff(&with(new), &with(old)), back, "{new} → {old}");
}

fn grant(to: &str, allow: &str, rest: &str) -> String {
    format!("[[grant]]\nto = [{to}]\nallow = [{allow}]\neffect = 'change'\n{rest}\n")
}

fn deny(to: &str, deny: &str) -> String {
    format!("[[deny]]\nto = [{to}]\ndeny = [{deny}]\n")
}

const APPROVAL: &str = "approval = { by = ['%remit'], expires = '10min' }";

fn units(rules: &str) -> Policy {
    let command = "[[command]]\nname = 'unit.restart'\nsummary = 'x'\nargv = ['/bin/x', '{unit}']\n\
                   effect = 'change'\nprofile = 'strict'\nargs.unit = { type = 'unit' }\n";
    let sources = [source("0.toml", command), source("a.toml", rules)];
    loaded(&sources, &accounts())
}

#[test]
fn scoped_rules_are_shown_with_arguments() {
    let rule = |args: &str, rest: &str| {
        let rest = format!("{args}\n{rest}");
        grant("'%ops'", "'unit.restart'", &rest)
    };
    let web = "args = { unit = ['nginx.service', 'php*'] }";
    let php = "args = { unit = ['php*'] }";
    let no = |args: &str| format!("{}{args}\n", deny("'%ops'", "'unit.restart'"));
    for (old, new, expect) in [
        (
            String::new(),
            rule(web, ""),
            vec!["%ops gains unit.restart (unit: nginx.service, php*)"],
        ),
        (
            rule(web, ""),
            rule(php, ""),
            vec![
                "%ops gains unit.restart (unit: php*)",
                "%ops loses unit.restart (unit: nginx.service, php*)",
            ],
        ),
        (
            rule(web, ""),
            rule(web, APPROVAL),
            vec![
                "%ops now needs approval by %remit, asked for at most 10 min: unit.restart (unit: \
                 nginx.service, php*)",
            ],
        ),
        (
            rule("", ""),
            rule("", "") + &no(php),
            vec!["%ops is now denied unit.restart (unit: php*)"],
        ),
        // A right that all calls have is not a change for some of them. Neither is the order of values.
        (rule("", ""), rule("", "") + &rule(web, ""), vec![]),
        (
            rule(web, ""),
            rule("args = { unit = ['php*', 'nginx.service'] }", ""),
            vec![],
        ),
    ] {
        assert_eq!(diff(&units(&old), &units(&new)), expect, "{old} → {new}");
        let back = diff(&units(&new), &units(&old));
        assert_eq!(back.is_empty(), expect.is_empty(), "{back:?}");
    }
}

/// An approval or a denial of a part of the calls takes none of them away, or adds one.
#[test]
fn approval_of_a_part_comes_and_goes() {
    const TWO: &str = "approval = { by = ['%remit'], count = 2, expires = '10min' }";
    let part = "args = { unit = ['php*'] }";
    let web = "args = { unit = ['nginx.service', 'php*'] }";
    let of = |name: &str, args: &str, rest: &str| {
        grant("'%ops'", &format!("'{name}'"), &format!("{args}\n{rest}"))
    };
    let restart = |args: &str, rest: &str| of("unit.restart", args, rest);
    let commit = |path: &str, rest: &str| of("plan.commit", &format!("paths = ['{path}']"), rest);
    let deny = deny("'%ops'", "'unit.restart'");
    let policy = |rules: &str| {
        let plans = include_str!("../../../packaging/policy.d/60-plans.toml");
        units(&format!("{plans}\n{rules}"))
    };
    for (old, new, expect, back) in [
        (
            restart("", ""),
            restart("", "") + &restart(part, APPROVAL),
            &[
                "%ops now needs approval by %remit, asked for at most 10 min: unit.restart (unit: php*)",
            ][..],
            &["%ops no longer needs approval: unit.restart (unit: php*)"][..],
        ),
        (
            restart("", APPROVAL),
            restart("", APPROVAL) + &restart(part, TWO),
            &[
                "%ops now needs approval by 2 different people of %remit, asked for at most 10 min (before: needs approval by %remit, asked for at most 10 min): unit.restart (unit: php*)",
            ],
            &[
                "%ops now needs approval by %remit, asked for at most 10 min (before: needs approval by 2 different people of %remit, asked for at most 10 min): unit.restart (unit: php*)",
            ],
        ),
        (
            commit("/srv", ""),
            commit("/srv", "") + &commit("/srv/etc", APPROVAL),
            &[
                "%ops now needs approval by %remit, asked for at most 10 min: plan.commit (paths: /srv/etc)",
            ],
            &["%ops no longer needs approval: plan.commit (paths: /srv/etc)"],
        ),
        // A part of some arguments, by the same pattern or by one that includes it.
        (
            restart(web, "") + &restart("args = { unit = ['nginx.service'] }", APPROVAL),
            restart(web, ""),
            &["%ops no longer needs approval: unit.restart (unit: nginx.service)"],
            &[
                "%ops now needs approval by %remit, asked for at most 10 min: unit.restart (unit: nginx.service)",
            ],
        ),
        (
            restart(web, "") + &restart("args = { unit = ['php8.service'] }", APPROVAL),
            restart(web, ""),
            &["%ops no longer needs approval: unit.restart (unit: php8.service)"],
            &[
                "%ops now needs approval by %remit, asked for at most 10 min: unit.restart (unit: php8.service)",
            ],
        ),
        // The same approval for less says nothing.
        (
            commit("/srv", APPROVAL),
            commit("/srv", APPROVAL) + &commit("/srv/etc", APPROVAL),
            &[],
            &[],
        ),
        // What was all is a part, and the other way round.
        (
            restart(part, ""),
            restart("", ""),
            &["%ops gains unit.restart"],
            &[
                "%ops gains unit.restart (unit: php*)",
                "%ops loses unit.restart",
            ],
        ),
        (
            restart("", "") + &deny + part,
            restart("", "") + &deny,
            &["%ops is now denied unit.restart", "%ops loses unit.restart"],
            &[
                "%ops gains unit.restart",
                "%ops is no longer denied unit.restart",
                "%ops is now denied unit.restart (unit: php*)",
            ],
        ),
        (
            restart(part, ""),
            restart(part, "") + &deny,
            &[
                "%ops is now denied unit.restart",
                "%ops loses unit.restart (unit: php*)",
            ],
            &[
                "%ops gains unit.restart (unit: php*)",
                "%ops is no longer denied unit.restart",
            ],
        ),
        // A confirmation ends with its rule, not the right to commit.
        (
            commit("/srv", "") + &commit("/srv/etc", &format!("{APPROVAL}\nconfirm = '5min'")),
            commit("/srv", ""),
            &[
                "%ops no longer has to have plan.commit (paths: /srv/etc) confirmed by its rule",
                "%ops no longer needs approval: plan.commit (paths: /srv/etc)",
            ],
            &[
                "%ops has to have plan.commit (paths: /srv/etc) confirmed within 5min; otherwise it is undone",
                "%ops now needs approval by %remit, asked for at most 10 min: plan.commit (paths: /srv/etc)",
            ],
        ),
    ] {
        let (old, new) = (policy(&old), policy(&new));
        assert_eq!(diff(&old, &new), expect);
        assert_eq!(diff(&new, &old), back);
    }
}

#[test]
fn gains_in_reverse_are_losses() {
    check(
        "",
        &grant("'deploy', '%ops'", "'nginx.*'", ""),
        &[
            "%ops gains nginx.reload, nginx.test",
            "deploy gains nginx.reload, nginx.test",
        ],
        &[
            "%ops loses nginx.reload, nginx.test",
            "deploy loses nginx.reload, nginx.test",
        ],
    );
    check(
        "",
        &grant("'deploy'", "'run'", ""),
        &["deploy gains logs, service.failed, service.list, service.status, run (profile read)"],
        &["deploy loses logs, service.failed, service.list, service.status, run (profile read)"],
    );
    check(
        &grant("'deploy'", "'run'", "profile = 'strict'"),
        &grant("'deploy'", "'run'", ""),
        &[
            "deploy gains logs, service.failed, service.list, service.status, run (profile read)",
            "deploy loses run (profile strict)",
        ],
        &[
            "deploy gains run (profile strict)",
            "deploy loses logs, service.failed, service.list, service.status, run (profile read)",
        ],
    );
    check(
        &grant("'deploy', 'mallory'", "'nginx.test'", ""),
        &grant("'deploy'", "'nginx.test'", ""),
        &["mallory loses nginx.test"],
        &["mallory gains nginx.test"],
    );
}

#[test]
fn approvals_come_and_go() {
    let plain = grant("'deploy'", "'nginx.test'", "");
    let asks = grant("'deploy'", "'nginx.test'", APPROVAL);
    let sooner = asks.replace("10min", "90s");
    check(
        &plain,
        &asks,
        &["deploy now needs approval by %remit, asked for at most 10 min: nginx.test"],
        &["deploy no longer needs approval: nginx.test"],
    );
    check(
        &asks,
        &sooner,
        &[
            "deploy now needs approval by %remit, asked for at most 90 s (before: needs approval by %remit, asked for at most 10 min): nginx.test",
        ],
        &[
            "deploy now needs approval by %remit, asked for at most 10 min (before: needs approval by %remit, asked for at most 90 s): nginx.test",
        ],
    );
    let two = asks.replace("by = ", "count = 2, by = ");
    check(
        &asks,
        &two,
        &[
            "deploy now needs approval by 2 different people of %remit, asked for at most 10 min (before: needs approval by %remit, asked for at most 10 min): nginx.test",
        ],
        &[
            "deploy now needs approval by %remit, asked for at most 10 min (before: needs approval by 2 different people of %remit, asked for at most 10 min): nginx.test",
        ],
    );
    check(
        "",
        &asks,
        &["deploy gains nginx.test (needs approval by %remit, asked for at most 10 min)"],
        &["deploy loses nginx.test"],
    );
    check(&sooner, &format!("{sooner}{asks}{plain}"), &[], &[]);
}

#[test]
fn denials_come_and_go() {
    let granted = grant("'deploy'", "'nginx.*'", "");
    check(
        &granted,
        &format!("{granted}{}", deny("'deploy', '%ops'", "'nginx.t*'")),
        &[
            "%ops is now denied nginx.test",
            "deploy is now denied nginx.test",
            "deploy loses nginx.test",
        ],
        &[
            "%ops is no longer denied nginx.test",
            "deploy gains nginx.test",
            "deploy is no longer denied nginx.test",
        ],
    );
    check(
        "",
        &deny("'deploy'", "'run'"),
        &["deploy is now denied logs, run, service.failed, service.list, service.status"],
        &["deploy is no longer denied logs, run, service.failed, service.list, service.status"],
    );
    let denied = deny("'deploy'", "'nginx.*'");
    check(&denied, &format!("{denied}{granted}"), &[], &[]);
}

#[test]
fn variables_come_and_go() {
    let run = |env: &str| grant("'deploy'", "'run'", &format!("env = [{env}]"));
    check(
        &run("'TZ'"),
        &run("'TZ', 'LANG'"),
        &["deploy may now set LANG in run (profile read)"],
        &["deploy may no longer set LANG in run (profile read)"],
    );
    check(
        &format!("{}{}", run("'TZ'"), run("'LANG'")),
        &format!("{}{}", run("'TZ', 'LANG'"), run("'LANG'")),
        &["deploy may now set LANG, TZ together in run (profile read)"],
        &["deploy may no longer set LANG, TZ together in run (profile read)"],
    );
    check(
        &run(""),
        &run("'TZ', 'LANG'"),
        &["deploy may now set LANG, TZ in run (profile read)"],
        &["deploy may no longer set LANG, TZ in run (profile read)"],
    );
    check(
        &format!("{}{}", run("'TZ'"), run("'LANG', 'TZ'")),
        &run("'LANG', 'TZ'"),
        &[],
        &[],
    );
}

#[test]
fn what_changes_no_meaning_is_nothing() {
    let rules = format!(
        "{}{}{}",
        grant("'deploy', '%ops'", "'nginx.test', 'run'", "env = ['TZ']"),
        grant("'mallory'", "'*'", APPROVAL),
        deny("'%remit'", "'nginx.reload'"),
    );
    let old = with(&rules);
    let parts: Vec<&str> = rules.split_inclusive("\n\n").collect();
    let reversed: String = parts.iter().rev().copied().collect();
    let as_before = [
        format!("# a comment\n{rules}"),
        reversed,
        format!("{rules}{}", grant("'deploy'", "'nginx.test'", "")),
        format!("{rules}{}", grant("'ghost'", "'run'", "")),
        format!("{rules}{}", grant("", "'run'", "")),
        rules.replace("'deploy'", "'#64001'"),
        rules.replace("'nginx.test', 'run'", "'r*n', 'nginx.t*'"),
        rules.replace(
            "[[grant]]\nto = ['mallory']",
            "[[grant]]\nname = 'm'\nto = ['mallory', 'mallory']",
        ),
    ];
    for rules in as_before {
        assert_eq!(diff(&old, &with(&rules)), [""; 0], "{rules}");
    }
    let moved = [source("9.toml", &rules), source("x.toml", COMMANDS)];
    assert_eq!(diff(&old, &loaded(&moved, &accounts())), [""; 0]);
}

#[test]
fn account_with_new_id_is_shown_by_id() {
    let rules = grant("'deploy'", "'nginx.test'", "");
    let mut moved = accounts();
    moved.users.insert("deploy".into(), Ids { uid: 7, gid: 7 });
    let new = loaded(
        &[source("0.toml", COMMANDS), source("a.toml", &rules)],
        &moved,
    );
    assert_eq!(
        diff(&with(&rules), &new),
        [
            "deploy (uid 64001) loses nginx.test",
            "deploy (uid 7) gains nginx.test",
        ]
    );
}

#[test]
fn long_lists_are_counted() {
    let mut text = String::new();
    for at in 0..40 {
        text += &format!(
            "[[command]]\nname = 'x.c{at:02}'\nsummary = 's'\nargv = ['/usr/bin/true']\neffect = 'read'\nprofile = 'strict'\n"
        );
    }
    let rules = grant("'deploy'", "'x.*'", "");
    let old = loaded(&[source("a.toml", &text)], &accounts());
    let new = loaded(
        &[source("a.toml", &text), source("b.toml", &rules)],
        &accounts(),
    );
    let found = diff(&old, &new);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("deploy gains x.c00, x.c01, "),
        "{found:?}"
    );
    assert!(found[0].ends_with(", x.c15, 24 more"), "{found:?}");
}

#[test]
fn commands_and_profiles_show_what_changed() {
    let rules = grant("'deploy'", "'nginx.*'", "");
    let changed = |from: &str, to: &str| {
        assert!(COMMANDS.contains(from));
        let text = COMMANDS.replace(from, to);
        let sources = [source("0.toml", text), source("a.toml", &rules)];
        diff(&with(&rules), &loaded(&sources, &accounts()))
    };
    assert_eq!(
        changed("Check the", "Check its"),
        [
            "command nginx.test changes: summary = \"Check its configuration\", before \"Check the configuration\""
        ]
    );
    assert_eq!(
        changed("\"-t\"", "\"-T\""),
        [
            "command nginx.test changes: argv = [\"/usr/sbin/nginx\", \"-T\"], before [\"/usr/sbin/nginx\", \"-t\"]"
        ]
    );
    assert_eq!(
        changed("argv = [\"/usr/sbin/nginx\", \"-t\"]", "argv = [\"/usr/sbin/nginx\", \"-t\", \"{n}\"]\nargs.n = { type = \"int\" }\nlimits = { runtime = \"30s\" }").len(),
        1
    );
    let all = changed(
        "argv = [\"/usr/sbin/nginx\", \"-t\"]",
        "argv = [\"/usr/sbin/nginx\", \"-t\", \"{n}\"]\nargs.n = { type = \"int\" }\nlimits = { runtime = \"30s\" }",
    );
    for part in ["args.n = ", "argv = ", "limits = ", ", before unset"] {
        assert!(all[0].contains(part), "{all:?}");
    }
    assert_eq!(
        changed("profile = \"strict\"", "profile = \"nginx\""),
        ["command nginx.test changes: profile = \"nginx\", before \"strict\""]
    );
    assert_eq!(
        changed(
            "write = [\"/run/nginx\"]",
            "write = [\"/run/nginx\", \"/srv\"]"
        ),
        ["profile nginx changes: write gains \"/srv\""]
    );
    assert_eq!(
        changed(
            "write = [\"/run/nginx\"]",
            "write = [\"/srv\", \"/data/x\"]"
        ),
        ["profile nginx changes: write gains \"/data/x\", \"/srv\" and loses \"/run/nginx\""]
    );
    assert_eq!(
        changed("write = [\"/run/nginx\"]", ""),
        ["profile nginx changes: write unset, before [\"/run/nginx\"]"]
    );
    assert_eq!(
        changed("user = \"root\"", "user = \"deploy\""),
        ["profile nginx changes: user = \"deploy\", before \"root\""]
    );
    assert_eq!(
        changed("nginx.test", "nginx.check"),
        [
            "deploy gains nginx.check",
            "deploy loses nginx.test",
            "command nginx.check is new",
            "command nginx.test is gone",
        ]
    );
    assert_eq!(
        changed(
            "[profile.nginx]",
            "[profile.unused]\nbase = \"read\"\n[profile.nginx]"
        ),
        ["profile unused is new"]
    );
    assert_eq!(
        changed(
            "effect = \"read\"\nprofile = \"strict\"",
            "profile = \"strict\"\neffect = \"read\""
        ),
        [""; 0]
    );
}

#[test]
fn names_with_new_ids_are_shown() {
    let profile = "[profile.p]\nbase = 'strict'\nuser = 'deploy'\ngroups = ['ops']\nnetwork = ['db.example:5432']\n";
    let policy = |machine: &MachineTable| loaded(&[source("a.toml", profile)], machine);
    let mut machine = accounts();
    machine
        .hosts
        .insert("db.example".into(), vec![[192, 0, 2, 1].into()]);
    let old = policy(&machine);
    let mut users = machine.clone();
    users.users.insert("deploy".into(), Ids { uid: 7, gid: 8 });
    assert_eq!(
        diff(&old, &policy(&users)),
        ["profile p changes: user deploy is uid 7, gid 8, before 64001, 64001"]
    );
    let mut hosts = machine.clone();
    hosts
        .hosts
        .insert("db.example".into(), vec![[192, 0, 2, 2].into()]);
    assert_eq!(
        diff(&old, &policy(&hosts)),
        ["profile p changes: db.example:5432 is now 192.0.2.2"]
    );
    hosts = machine.clone();
    let listed = HostAddress {
        may_be_own: true,
        ..[192, 0, 2, 1].into()
    };
    hosts.hosts.insert("db.example".into(), vec![listed]);
    assert_eq!(
        diff(&old, &policy(&hosts)),
        ["profile p changes: db.example:5432 is now 192.0.2.1 (may be this machine's)"]
    );
    let mut groups = machine.clone();
    groups.groups.insert("ops".into(), 5);
    assert_eq!(diff(&old, &policy(&groups)).len(), 1);
    assert_eq!(diff(&old, &policy(&machine)), [""; 0]);
}

fn policy(text: &str, users: &[(&str, u32)], agents: &[u32]) -> Policy {
    let ids = |uid: u32| Ids { uid, gid: uid };
    let users = users
        .iter()
        .map(|(name, uid)| ((*name).to_owned(), ids(*uid)));
    let machine = MachineTable {
        users: users.collect(),
        groups: [("agents".to_owned(), 50)].into(),
        listed: [(50, agents.to_vec())].into(),
        last_uids: [("ann".to_owned(), 7)].into(),
        ..MachineTable::default()
    };
    let source = Source {
        name: "a.toml".into(),
        text: text.into(),
    };
    load(&[source], &machine).unwrap().0
}

const RULES: &str = "[[grant]]\nto = ['bot', 'bob']\nallow = ['run']\napproval = 'none'\n\
                    [[deny]]\nto = ['ann', '%agents']\ndeny = ['run']\n";

#[test]
fn a02_fewer_grantees_and_more_denied_is_within() {
    let all = [("bot", 1), ("bob", 2), ("ann", 7)];
    let old = policy(RULES, &all, &[1, 3]);
    for (users, agents, is_within) in [
        (&all[..], &[1, 3][..], true),
        (&all[1..], &[1, 3, 4], true),
        (&all[..2], &[1, 3], true),
        (&all, &[1], false),
        (&[("bot", 9), ("bob", 2), ("ann", 7)], &[1, 3], false),
        (&[("bot", 1), ("bob", 2), ("ann", 8)], &[1, 3], false),
    ] {
        let new = policy(RULES, users, agents);
        assert_eq!(new.is_within(&old), is_within, "{users:?} {agents:?}");
    }
    let more = format!("{RULES}[[grant]]\nto = ['bob']\nallow = ['run']\n");
    assert!(!policy(&more, &all, &[1, 3]).is_within(&old));
    let fewer = RULES.split("[[deny]]").next().unwrap();
    assert!(!policy(fewer, &all, &[1, 3]).is_within(&old));
}

#[test]
fn policy_that_takes_only_away_is_known_at_any_line() {
    let users = [("bot", 1), ("bob", 2), ("ann", 7)];
    let grant = |to: &str, allow: &str, more: &str| {
        format!("[[grant]]\nto = ['{to}']\nallow = ['{allow}']\n{more}\n")
    };
    let deny = |to: &str| format!("[[deny]]\nto = ['{to}']\ndeny = ['logs']\n");
    let run = grant("bot", "run", "");
    let logs = grant("bob", "logs", "");
    let asks = grant("bot", "logs", "approval = { by = ['ann'] }");
    let free = grant("bot", "logs", "approval = 'none'");
    let both = format!("{run}{logs}");
    for (old, new, is) in [
        (both.clone(), both.clone(), true),
        (both.clone(), run.clone(), true),
        (both.clone(), format!("# line\n\n{logs}"), true),
        (both.clone(), String::new(), true),
        (both.clone(), format!("{both}{}", deny("bob")), true),
        (both.clone(), both.replace("'bob'", "'bob', 'ann'"), false),
        (
            both.clone(),
            format!("{both}{}", grant("ann", "logs", "")),
            false,
        ),
        (run.clone(), both.clone(), false),
        (format!("{both}{}", deny("bob")), both.clone(), false),
        (
            format!("{both}{}", deny("bob")),
            format!("{both}{}", deny("ann")),
            false,
        ),
        // Without the rule that asks, the other one allows the same.
        (format!("{asks}{free}"), free.clone(), false),
        (format!("{asks}{free}"), asks.clone(), true),
        (asks.clone(), free.clone(), false),
        (asks.clone(), String::new(), true),
    ] {
        let [before, after] = [&old, &new].map(|text| policy(text, &users, &[]));
        assert_eq!(after.takes_only_away(&before), is, "{old}\nto\n{new}");
    }
    let fewer = policy(
        "[[grant]]\nto = ['bot', 'bob']\nallow = ['run']\n",
        &users,
        &[],
    );
    let before = "[[grant]]\nto = ['bot', 'bob', 'ann']\nallow = ['run']\n";
    assert!(fewer.takes_only_away(&policy(before, &users, &[])));
}

#[test]
fn a02_grantee_asked_less_is_not_within() {
    let asks = "[[grant]]\nto = ['bot']\nallow = ['run']\napproval = { by = ['bob', '#9'] }\n";
    let also = "[[grant]]\nto = ['%agents']\nallow = ['run']\napproval = 'none'\n";
    let both = format!("{asks}{also}");
    let of = |count: u8| asks.replace("by = ", &format!("count = {count}, by = "));
    for (new, old) in [(1, 2), (2, 1), (2, 3)] {
        let load = |count| policy(&of(count), &[("bot", 1), ("bob", 2)], &[]);
        assert!(!load(new).is_within(&load(old)), "{old} to {new}");
    }
    let signed = |what: &str| asks.replace("by = ", &format!("signed = '{what}', by = "));
    let load = |text: &str| policy(text, &[("bot", 1), ("bob", 2)], &[]);
    let (key, touch, verify) = (signed("key"), signed("touch"), signed("verify"));
    for (weak, strong) in [(asks, key.as_str()), (&key, &touch), (&touch, &verify)] {
        let (weak, strong) = (load(weak), load(strong));
        assert!(!weak.is_within(&strong) && !weak.takes_only_away(&strong));
        assert!(strong.is_within(&weak));
    }
    let accept = "[[accept]]\nname = 'x'\nagent = 'bot'\nreaches = 'root'\nreason = 'y'\n";
    let accepts = load(&format!("{asks}{accept}"));
    assert!(!accepts.is_within(&load(asks)) && load(asks).is_within(&accepts));
    for (text, users, is_within) in [
        (asks, &[("bob", 2)][..], true),
        (both.as_str(), &[("bob", 2)], false),
        (asks, &[("bot", 1)], true),
        (asks, &[("bot", 1), ("bob", 3)], false),
    ] {
        let old = policy(text, &[("bot", 1), ("bob", 2)], &[]);
        assert_eq!(
            policy(text, users, &[]).is_within(&old),
            is_within,
            "{text} {users:?}"
        );
    }
}
