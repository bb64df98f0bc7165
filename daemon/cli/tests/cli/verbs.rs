use remit_common::refusal::{Code, Refusal};
use remit_wire::host::{HostReport, Section};
use remit_wire::outcome::{JobReport, QueuePosition, State};
use remit_wire::{
    Access, AccessReport, Asked, Bytes, CommandView, Effect, GrantView, ProfileView, Reply, Request,
};

use crate::fake::{Answer, Fake, ended, exited, job, paged, running, squeezed};

#[test]
fn only_job_wait_exits_with_job_status() {
    let mut report = exited(7, b"ab\n", b"");
    report.notes = vec!["it was meant: run {\"argv\": [\"df\"]}".into()];
    let fake = Fake::job(report);
    let said = fake.output(&["job", &job()]);
    assert_eq!(said.status, Some(0));
    let lines = squeezed(said.text());
    for line in [
        &format!("job {}", job()),
        "state exited with status 7",
        "ran for 2.4 s",
        "peak memory 3.0 MiB",
        "processes all gone, verified",
        "stdout 3 bytes, 1 line",
        "started 2026-11-20 08:25:48 UTC",
        "ended 2026-11-20 08:25:50 UTC",
        "profile read",
        "layers uid, mounts",
        "note it was meant: 'remit run -- df'",
    ] {
        assert!(lines.iter().any(|is| is == line), "'{line}' in {lines:#?}");
    }
    assert_eq!(fake.output(&["job", &job(), "--wait"]).status, Some(7));
    assert_eq!(fake.output(&["job", &job(), "--json"]).json()["exit"], 7);
    let running = Fake::job(running()).output(&["job", &job()]);
    assert!(running.text().contains("running"), "{running:?}");
}

#[test]
fn unstarted_job_shows_no_measures() {
    let at = "2026-11-20 08:25:48 UTC";
    let queued = JobReport {
        state: State::Queued,
        queue_position: Some(QueuePosition { position: 3, of: 7 }),
        waited_ms: 61_000,
        enforced: None,
        ..running()
    };
    let mut cancelled = JobReport {
        waited_ms: 61_000,
        enforced: None,
        ..ended(State::Cancelled, None, None, "by its owner")
    };
    let mut interrupted = ended(State::Interrupted, None, None, "");
    for report in [&mut cancelled, &mut interrupted] {
        report.ending.as_mut().unwrap().runtime_ms = 0;
    }
    let cases = [
        (
            queued,
            vec![
                "state queued, 3rd of 7".to_owned(),
                format!("asked for {at}"),
                "waited 1 min 1 s".into(),
            ],
        ),
        (
            cancelled,
            vec![format!("asked for {at}"), "waited 1 min 1 s".into()],
        ),
        (
            interrupted,
            vec![
                format!("started {at}"),
                "processes all gone, verified".into(),
            ],
        ),
    ];
    for (report, expect) in cases {
        let has_run = report.state == State::Interrupted;
        let said = Fake::job(report).output(&["job", &job()]);
        let lines = squeezed(said.text());
        for line in expect {
            assert!(lines.contains(&line), "'{line}' in {lines:#?}");
        }
        let measured = lines
            .iter()
            .any(|line| line.starts_with("ended ") || line.starts_with("ran for "));
        assert!(!measured, "{lines:#?}");
        let processes = lines.iter().any(|line| line.starts_with("processes "));
        assert_eq!(processes, has_run, "{lines:#?}");
    }
}

#[test]
fn a_stream_is_printed_in_part_or_whole() {
    let written: Vec<u8> = (0..600_000u32).map(|n| (n % 241) as u8).collect();
    let mut report = exited(0, b"", b"");
    report.stdout.total = written.len() as u64;
    let all = written.clone();
    let fake = Fake::new(move |request| paged(&report, &all, request));
    let print = |more: &[&str]| {
        let id = job();
        let args = [&["job", &id, "--stdout"][..], more].concat();
        fake.output(&args).stdout
    };
    let print_part = |more: &[&str]| fake.output(&[&["job", &job()][..], more].concat()).stdout;
    assert!(print(&[]) == written);
    assert!(print(&["--offset", "599990"]) == written[599_990..]);
    assert!(print(&["--offset", "10", "--limit", "300000"]) == written[10..300_010]);
    assert!(print(&["--tail", "400000"]) == written[200_000..]);
    assert!(print(&["--tail", "9000000"]) == written);
    assert!(print(&["--offset", "9000000"]).is_empty());
    assert!(print(&["--limit", "0"]).is_empty());
    assert!(print_part(&["--tail", "9"]) == written[599_991..]);
    assert!(print_part(&["--offset", "599990"]) == written[599_990..]);
    assert!(print_part(&["--limit", "9"]) == written[..9]);
}

