//! Policies that load with warnings, word for word, and the verdicts of every pair of rules (`pairs.txt`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::fmt::Write;

use common::{COMMANDS, accounts, lines, policy, source};
use remit_common::wire::Effect;
use remit_policy::{Ask, Basis, CallerIds, Network, Policy, RuleId, Verdict};
use remit_policy_compile::load;

#[track_caller]
fn check(text: &str, expect: &str) {
    let (_, found) = policy(text);
    assert_eq!(lines(&found), expect);
}

#[test]
fn grants_without_effect_are_warned_of() {
    check(
        "[[grant]]\nto = ['ghost']\nallow = ['nginx.*', 'run']\n",
        "\
a.toml:2:7: warning: there is no user 'ghost': nobody is granted anything by that name
  2 | to = ['ghost']
    |       ^^^^^^^
a.toml:3:10: warning: there is no command 'nginx.*': this grants nothing
  3 | allow = ['nginx.*', 'run']
    |          ^^^^^^^^^
",
    );
}

#[test]
fn keys_and_patterns_without_effect_are_warned_of() {
    let root = "[[command]]\nname = 'root.look'\nsummary = 'x'\nargv = ['/bin/true']\neffect = 'read'\nprofile = 'host'\n";
    let env = "'env' has no effect: this rule allows neither 'run' nor 'change'";
    let unconfined = "'unconfined' has no effect: this rule allows no command of base host";
    let pattern = "allows nothing here";
    for (rule, expect) in [
        ("allow = ['nginx.reload']\nenv = ['LANG']", Some(env)),
        ("allow = ['*']\nenv = ['LANG']", None),
        ("allow = ['run']\nenv = ['LANG']", None),
        (
            "allow = ['change']\nenv = ['LANG']\napproval = { by = ['%ops'] }",
            None,
        ),
        (
            "allow = ['nginx.test']\nunconfined = true",
            Some(unconfined),
        ),
        ("allow = ['run']\nunconfined = true", Some(unconfined)),
        (
            "allow = ['nginx.test', 'root.look']\nunconfined = true",
            None,
        ),
        ("allow = ['nginx.test']\nunconfined = false", None),
        ("allow = ['*.reload']\neffect = 'read'", Some(pattern)),
        ("allow = ['*.look']\neffect = 'read'", Some(pattern)),
        ("allow = ['nginx.*']\neffect = 'read'", None),
        ("allow = ['*.reload']\neffect = 'change'", None),
    ] {
        let text = format!("{COMMANDS}{root}[[grant]]\nto = ['deploy']\n{rule}\n");
        let (_, found) = policy(&text);
        let found = lines(&found);
        for other in [env, unconfined, pattern] {
            let is_expected = expect == Some(other);
            assert_eq!(found.contains(other), is_expected, "{rule}: {found}");
        }
    }
    // The command may come later.
    let (_, found) =
        policy("[[grant]]\nto = ['deploy']\nallow = ['root.look']\nunconfined = true\n");
    assert!(!lines(&found).contains(unconfined), "{}", lines(&found));
}

/// An account that is removed must not keep the daemon from starting.
#[test]
fn a_test_of_a_missing_account_is_not_tested() {
    for subject in ["ghost", "%ghosts"] {
        let test = format!("[[test]]\nwho = '{subject}'\nwhat = 'run'\nverdict = 'allow'\n");
        let (kind, name) = match subject.strip_prefix('%') {
            Some(name) => ("group", name),
            None => ("user", subject),
        };
        let (_, found) = policy(&test);
        let line = format!("a.toml:2:7: warning: not tested: there is no {kind} '{name}'\n");
        assert!(lines(&found).starts_with(&line), "{}", lines(&found));
        // What else is wrong in it stays an error.
        let unknown = test.replace("'run'", "'launch'");
        assert!(load(&[source("a.toml", &unknown)], &accounts()).is_err());
    }
}

#[test]
fn a_profile_that_no_run_has() {
    check(
        "[[grant]]\nto = ['deploy']\nallow = ['logs']\nprofile = 'strict'\n",
        "\
a.toml:4:1: warning: 'profile' of a [[grant]] is now called 'run_profile'
  4 | profile = 'strict'
    | ^^^^^^^
    = write run_profile = \"strict\"
a.toml:4:11: warning: 'profile' is only for 'run', which this rule does not allow
  4 | profile = 'strict'
    |           ^^^^^^^^
    = delete it, or add \"run\" to 'allow': a command has its own profile
",
    );
}

