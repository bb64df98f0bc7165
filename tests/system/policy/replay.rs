//! `remit policy replay` on the records of a real daemon: the same policy changes no verdict, another one exactly those
//! that it decides otherwise, and candidates load and grant what was refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use remit_common::admin::{AdminRequest, Grantee, NewGrant};
use remit_tests::caller::{Caller, argv, at_once, change, named, script};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b, user_m};
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Bytes, Purpose, Run};
use serde_json::Value;

use super::scene::{FILE, reload};

const POLICY: &str = r##"
[[command]]
name = "site.say"
summary = "says"
argv = ["/usr/bin/printf", "[%s]", "{word}"]
effect = "read"
profile = "read"
args.word = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "site.switch"
summary = "switches"
argv = ["/usr/bin/printf", "[%s]", "{to}"]
effect = "change"
profile = "strict"
args.to = { type = "enum", values = ["blue", "green", "red"] }

[[command]]
name = "site.login"
summary = "logs in"
argv = ["/usr/bin/cat"]
effect = "read"
profile = "read"
stdin = "{password}"
args.password = { type = "secret", max = 64 }

[[grant]]
name = "looks"
to = ["#64001"]
allow = ["run", "site.say", "site.login"]
env = ["TZ"]
approval = "none"

[[grant]]
name = "asks"
to = ["#64001"]
allow = ["change", "site.switch"]
approval = { by = ["#64005"] }

[[grant]]
name = "group"
to = ["%#GROUP"]
allow = ["run"]
"##;

fn daemon() -> Daemon {
    let group = remit_tests::daemon::ADMIN_GROUP.to_string();
    Daemon::start(Options {
        waiting: 16,
        policy: POLICY.replace("GROUP", &group),
        ..Options::default()
    })
}

fn replay(daemon: &Daemon, config: &Path, args: &[&str]) -> Output {
    let path = |name: &str| daemon.path().join(name);
    let mut remit = Command::new(daemon.program("remit"));
    remit.args(["policy", "replay", "--any-owner", "--config"]);
    remit.arg(config).arg("--vendor").arg(path("vendor"));
    remit.arg("--file").arg(path("state/audit.jsonl"));
    remit.arg("--state").arg(path("state"));
    remit.args(args).output().expect("remit starts")
}

fn json(daemon: &Daemon, config: &Path) -> (Option<i32>, Value) {
    let output = replay(daemon, config, &["--json"]);
    let said = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        said.unwrap_or_else(|why| panic!("{why}: {output:?}")),
    )
}

/// Writes the daemon's configuration to another directory, with another policy.
fn with_policy(daemon: &Daemon, edit: impl Fn(String) -> String) -> std::path::PathBuf {
    let (own, new) = (daemon.path().join("config"), daemon.path().join("new"));
    fs::create_dir_all(new.join("policy.d")).expect("it is ours");
    fs::copy(own.join("remit.toml"), new.join("remit.toml")).expect("it is there");
    let text = fs::read_to_string(daemon.path().join(FILE)).expect("it is there");
    fs::write(new.join("policy.d/10-test.toml"), edit(text)).expect("it is ours");
    new
}

fn approve(daemon: &Daemon, report: &JobReport) {
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    let job = report.job;
    let done = daemon.approve(&admin(), job, daemon.pending_request(job).digest);
    assert!(done.is_ok(), "{done:?}");
}

/// Returns a group's verdicts and the commands of its records.
fn changed(daemon: &Daemon, said: &Value) -> Vec<(String, Vec<String>)> {
    let records = daemon.audit();
    let command = |seq: &Value| {
        let found = records
            .iter()
            .find(|record| record["REMIT_SEQ"].as_str() == Some(&seq.to_string()));
        let found = found.expect("it is in the audit log");
        format!(
            "{} {}",
            found["REMIT_USER"],
            found["REMIT_ARGS"]
                .as_str()
                .or(found["REMIT_ARGV"].as_str())
                .unwrap()
        )
    };
    let groups = said["changes"].as_array().expect("a list").iter();
    let group = |group: &Value| {
        let seqs = group["seqs"].as_array().expect("a list");
        (
            group["change"].as_str().unwrap().to_owned(),
            seqs.iter().map(command).collect(),
        )
    };
    groups.map(group).collect()
}