#[test]
fn json_page_tells_next_offset() {
    let mut report = exited(0, b"", b"");
    report.stdout.total = 11;
    let fake = Fake::new(move |request| paged(&report, b"hello\x1bworld", request));
    let args = [
        "job",
        &job(),
        "--json",
        "--stdout",
        "--offset",
        "3",
        "--limit",
        "4",
    ];
    let json = fake.output(&args).json();
    assert_eq!(json["data"], "lo\\x1bw");
    assert_eq!(json["encoding"], "escaped");
    assert_eq!((&json["next"], &json["eof"]), (&7.into(), &false.into()));
}

fn access(asked: Option<Asked>) -> Fake {
    Fake::new(move |_| {
        Answer::Reply(Reply::Access(AccessReport {
            user: "alice".into(),
            uid: 1001,
            grants: vec![GrantView {
                rule: "10-default.toml:3".into(),
                allow: vec!["run".into()],
                profile: "read".into(),
                env: vec!["LANG".into()],
                approval: None,
                left: None,
            }],
            asked: asked.clone(),
            profiles: vec![ProfileView {
                name: "read".into(),
                summary: "sees all, changes nothing".into(),
            }],
            commands: vec![CommandView {
                usage: "logs [unit=UNIT]".into(),
                summary: "entries".into(),
                args: vec!["unit: name of a unit".into()],
                approval: None,
                profile: "read".into(),
                effect: Effect::Read,
            }],
            more_commands: 0,
            more_grants: 0,
        }))
    })
}

#[test]
fn access_shows_grants() {
    let fake = access(None);
    let said = fake.output(&["access"]);
    assert_eq!(
        squeezed(said.text()),
        [
            "alice (uid 1001)",
            "",
            "any program, in a profile: remit run PROGRAM [ARG...]",
            "read sees all, changes nothing; --env may set LANG",
            "",
            "commands that only read: remit run --name COMMAND [KEY=VALUE...]",
            "COMMAND ANSWERS",
            "logs [unit=UNIT] entries",
            "",
            "to explain one: remit access --name COMMAND",
        ]
    );
    assert_eq!(said.status, Some(0));
    let asked = Asked {
        allowed: false,
        rule: None,
        why: "not granted".into(),
        lift: None,
        approval: None,
    };
    let json = access(Some(asked)).output(&["access", "--json"]).json();
    crate::man::check_keys(&["access"], &json);
}

#[test]
fn access_shows_approvers_and_next_step() {
    let approval = "needs approval by %sre, asked for at most 10 min";
    let fake = Fake::new(move |_| {
        let grant = GrantView {
            rule: "web".into(),
            allow: vec!["nginx.*".into()],
            profile: "read".into(),
            env: Vec::new(),
            approval: Some(approval.into()),
            left: None,
        };
        let command = |usage: &str, effect, approval: Option<&str>| CommandView {
            usage: usage.into(),
            summary: "does it".into(),
            args: Vec::new(),
            effect,
            profile: "nginx".into(),
            approval: approval.map(str::to_owned),
        };
        Answer::Reply(Reply::Access(AccessReport {
            user: "alice".into(),
            uid: 1001,
            grants: vec![grant],
            asked: None,
            profiles: Vec::new(),
            commands: vec![
                command("nginx.test [config=CONFIG]", Effect::Read, None),
                command("nginx.reload", Effect::Change, Some(approval)),
            ],
            more_commands: 12,
            more_grants: 0,
        }))
    });
    let said = fake.output(&["access", "--query", "NGINX"]);
    assert_eq!(
        squeezed(said.text()),
        [
            "commands that only read: remit run --name COMMAND [KEY=VALUE...]",
            "COMMAND ANSWERS",
            "nginx.test [config=CONFIG] does it",
            "",
            "commands that change this machine: remit change -m WHY COMMAND [KEY=VALUE...]",
            approval,
            "COMMAND ANSWERS",
            "nginx.reload does it",
            "… and 12 more",
            "to search all: remit access --query TEXT",
        ]
    );
    let question = Access {
        argv: None,
        profile: None,
        name: None,
        query: Some("NGINX".into()),
    };
    assert_eq!(fake.all_heard(), [Request::Access(question)]);
}

/// Agents read calls of tools there, people what they can type.
#[test]
fn why_of_access_has_verbs_in_place_of_calls() {
    let fake = access(Some(Asked {
        allowed: true,
        rule: None,
        why: "yes; but x is no program: run {\"name\": \"x\", \"args\": {\"a\": \"b\"}}".into(),
        lift: None,
        approval: None,
    }));
    for args in [&["access", "x"][..], &["access", "--query", "x"]] {
        let said = fake.output(args);
        let shown = squeezed(said.text()).join("|");
        assert!(shown.contains("'remit run --name x a=b'"), "{shown}");
    }
}