#[test]
fn paths_that_look_like_patterns_are_warned_of() {
    let command = |more: &str| {
        format!(
            "[[command]]\nname = 'a.b'\nsummary = 'x'\nargv = ['/bin/sort', '{{f}}']\neffect = 'read'\n\
             profile = 'read'\nargs.f = {{ type = 'path', {more} }}\n"
        )
    };
    let plan =
        "[[grant]]\nto = ['%remit']\nallow = ['plan.commit']\napproval = { by = ['root'] }\n";
    for (text, path) in [
        (
            format!("{plan}paths = ['/etc/nginx/*.conf', '/srv/app']\n"),
            "/etc/nginx/*.conf",
        ),
        (
            "[profile.x]\nbase = 'strict'\nread = ['-/srv/a?', '/srv/b']\n".to_owned(),
            "-/srv/a?",
        ),
        (
            "[profile.x]\nbase = 'strict'\nwrite = ['/srv/[ab]', '/srv/b']\n".to_owned(),
            "/srv/[ab]",
        ),
        (command("under = '/srv/*'"), "/srv/*"),
        (
            "[[test]]\nwho = 'deploy'\nwhat = 'change plan.commit'\npaths = ['/etc/*', '/srv/b']\n\
             verdict = 'deny'\n"
                .to_owned(),
            "/etc/*",
        ),
    ] {
        let found = match load(&[source("a.toml", &text)], &accounts()) {
            Ok((_, found)) | Err(found) => lines(&found),
        };
        let line = format!("warning: '{path}': paths have no patterns\n");
        assert!(found.contains(&line), "{text}: {found}");
        assert!(
            found.contains("= write each file, or the directory"),
            "{found}"
        );
        assert_eq!(found.matches("no patterns").count(), 1, "{found}");
    }
}

#[test]
fn accepted_path_is_printed_compared_and_about_one_account() {
    let text = "[[accept]]\nname = 'cron'\nagent = 'deploy'\nreaches = 'root'\nreason = 'it says \"yes\"'\n";
    let (accepts, found) = policy(text);
    assert_eq!(lines(&found), "");
    assert!(accepts.accepted("deploy", "root").is_some());
    assert!(accepts.accepted("deploy", "remit").is_none());
    let printed = remit_policy_compile::print(&accepts);
    let (again, _) = load(&[source("a.toml", &printed)], &accounts()).unwrap();
    assert_eq!(accepts.accepts, again.accepts, "{printed}");
    let (nothing, _) = policy("");
    let more = remit_policy_compile::diff(&nothing, &accepts);
    assert_eq!(more, ["a path of deploy to root is accepted"]);
    let fewer = remit_policy_compile::diff(&accepts, &nothing);
    assert_eq!(fewer, ["a path of deploy to root is not accepted any more"]);
    check(
        "[[accept]]\nagent = 'ghost'\nreaches = 'deploy'\nreason = 'x'\n",
        "\
a.toml:2:9: warning: there is no user 'ghost': nothing is accepted for it
  2 | agent = 'ghost'
    |         ^^^^^^^
    = write the name of a user, \"#1000\" for a uid without one, or of what is reached: \"root\" or \"remit\"
",
    );
}

/// An account without a name is `#uid` in what remit-prove finds, and so in what a refused reload says to write.
#[test]
fn accepted_path_of_a_number_is_known() {
    let accept = |agent: &str, reaches: &str| {
        format!("[[accept]]\nagent = '{agent}'\nreaches = '{reaches}'\nreason = 'x'\n")
    };
    let (accepts, found) = policy(&accept("#1500", "#1501"));
    assert_eq!(lines(&found), "");
    let goal = "the account of approver #1501";
    assert!(accepts.accepted("#1500", goal).is_some());
    assert!(accepts.accepted("#1501", goal).is_none());
    let (accepts, found) = policy(&accept("#64001", "root"));
    assert_eq!(lines(&found), "");
    assert!(accepts.accepted("#64001", "root").is_some());
    for (word, of) in [
        ("#", "#"),
        ("#01500", "another form than that of remit-prove"),
        ("#-1", "a sign"),
        ("#0", "root has a name"),
        ("#65534", "an id that no grant can have"),
        ("#4294967296", "over the bound"),
        ("%#1500", "a group"),
    ] {
        let (_, found) = policy(&accept(word, "root"));
        let said = lines(&found);
        assert!(said.contains("nothing is accepted for it"), "{of}: {said}");
    }
}