#[test]
fn same_policy_changes_nothing_and_another_exactly_what_it_says() {
    let daemon = daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    for run in [
        argv(&["true"]),
        argv(&["printf", "a b", "\u{1b}[2J"]),
        script("true"),
        Run {
            env: vec![(Bytes::from(b"TZ".to_vec()), Bytes::from(b"UTC".to_vec()))],
            ..argv(&["true"])
        },
        named("site.say", &[("word", "it's {fine} \"here\"")]),
        named("site.say", &[("word", "x=y")]),
        named("site.login", &[("password", "hunter2-hunter2")]),
        named("service.failed", &[]),
    ] {
        caller
            .run(run.clone())
            .unwrap_or_else(|why| panic!("{run:?}: {why}"));
    }
    for run in [
        Run {
            env: vec![(Bytes::from(b"LANG".to_vec()), Bytes::from(b"C".to_vec()))],
            ..argv(&["true"])
        },
        Run {
            profile: Some("strict".into()),
            ..argv(&["true"])
        },
        named("site.say", &[("word", "a\nb")]),
        named("no.such", &[("word", "a")]),
        named("service.failed", &[("unit", "a")]),
        change("site.switch", &[("to", "black")]),
    ] {
        caller.run(run.clone()).expect_err(&format!("{run:?}"));
    }
    Caller::new(&daemon, &user_m())
        .run(argv(&["id", "-u"]))
        .expect_err("no grant");
    Caller::new(&daemon, &admin())
        .run(argv(&["id", "-u"]))
        .expect("by a group");
    for to in ["blue", "green", "red"] {
        let asked = caller.run(at_once(change("site.switch", &[("to", to)])));
        let asked = asked.expect("it may be asked for");
        approve(&daemon, &asked);
        let _ = caller.end_of(asked.job);
    }
    let one_off = Run {
        purpose: Purpose::Change {
            reason: "a test".into(),
        },
        ..argv(&["true"])
    };
    caller.run(at_once(one_off)).expect("it may be asked for");
    let granted = daemon.administer(AdminRequest::Grant {
        new: NewGrant {
            to: Grantee::User {
                name: "agent".into(),
                uid: 64_001,
            },
            what: "site.switch".into(),
            args: Vec::new(),
            for_s: 600,
            uses: None,
            across_reboot: false,
            paths: Vec::new(),
        },
        accepts_paths: false,
    });
    assert!(granted.is_ok(), "{granted:?}");
    caller
        .run(change("site.switch", &[("to", "red")]))
        .expect("it is granted");

    let (status, said) = json(&daemon, &daemon.path().join("config"));
    assert_eq!((status, &said["changed"]), (Some(0), &0.into()), "{said:#}");
    assert_eq!(said["audit"]["whole"], true, "{said:#}");
    // 8 ran, 5 and 1 were refused, 1 by a group, 3 and 1 were asked for, 1 by a temporary grant. A built-in command with
    // a wrong argument is refused before any rule.
    assert_eq!(said["decisions"], 20, "{said:#}");
    assert_eq!(said["with_groups_of_now"], 0);
    let untold = said["cannot_tell"].as_array().expect("a list").iter();
    let untold: Vec<_> = untold
        .map(|one| (one["why"].as_str().unwrap(), one["count"].clone()))
        .collect();
    // A newline in a value; the values of a command that nobody has do not matter.
    assert_eq!(
        untold,
        [("no_arguments", 1.into()), ("secret", 1.into())],
        "{said:#}"
    );

    let config = with_policy(&daemon, |text| {
        text.replace(
            r#"values = ["blue", "green", "red"]"#,
            r#"values = ["blue", "green"]"#,
        )
        .replace(r#"pattern = "[ -~]+""#, r#"pattern = "[a-z=]+""#)
    });
    let (status, said) = json(&daemon, &config);
    assert_eq!(status, Some(1), "{said:#}");
    let to = |args: &[&str]| {
        args.iter()
            .map(|args| format!("\"#64001\" {args}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        changed(&daemon, &said),
        [
            (
                "allowed_now_refused".to_owned(),
                to(&[r#"'word=it'\''s {fine} "here"'"#])
            ),
            ("asked_now_refused".to_owned(), to(&["to=red"])),
            ("asked_now_refused".to_owned(), to(&["to=red"])),
        ],
        "{said:#}"
    );

    let config = with_policy(&daemon, |text| {
        text.replace("[\"%#", "[\"%#1")
            .replace("approval = { by = [\"#64005\"] }", "")
            .replace("allow = [\"change\", ", "allow = [")
            .replace(
                "to = [\"#64001\"]\nallow = [\"run\"",
                "to = [\"#64001\", \"#64003\"]\nallow = [\"run\"",
            )
    });
    let (_, said) = json(&daemon, &config);
    let words: Vec<_> = changed(&daemon, &said)
        .into_iter()
        .map(|(change, of)| (change, of.len()))
        .collect();
    assert_eq!(
        words,
        [
            ("refused_now_allowed".to_owned(), 1),
            ("asked_now_allowed".to_owned(), 4),
            ("allowed_now_refused".to_owned(), 1),
            ("asked_now_refused".to_owned(), 1),
        ],
        "{said:#}"
    );
    daemon.stop();
}

#[test]
fn floor_counts_as_the_daemon_has_it() {
    let daemon = Daemon::start(Options {
        waiting: 16,
        config: "[floor]\napproval = true\napprovers = [\"#64005\"]\n".into(),
        policy: POLICY
            .replace("approval = { by = [\"#64005\"] }", "")
            .replace("\"change\", ", "")
            .replace("%#GROUP", "%#64999"),
        ..Options::default()
    });
    let asked = at_once(change("site.switch", &[("to", "red")]));
    let asked = Caller::new(&daemon, &user_a())
        .run(asked)
        .expect("it may be asked for");
    approve(&daemon, &asked);
    let (status, said) = json(&daemon, &daemon.path().join("config"));
    assert_eq!(
        (status, &said["decisions"]),
        (Some(0), &1.into()),
        "{said:#}"
    );
    let config = with_policy(&daemon, |text| text);
    fs::write(config.join("remit.toml"), "").expect("it is ours");
    let (status, said) = json(&daemon, &config);
    assert_eq!(status, Some(1), "{said:#}");
    assert_eq!(said["changes"][0]["change"], "asked_now_allowed");
    daemon.stop();
}

#[test]
fn candidates_allow_what_was_refused_and_nothing_else() {
    let daemon = daemon();
    let mut caller = Caller::new(&daemon, &user_b());
    let hostile = ["printf", "x\"]\\ {value} ''' # \u{202a}"];
    let argvs = [
        &["printf", "%s", "{a}"][..],
        &["printf", "%s", "b'\"c"],
        &["printf", "%s", "{a}"],
    ];
    let refused = argvs.into_iter().chain([&hostile[..]; 3]);
    for words in refused {
        caller
            .run_patiently(&argv(words))
            .expect_err("user B has no grant");
    }
    let output = replay(&daemon, &daemon.path().join("config"), &["--from-denials"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(text.chars().all(remit_common::text::is_plain), "{text}");
    assert_eq!(text.matches("\n[[command]]\n").count(), 1, "{text}");

    daemon.set_file("config/policy.d/20-seen.toml", &text);
    let _ = reload(&daemon).expect("it loads");
    for (value, said) in [
        ("{a}", Some("{a}")),
        ("b'\"c", Some("b'\"c")),
        ("c", None),
        ("", None),
    ] {
        let report = caller.run_patiently(&named("seen.printf", &[("value", value)]));
        let stdout = report
            .map(|report| remit_tests::caller::stdout(&report))
            .ok();
        assert_eq!(stdout.as_deref(), said, "{value}");
    }
    caller
        .run_patiently(&argv(&["printf", "%s", "{a}"]))
        .expect_err("run stays refused");
    let other = Caller::new(&daemon, &user_a()).run(named("seen.printf", &[("value", "{a}")]));
    other.expect_err("it is user B's");
    daemon.stop();
}
