//! A policy that is printed and loaded again, or encoded and decoded, is the same policy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use remit_common::wire::Effect;
use remit_policy::{Ask, CallerIds, Policy, Source, Verdict};
use remit_policy_compile::{diff, load, print};

use common::{COMMANDS, accounts, lines, source};

fn loaded(sources: &[Source]) -> Policy {
    match load(sources, &accounts()) {
        Ok((policy, _)) => {
            is_same(&policy, &Policy::decode(&policy.encode()).unwrap());
            policy
        }
        Err(found) => panic!("{}\n{sources:?}", lines(&found)),
    }
}

fn is_same(one: &Policy, other: &Policy) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    // The text of a pattern hides its automaton.
    assert!(one.commands().eq(other.commands()));
    assert_eq!(one.encode(), other.encode());
}

fn some_of(lines: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    let most = lines.len();
    subsequence(lines.to_vec(), 0..=most).prop_map(|lines| lines.join("\n"))
}

fn profile(name: &'static str) -> impl Strategy<Value = String> {
    let strict = some_of(&[
        "summary = 'looks \"on\"'",
        "user = 'deploy'",
        "groups = ['ops', '#7']",
        "capabilities = ['CAP_CHOWN', 'CAP_DAC_READ_SEARCH']",
        "read = ['/etc/b', '-/etc/a', '/srv']",
        "write = ['-/srv/w', '/srv/a b']",
        "exec = ['/opt/x']",
        "scratch = ['/run', '/var/log/x']",
        "devices = ['/dev/kvm']",
        "leads_to_root = true\nsockets = ['/run/db.sock']",
        "write_and_exec = true",
        "network = ['api.example.com:443', '[::1]:80', '127.0.0.1:8080']",
        "env = { LC_ALL = 'C', X = \"a\\\"b\\\\c\\n\\u202e\" }",
        "limits = { runtime = '90s', memory = 268435457, tasks = 32, cpu = '50%', open_files = 64, tmp = '64M' }",
    ]);
    let read = some_of(&[
        "groups = ['remit']",
        "capabilities = ['CAP_AUDIT_READ']",
        "network = 'host'",
        "limits = { runtime = '1h' }",
    ]);
    let plan = some_of(&[
        "eyes = 'root'",
        "space = 1048577",
        "network = ['deb.debian.org:80']",
        "env = { LC_ALL = 'C' }",
    ]);
    let host = some_of(&["user = '#5'", "groups = ['ops']", "env = { A = '' }"]);
    let of = |base: &'static str| move |lines: String| format!("base = '{base}'\n{lines}\n");
    let bases = match name {
        "host-c" => host.prop_map(of("host")).boxed(),
        _ => prop_oneof![
            strict.prop_map(of("strict")),
            read.prop_map(of("read")),
            plan.prop_map(of("plan"))
        ]
        .boxed(),
    };
    bases.prop_map(move |lines| format!("[profile.{name}]\n{lines}"))
}

fn param(name: &'static str) -> impl Strategy<Value = String> {
    let kind = select(vec![
        "type = 'int', min = -5, max = 9, default = '3'",
        "type = 'int'",
        "type = 'enum', values = ['-a', 'b \"c\"', 'é']",
        "type = 'bool', flag = '--x={y}'",
        "type = 'bool', flag = '-v', default = true",
        "type = 'unit', optional = true",
        "type = 'user', repeat = 3",
        "type = 'package', summary = 'which'",
        "type = 'secret', max = 64",
    ]);
    kind.prop_map(move |kind| format!("args.{name} = {{ {kind} }}"))
}

fn command(name: &'static str) -> impl Strategy<Value = String> {
    let params = (param("one"), param("two"));
    let elements = select(vec![
        "'{one}', '--', '{two}'",
        "['-x', '{one}', '{{}}'], '--', '{two}'",
        "'', ['{one}'], '{two}'",
    ]);
    let profile = select(vec!["p.a", "p-b", "host-c", "read", "strict", "host"]);
    let rest = some_of(&[
        "cwd = '/srv'",
        "stdin = 'caller'",
        "env = { TZ = 'UTC' }",
        "limits = { tasks = 5 }",
    ]);
    (params, elements, profile, rest).prop_map(move |((one, two), elements, profile, rest)| {
        let text = format!(
            "[[command]]\nname = '{name}'\nsummary = 'x'\nargv = ['/bin/x', '{{any}}', {elements}]\neffect = 'change'\n\
             profile = '{profile}'\n{one}\n{two}\n{rest}\n\
             args.any = {{ type = 'enum', values = ['b', 'a\"b\\c'], default = 'b' }}\n"
        );
        match profile.starts_with("host") {
            true => text
                .replace("'secret', max = 64", "'unit'")
                .replace("stdin = 'caller'\n", ""),
            false => text,
        }
    })
}

