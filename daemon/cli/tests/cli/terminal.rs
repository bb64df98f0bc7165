//! What reaches a terminal.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use nix::pty::openpty;
use remit_common::outcome::{JobReport, Place, State};
use remit_common::wire::{AccessReport, Reply, Request};

use crate::fake::{Answer, Fake, ended, exited, followed, job, long, paged, reply, running};

/// Runs it with stdout and stderr on a terminal, and gives what that terminal got.
fn on_a_terminal(mut command: Command) -> String {
    let pty = openpty(None, None).unwrap();
    let stderr = pty.slave.try_clone().unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(pty.slave)
        .stderr(stderr)
        .spawn()
        .unwrap();
    drop(command); // with it go our copies of the slave
    let mut got = Vec::new();
    let mut master = File::from(pty.master);
    let mut chunk = [0; 4096];
    // Linux answers EIO when the last slave has gone (pty(7)).
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
        enforced.walls = vec![evil.into()];
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
fn a_job_that_waits_tells_its_place() {
    let at = |position| Place { position, of: 7 };
    let queued = JobReport {
        state: State::Queued,
        place: Some(at(5)),
        ..running()
    };
    let fake = Fake::new(move |request| {
        let end = exited(0, b"done\n", b"");
        let answer = match request {
            Request::Run(_) => return reply(queued.clone()),
            Request::Follow(_) => followed(&end, [b"done\n", b""], request),
            _ => reply(end),
        };
        // That it was told less than a second ago is not told again, changed or not.
        Answer::Waiting(at(5), Box::new(Answer::Waiting(at(4), Box::new(answer))))
    });
    let told = "remit: waiting for a place: 5th of 7\n";
    let shown = on_a_terminal(fake.remit(&["run", "x"]));
    assert_eq!(shown, format!("{told}done\n"));
    let json = on_a_terminal(fake.remit(&["run", "--json", "x"]));
    assert!(json.starts_with(&format!("{told}{{")), "{json}");
    // A log gets none of it.
    assert_eq!(fake.output(&["run", "x"]).stderr, "");
}