#[test]
fn access_query_shows_rule_of_command_that_is_not_granted() {
    let fake = access(Some(Asked {
        allowed: false,
        rule: None,
        why: "not granted".into(),
        lift: Some("# how\n[[grant]]\nallow = [\"firewall.rules\"]\n".into()),
        approval: None,
    }));
    let said = fake.output(&["access", "--query", "firewall"]);
    let shown = squeezed(said.text()).join("|");
    let rule = "|not granted|to lift it # how|[[grant]]|allow = [\"firewall.rules\"]";
    assert!(shown.ends_with(rule), "{shown}");
}

#[test]
fn access_tells_what_is_allowed_only_after_approval() {
    let fake = access(Some(Asked {
        allowed: false,
        rule: Some("web".into()),
        why: "because".into(),
        lift: None,
        approval: Some("needs approval by %sre".into()),
    }));
    let said = fake.output(&["access", "--name", "logs"]);
    assert_eq!(said.status, Some(125), "{said:?}");
    let lines = squeezed(said.text());
    for line in [
        "allowed not without approval",
        "approval needs approval by %sre",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:?}");
    }
}

#[test]
fn access_status_tells_if_command_is_allowed() {
    for (allowed, status) in [(true, 0), (false, 125)] {
        let fake = access(Some(Asked {
            allowed,
            rule: None,
            why: "because".into(),
            lift: Some("add a grant".into()),
            approval: None,
        }));
        let said = fake.output(&["access", "--profile", "web", "--", "df", "-h"]);
        assert_eq!(said.status, Some(status), "{said:?}");
        assert!(said.text().contains("because"), "{said:?}");
        assert!(!said.text().contains("logs"), "{said:?}");
        let argv = ["df", "-h"].map(|arg| Bytes::from(arg.as_bytes().to_vec()));
        let question = Access {
            argv: Some(argv.to_vec()),
            profile: Some("web".into()),
            name: None,
            query: None,
        };
        assert_eq!(fake.all_heard(), [Request::Access(question)]);
        let json = fake.output(&["access", "--json", "df"]).json();
        assert_eq!(json["asked"]["allowed"], allowed);
    }
}

#[test]
fn profile_without_argv_is_usage_error() {
    let fake = access(None);
    let args = ["access", "--profile", "web"];
    for more in [&[][..], &["--name", "logs"], &["--query", "x"]] {
        let said = fake.output(&[&args[..], more].concat());
        assert_eq!((said.status, said.text()), (Some(64), ""), "{said:?}");
    }
    assert_eq!(fake.all_heard(), []);
}

#[test]
fn refusal_names_verb_instead_of_tool() {
    let refusal = Refusal::new(Code::DeniedRule, "no rule grants anything")
        .next("call access to see what is granted");
    let fake = Fake::new(move |_| Answer::Refuse(refusal.clone()));
    let said = fake.output(&["run", "--json", "id"]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert_eq!(
        said.stderr,
        "remit: no rule grants anything (denied_rule)\n\
         remit: to go on: run 'remit access' to see what is granted\n"
    );
    let next = &said.json()["error"]["next"];
    assert_eq!(next, "run 'remit access' to see what is granted");
}

#[test]
fn access_explains_a_named_command() {
    let fake = access(Some(Asked {
        allowed: true,
        rule: None,
        why: "because".into(),
        lift: None,
        approval: None,
    }));
    let said = fake.output(&["access", "--name", "logs"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let lines = squeezed(said.text());
    for line in [
        "usage run --name logs [unit=UNIT]",
        "answers entries",
        "effect read",
        "profile read",
        "unit name of a unit",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:?}");
    }
    let question = Access {
        argv: None,
        profile: None,
        name: Some("logs".into()),
        query: None,
    };
    assert_eq!(fake.all_heard(), [Request::Access(question)]);
}

#[test]
fn host_asks_for_its_sections() {
    let fake = Fake::new(|_| {
        Answer::Reply(Reply::Host(Box::new(HostReport {
            time: 1,
            alerts: vec!["disk is full".into()],
            ..HostReport::default()
        })))
    });
    let said = fake.output(&["host", "disks", "load"]);
    assert!(said.text().contains("disk is full"), "{said:?}");
    assert_eq!(fake.output(&["host", "--json"]).json()["time"], 1);
    let asked = |sections| Request::Host { sections };
    assert_eq!(
        fake.all_heard(),
        [asked(vec![Section::Disks, Section::Load]), asked(vec![])]
    );
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let fake = Fake::new(|_| Answer::Reply(Reply::Jobs(Vec::new())));
    for args in [&["host"][..], &["access"], &["run", "x"], &["job", &job()]] {
        let said = fake.output(args);
        assert_eq!((said.status, said.text()), (Some(69), ""), "{args:?}");
    }
}