fn rule(name: &'static str) -> impl Strategy<Value = String> {
    let to = subsequence(vec!["deploy", "%ops", "#64010", "%#7", "ghost"], 0..5);
    let what = subsequence(vec!["run", "a.one", "a.*", "*", "logs"], 0..5);
    let approval = select(vec![
        "unconfined = true",
        "unconfined = true\neffect = 'change'",
        "effect = 'change'\napproval = { by = ['%ops', 'root'], expires = '90s' }",
        "effect = 'change'\napproval = { by = ['%remit'] }",
        "effect = 'change'\napproval = { by = ['%remit'], count = 2 }",
        "effect = 'change'\napproval = { by = ['%remit'], signed = 'key' }",
        "effect = 'change'\napproval = { by = ['%remit'], count = 2, signed = 'verify' }",
        "effect = 'change'\napproval = { by = ['%remit', 'root'], count = 3, expires = '1h' }",
        "approval = 'none'\nunconfined = true\nenv = ['TZ', 'LANG']",
    ]);
    let args = select(vec![
        "",
        "args = { any = ['b', '*b', \"a\\\"b\\\\c\"] }\n",
        "args = { any = ['*'] }\n",
    ]);
    (any::<bool>(), to, what, approval, any::<bool>(), args).prop_map(
        move |(deny, to, what, approval, named, args)| {
            // Some name must match a command with such arguments; in a denial every name must.
            let knows = |name: &&str| ["a.one", "a.*", "*"].contains(name);
            let suits = match deny {
                true => !what.is_empty() && what.iter().all(&knows),
                false => what.iter().any(knows),
            };
            let args = if suits { args } else { "" };
            // A denial names somebody and something.
            let or = |list: Vec<&'static str>, one| if list.is_empty() { vec![one] } else { list };
            let name = if named {
                format!("name = '{name}'\n")
            } else {
                String::new()
            };
            match deny {
                true => {
                    let to: Vec<_> = to
                        .into_iter()
                        .filter(|grantee| *grantee != "ghost")
                        .collect();
                    let (to, what) = (or(to, "deploy"), or(what, "run"));
                    format!("[[deny]]\n{name}to = {to:?}\ndeny = {what:?}\n{args}")
                }
                false => {
                    format!("[[grant]]\n{name}to = {to:?}\nallow = {what:?}\n{approval}\n{args}")
                }
            }
        },
    )
}

fn tables() -> impl Strategy<Value = Vec<String>> {
    let profiles = (profile("\"p.a\""), profile("p-b"), profile("host-c"));
    let commands = (command("a.one"), command("a.two-2"));
    let rules = (rule("r1"), rule("r2"), rule("r3"));
    (profiles, commands, rules)
        .prop_map(|((a, b, h), (c, d), (e, f, g))| vec![a, b, c, d, e, f, g, h])
        .prop_shuffle()
}

fn files(tables: &[String]) -> Vec<Source> {
    let numbered = tables.iter().enumerate();
    numbered
        .map(|(at, text)| source(&format!("{at}.toml"), text))
        .collect()
}

fn verdicts(policy: &Policy) -> Vec<&'static str> {
    let callers: [(u32, &[u32]); 5] = [
        (64001, &[64001]),
        (5, &[901]),
        (64010, &[]),
        (5, &[7, 901]),
        (0, &[0]),
    ];
    let mut found = Vec::new();
    for (uid, gids) in callers {
        for name in ["a.one", "a.two-2", "logs", "a.none"] {
            let effect = if name == "logs" {
                Effect::Read
            } else {
                Effect::Change
            };
            found.push(
                match policy.decide(
                    CallerIds { uid, gids },
                    &Ask::Command {
                        name,
                        effect,
                        args: &[],
                    },
                ) {
                    Verdict::Allow(_) => "allow",
                    Verdict::Ask(_) => "ask",
                    Verdict::Deny(_) => "deny",
                },
            );
        }
    }
    found
}

