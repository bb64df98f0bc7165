use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use nix::pty::{OpenptyResult, Winsize, openpty};
use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, AnyJob, Grantee, NewGrant};
use remit_common::names::JobId;
use remit_wire::outcome::{JobReport, QueuePosition, State};
use remit_wire::{
    AccessReport, CommandView, Effect, GrantView, HistoryEntry, HistoryPage, Kind, ProfileView,
    Reply, Request,
};

use crate::fake::{Answer, Fake, ended, exited, followed, job, long, paged, reply, running};

/// Opens a terminal of so many columns, or of no known size.
pub fn pty_of(columns: Option<u16>) -> OpenptyResult {
    let size = columns.map(|columns| Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    });
    openpty(size.as_ref(), None).unwrap()
}

fn on_a_terminal(command: Command) -> String {
    on_a_terminal_of(None, command)
}

fn on_a_terminal_of(columns: Option<u16>, mut command: Command) -> String {
    let pty = pty_of(columns);
    let stderr = pty.slave.try_clone().unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(pty.slave)
        .stderr(stderr)
        .spawn()
        .unwrap();
    drop(command); // also closes our copies of the slave
    let mut got = Vec::new();
    let mut master = File::from(pty.master);
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = master.read(&mut chunk) {
        got.extend_from_slice(&chunk[..length]);
    }
    child.wait().unwrap();
    String::from_utf8(got).unwrap().replace("\r\n", "\n")
}

fn is_harmless(shown: &str) -> bool {
    !shown.contains(|c: char| c.is_control() && c != '\n') && !shown.contains('\u{202e}')
}

#[test]
fn output_of_a_job_is_escaped() {
    let fake = Fake::job(exited(0, b"\x1b]0;x\x07gr\xc3\xbcn\n", b"\xc2\x9b2J\xff\n"));
    let shown = on_a_terminal(fake.remit(&["run", "x"]));
    assert_eq!(shown, "\\x1b]0;x\\x07gr\u{fc}n\n\\u{9b}2J\\xff\n");
}

#[test]
fn pages_are_escaped_and_split_characters_are_whole() {
    let written = "\u{fc}\x1b".repeat(200_000);
    let report = long(written.as_bytes(), 101, 50);
    let all = written.clone();
    let fake = Fake::new(move |request| paged(&report, all.as_bytes(), request));
    for args in [&["run", "x"][..], &["job", &job(), "--stdout"]] {
        let shown = on_a_terminal(fake.remit(args));
        assert!(shown == "\u{fc}\\x1b".repeat(200_000), "{}", shown.len());
    }
}

#[test]
fn words_of_the_daemon_are_escaped() {
    let evil = "a\x1b[2J\u{202e}b";
    let mut report = ended(State::NotStarted, None, None, evil);
    report.command = evil.into();
    report.notes = vec![evil.into()];
    if let Some(enforced) = &mut report.enforced {
        enforced.layers = vec![evil.into()];
    }
    let fake = Fake::new(move |request| match request {
        Request::Access(_) => Answer::Reply(Reply::Access(AccessReport {
            user: evil.into(),
            uid: 1,
            grants: Vec::new(),
            asked: None,
            profiles: Vec::new(),
            commands: Vec::new(),
            more_commands: 0,
            more_grants: 0,
        })),
        _ => paged(&report, b"", request),
    });
    for args in [
        &["run", "x"][..],
        &["--json", "run", "x"],
        &["job", &job()],
        &["stop", &job()],
        &["access"],
        &["--json", "access"],
    ] {
        let shown = on_a_terminal(fake.remit(args));
        assert!(
            shown.contains('a') && is_harmless(&shown),
            "{args:?} {shown:?}"
        );
    }
}