#[test]
fn missing_program_or_directory_is_warned_of() {
    check(
        "\
[[command]]
name = 'a.b'
summary = 'x'
argv = ['/usr/bin/absent', '{x}']
effect = 'read'
profile = 'strict'
args.x = { type = 'path', under = '/srv' }
",
        "\
a.toml:4:9: warning: there is no program '/usr/bin/absent' yet
  4 | argv = ['/usr/bin/absent', '{x}']
    |         ^^^^^^^^^^^^^^^^^
    = the command is refused until there is one
a.toml:7:6: warning: nothing beneath '/srv' is seen in the profile 'strict'
  7 | args.x = { type = 'path', under = '/srv' }
    |      ^
    = list it: read = [\"/srv\"]
",
    );
}

#[test]
fn commands_that_read_and_can_do_more() {
    check(
        "\
[profile.w]
base = 'strict'
write = ['/etc/cron.d', '/srv/w']
sockets = ['/run/docker.sock']
leads_to_root = true

[profile.n]
base = 'read'
network = 'host'

[[command]]
name = 'a.w'
summary = 'x'
argv = ['/bin/sh', '-c', 'true']
effect = 'read'
profile = 'w'

[[command]]
name = 'a.n'
summary = 'x'
argv = ['/usr/bin/env', '/bin/true']
effect = 'read'
profile = 'n'

[[command]]
name = 'a.c'
summary = 'x'
argv = ['/bin/true']
effect = 'change'
profile = 'w'

[profile.own]
base = 'strict'
network = ['127.0.0.1:8080', '[::1]:80']

[profile.both]
base = 'strict'
network = ['127.0.0.1:8080', '192.0.2.1:80']

[[command]]
name = 'a.own'
summary = 'x'
argv = ['/bin/true']
effect = 'read'
profile = 'own'

[[command]]
name = 'a.both'
summary = 'x'
argv = ['/bin/true']
effect = 'read'
profile = 'both'
",
        "\
a.toml:14:9: warning: '/bin/sh' is a shell: a script of your own, or the inner program itself, says more clearly what is run
  14 | argv = ['/bin/sh', '-c', 'true']
     |         ^^^^^^^^^
a.toml:16:11: warning: a command of effect read runs in the profile 'w', which can change the host
  16 | profile = 'w'
     |           ^^^
a.toml:21:9: warning: '/usr/bin/env' is a program that starts others: a script of your own, or the inner program itself, says more clearly what is run
  21 | argv = ['/usr/bin/env', '/bin/true']
     |         ^^^^^^^^^^^^^^
a.toml:23:11: warning: a command of effect read runs in the profile 'n', which reaches beyond the host
  23 | profile = 'n'
     |           ^^^
a.toml:45:11: warning: a command of effect read runs in the profile 'own', which reaches services of this host
  45 | profile = 'own'
     |           ^^^^^
a.toml:52:11: warning: a command of effect read runs in the profile 'both', which reaches beyond the host
  52 | profile = 'both'
     |           ^^^^^^
",
    );
}

#[test]
fn groups_of_host_users_are_warned_of() {
    check(
        "\
[profile.d]
base = 'strict'
user = 'deploy'
groups = ['ops']

[profile.r]
base = 'strict'
user = 'root'
groups = ['ops']

[profile.o]
base = 'strict'
groups = ['ops']
",
        "\
a.toml:4:10: warning: any process of 'deploy' on this machine can take over these jobs, and has their groups then
  4 | groups = ['ops']
    |          ^^^^^^^
    = leave 'user' out: then each job has a uid of its own
",
    );
}

#[test]
fn correct_policy_has_no_warnings() {
    check(
        "\
[[command]]
name = 'nginx.test'
summary = 'Check it'
argv = ['/usr/sbin/nginx', '-t', '-c', '{config}']
effect = 'read'
profile = 'nginx'
args.config = { type = 'path', under = '/etc/nginx', default = '/etc/nginx/nginx.conf' }
accepts = [{}]
rejects = [{ config = '-p' }]

[profile.nginx]
base = 'strict'
user = 'root'
read = ['/etc/nginx']
network = 'loopback'

[[grant]]
to = ['%ops']
allow = ['run', 'nginx.*', '*']
approval = { by = ['%remit'] }

[[test]]
who = 'deploy'
what = 'run nginx.test'
verdict = 'ask'
",
        "",
    );
}

#[test]
fn a_destination_that_no_name_server_knows_now() {
    let text = "[profile.w]\nbase = 'strict'\nnetwork = ['nowhere.example:443', '192.0.2.1:80']\n";
    check(
        text,
        "\
a.toml:3:12: warning: 'nowhere.example' has no address now
  3 | network = ['nowhere.example:443', '192.0.2.1:80']
    |            ^^^^^^^^^^^^^^^^^^^^^
    = nothing runs in this profile until a reload finds one; an address, or the name in /etc/hosts, asks no name server
",
    );
    // It stays in the profile without an address, so that no job starts that would reach only the others.
    let (policy, _) = policy(text);
    let profile = policy.profiles().find(|profile| profile.name == "w");
    let Some(Network::Connect(to)) = profile.map(|profile| &profile.network) else {
        panic!("no such profile");
    };
    assert_eq!(to.iter().map(|to| to.addresses.len()).sum::<usize>(), 1);
    assert_eq!(to.len(), 2);
}

const RULES: [(&str, &str); 9] = [
    ("run", "[[grant]]\nto = ['deploy']\nallow = ['run']"),
    (
        "run, approval",
        "[[grant]]\nto = ['%ops']\nallow = ['run']\napproval = { by = ['%remit'], expires = '10min' }",
    ),
    (
        "run, longer",
        "[[grant]]\nto = ['deploy']\nallow = ['r*n']\napproval = { by = ['%remit'], expires = '1h' }",
    ),
    (
        "run in strict",
        "[[grant]]\nto = ['#64001']\nallow = ['run']\nrun_profile = 'strict'",
    ),
    (
        "nginx.*",
        "[[grant]]\nto = ['%ops']\nallow = ['nginx.*']\neffect = 'change'",
    ),
    (
        "test, approval",
        "[[grant]]\nto = ['deploy']\nallow = ['nginx.test']\napproval = { by = ['%remit'], expires = '10min' }",
    ),
    ("no run", "[[deny]]\nto = ['%#901']\ndeny = ['run']"),
    ("no nginx", "[[deny]]\nto = ['deploy']\ndeny = ['ng*']"),
    (
        "others",
        "[[grant]]\nto = ['mallory']\nallow = ['*']\n[[deny]]\nto = ['mallory', '%remit']\ndeny = ['*']",
    ),
];

const ASKS: [(&str, Ask<'_>); 5] = [
    (
        "run",
        Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[],
        },
    ),
    (
        "in strict",
        Ask::Run {
            profile: Some("strict"),
            argv0: b"df",
            env_names: &[],
        },
    ),
    (
        "logs",
        Ask::Command {
            name: "logs",
            effect: Effect::Read,
            args: &[],
        },
    ),
    (
        "nginx.test",
        Ask::Command {
            name: "nginx.test",
            effect: Effect::Read,
            args: &[],
        },
    ),
    (
        "nginx.reload",
        Ask::Command {
            name: "nginx.reload",
            effect: Effect::Change,
            args: &[],
        },
    ),
];

const CALLER: CallerIds<'_> = CallerIds {
    uid: 64001,
    gids: &[901],
};