proptest! {
    #[test]
    fn printed_policy_reads_as_the_same(tables in tables()) {
        let policy = loaded(&files(&tables));
        let text = print(&policy);
        let again = loaded(&[source("printed.toml", &text)]);
        prop_assert_eq!(&text, &print(&again));
        prop_assert_eq!(diff(&policy, &again), Vec::<String>::new());
        prop_assert_eq!(verdicts(&policy), verdicts(&again));
    }

    #[test]
    fn a_definition_means_the_same_in_any_file(
        (tables, other) in tables().prop_flat_map(|tables| (Just(tables.clone()), Just(tables).prop_shuffle())),
    ) {
        let (one, other) = (loaded(&files(&tables)), loaded(&files(&other)));
        let definitions = |policy: &Policy| {
            let text = print(policy);
            text.split("\n[[grant]]").next().unwrap().split("\n[[deny]]").next().unwrap().to_owned()
        };
        prop_assert_eq!(definitions(&one), definitions(&other));
        prop_assert_eq!(verdicts(&one), verdicts(&other));
        prop_assert_eq!(diff(&one, &other), Vec::<String>::new());
    }
}

#[test]
fn a_policy_is_printed_in_one_way() {
    let text = "\
[profile.nginx]
summary = \"root, who sees nginx\"
base = \"strict\"
user = \"root\"
groups = [\"#901\"]
capabilities = [\"CAP_CHOWN\"]
read = [\"/etc/nginx\", \"-/etc/ssl\"]
network = [\"[::1]:80\", \"api.example.com:443\"]
env = { A = \"b\" }
limits = { runtime = \"30s\", memory = \"256M\", tasks = 32, cpu = \"50%\" }

[[command]]
name = \"nginx.test\"
summary = \"Check it\"
argv = [\"/usr/sbin/nginx\", \"-t\", [\"-q\", \"{quiet}\"], \"--user={user}\", \"{{}}\", \"{config}\"]
effect = \"read\"
profile = \"nginx\"
args.config = { type = \"path\", under = \"/etc/nginx\", is = \"file\", pass = \"path\", default = \"/etc/nginx/nginx.conf\" }
args.quiet = { type = \"bool\", flag = \"-q\", optional = true }
args.user = { type = \"string\", pattern = \"[a-z]+\", max = 256, summary = \"Who\", repeat = 2 }

[[grant]]
name = \"look\"
to = [\"%ops\", \"deploy\", \"ghost\"]
allow = [\"run\", \"nginx.*\"]
effect = \"read\"
args = { config = [\"/etc/nginx/a*\"], quiet = [\"false\", \"true\"] }
env = [\"LANG\", \"TZ\"]
approval = { by = [\"%remit\"], expires = \"10min\" }

[[deny]]
to = [\"#64002\"]
deny = [\"nginx.test\"]
args = { user = [\"root\"] }
";
    let policy = loaded(&[source("a.toml", text)]);
    assert_eq!(print(&policy), text);
}

const DOUBTFUL: &str = r#"
[[command]]
name = "site.look"
summary = "Look at a file"
argv = ["/usr/bin/absent", "--", "{file}"]
effect = "read"
profile = "strict"
args.file = { type = "path", under = "/srv", default = "/srv/index" }
accepts = [{}, { file = "/srv/a" }]
rejects = [{ file = "/etc/shadow" }]

[[command]]
name = "site.shell"
summary = "Have a shell look"
argv = ["/bin/sh", "/usr/share/look"]
effect = "read"
profile = "reaching"

[profile.reaching]
base = "strict"
user = "deploy"
groups = ["ops"]
network = ["api.example.com:443", "nowhere.example.com:443"]

[[grant]]
to = ["ghost", "%ops", "deploy"]
allow = ["run", "nginx.*", "git.*"]
approval = { by = ["%ghosts", "%ops"], expires = "1min" }

[[grant]]
to = ["mallory"]
allow = ["site.*"]
profile = "strict"

[[deny]]
to = ["mallory"]
deny = ["site.shell"]

[[test]]
who = "mallory"
what = "run site.look"
verdict = "allow"
"#;

#[test]
fn decoded_policy_and_digest_are_equal() {
    let sources = [source("0.toml", COMMANDS), source("a.toml", DOUBTFUL)];
    let (policy, warnings) = load(&sources, &accounts()).unwrap();
    assert!(warnings.len() >= 8, "{}", lines(&warnings));
    is_same(&policy, &Policy::decode(&policy.encode()).unwrap());
}

#[test]
fn damaged_model_is_refused_or_answers() {
    let (policy, _) = load(
        &[source("0.toml", COMMANDS), source("a.toml", DOUBTFUL)],
        &accounts(),
    )
    .unwrap();
    let whole = policy.encode();
    for at in 0..whole.len() {
        assert!(Policy::decode(&whole[..at]).is_err(), "{at}");
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let Ok(policy) = Policy::decode(&bytes) else {
                continue;
            };
            for command in policy.commands() {
                let _ = command.bind(&[], false);
                let _ = command.describe();
            }
        }
    }
    assert!(
        Policy::decode(&[whole.as_slice(), b"x"].concat())
            .unwrap_err()
            .contains("1 bytes follow")
    );
}