#[test]
fn queued_job_tells_its_position() {
    let at = |position| QueuePosition { position, of: 7 };
    let queued = JobReport {
        state: State::Queued,
        queue_position: Some(at(5)),
        ..running()
    };
    let fake = Fake::new(move |request| {
        let end = exited(0, b"done\n", b"");
        let answer = match request {
            Request::Run(_) => return reply(queued.clone()),
            Request::Follow(_) => followed(&end, [b"done\n", b""], request),
            _ => reply(end),
        };
        Answer::Waiting(at(5), Box::new(Answer::Waiting(at(4), Box::new(answer))))
    });
    let waiting_note = "remit: waiting for a job slot: 5th of 7\n";
    let shown = on_a_terminal(fake.remit(&["run", "x"]));
    assert_eq!(shown, format!("{waiting_note}done\n"));
    let json = on_a_terminal(fake.remit(&["run", "--json", "x"]));
    assert!(json.starts_with(&format!("{waiting_note}{{")), "{json}");
    assert_eq!(fake.output(&["run", "x"]).stderr, "");
}

fn long_values() -> (Fake, Receiver<AdminRequest>) {
    let word = "a-word-of-twenty-char ".repeat(20);
    let text = word.clone();
    let fake = Fake::new(move |request| match request {
        Request::Access(_) => {
            let command = |effect| CommandView {
                usage: format!("name.of-a-command {text}"),
                summary: text.clone(),
                args: Vec::new(),
                effect,
                profile: text.clone(),
                approval: Some(text.clone()),
            };
            Answer::Reply(Reply::Access(AccessReport {
                user: "alice".into(),
                uid: 1001,
                grants: vec![GrantView {
                    rule: text.clone(),
                    allow: vec!["run".into(), text.clone()],
                    profile: "read".into(),
                    env: vec![text.clone()],
                    approval: Some(text.clone()),
                    left: Some(text.clone()),
                }],
                asked: None,
                profiles: vec![ProfileView {
                    name: "read".into(),
                    summary: text.clone(),
                }],
                commands: vec![command(Effect::Read), command(Effect::Change)],
                more_commands: 7,
                more_grants: 0,
            }))
        }
        Request::History(_) => Answer::Reply(Reply::History(HistoryPage {
            entries: vec![HistoryEntry {
                seq: 7,
                at_ms: 1_795_163_148_042,
                kind: Kind::Refused,
                user: text.clone(),
                job_id: Some("7d025d0d0000000000000000000000aa".into()),
                command: Some(text.clone()),
                verdict: "denied_rule".into(),
                cause: Some(text.clone()),
            }],
            next: Some(7),
        })),
        _ => Answer::HangUp,
    });
    let heard = fake.answer_each_administrator(move |request| match request {
        AdminRequest::Jobs { .. } => AdminReply::Jobs {
            jobs: vec![AnyJob {
                then: Vec::new(),
                job: JobId([7; 16]),
                user: word.clone(),
                uid: 1001,
                command: word.clone(),
                state: State::Exited,
                exit: Some(127),
                cause: None,
                unconfirmed: None,
                started_ms: 1_795_163_148_042,
                runtime_ms: 199_000,
                kill_verified: Some(false),
            }],
            omitted: 3,
        },
        AdminRequest::Grants => AdminReply::Grants(vec![ActiveGrant {
            grant: 1_000_007,
            new: NewGrant {
                to: Grantee::User {
                    name: word.clone(),
                    uid: 1001,
                },
                what: "service.restart".into(),
                args: vec![("unit".into(), word.clone())],
                for_s: 60,
                uses: Some(7),
                across_reboot: true,
                paths: Vec::new(),
            },
            covered: vec!["service.restart".into()],
            by: word.clone(),
            by_uid: 1000,
            granted_ms: 0,
            left_ms: 7_140_000,
            uses_left: Some(7),
        }]),
        _ => AdminReply::Done(String::new()),
    });
    (fake, heard)
}

#[test]
fn tables_fit_80_columns() {
    let (fake, _heard) = long_values();
    for args in [
        &["access"][..],
        &["access", "--query", "x"],
        &["history", "--mine"],
        &["jobs"],
        &["grants"],
    ] {
        let mut remit = fake.remit(args);
        remit.env("NO_COLOR", "1");
        let shown = on_a_terminal_of(Some(80), remit);
        assert!(shown.lines().count() > 1, "{args:?} {shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{args:?} {line}");
        }
        assert!(shown.contains('\u{2026}'), "{args:?} {shown}");
        let piped = fake.output(args);
        let widest = piped.text().lines().map(|line| line.chars().count()).max();
        assert!(widest > Some(400), "{args:?} {}", piped.text());
    }
}