/// `allow 1`: allowed by the rule in `1.toml`; `-`: refused without a rule.
fn cell(policy: &Policy, ask: &Ask<'_>) -> String {
    let rule_file = |id: &RuleId| id.file.trim_end_matches(".toml").to_owned();
    let of = |basis: &Basis| match basis {
        Basis::Rule(id) => rule_file(id),
        other => panic!("decide says {other:?}"),
    };
    match policy.decide(CALLER, ask) {
        Verdict::Allow(grant) => format!("allow {}", of(grant.basis())),
        Verdict::Ask(pending) => format!("ask {}", rule_file(pending.rule())),
        Verdict::Deny(denial) => denial
            .rule
            .map_or("-".into(), |id| format!("deny {}", rule_file(&id))),
    }
}

fn row(first: &str, second: &str, cells: &[String]) -> String {
    let mut line = format!("{first:<15}{second:<15}");
    for cell in cells {
        write!(line, "{cell:<13}").unwrap();
    }
    line.trim_end().to_owned() + "\n"
}

#[test]
fn every_two_rules_decide_as_the_table_says() {
    let golden = include_str!("pairs.txt");
    let (head, _) = golden.split_once("\n1.toml").unwrap();
    let mut today = format!("{head}\n");
    today += &row("1.toml", "2.toml", &ASKS.map(|(name, _)| name.to_owned()));
    let mut pairs = 0;
    for (first, one) in RULES {
        for (second, other) in RULES {
            let files = [
                source("0.toml", COMMANDS),
                source("1.toml", one),
                source("2.toml", other),
            ];
            let (policy, _) =
                load(&files, &accounts()).unwrap_or_else(|found| panic!("{}", lines(&found)));
            today += &row(first, second, &ASKS.map(|(_, ask)| cell(&policy, &ask)));
            pairs += 1;
        }
    }
    assert_eq!(pairs, RULES.len() * RULES.len());
    for (was, is) in golden.lines().zip(today.lines()) {
        assert_eq!(was, is, "the whole file would be:\n{today}");
    }
    assert_eq!(
        golden.lines().count(),
        today.lines().count(),
        "the whole file would be:\n{today}"
    );
}
