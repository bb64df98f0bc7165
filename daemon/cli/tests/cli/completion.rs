use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, Grantee, NewGrant, PendingView};
use remit_common::names::{JobId, Runtime};
use remit_wire::outcome::{JobSummary, State};
use remit_wire::{AccessReport, CommandView, Effect, Reply, Request};

use crate::fake::{Answer, Directory, Fake, Said, remit};

const JOB: JobId = JobId([0x97; 16]);

fn command(usage: &str, effect: Effect) -> CommandView {
    CommandView {
        usage: usage.into(),
        summary: "a sum\x1b[2Jmary".into(),
        args: vec!["unit: name of a unit".into()],
        effect,
        profile: "read".into(),
        approval: None,
    }
}

fn daemon() -> (Fake, Receiver<AdminRequest>) {
    let fake = Fake::new(|request| match request {
        // A query finds words: no shell asks for those.
        Request::Access(access) if access.query.is_none() => {
            let mut commands = vec![
                command("disks.usage", Effect::Read),
                command("logs [unit=UNIT] [lines=N]", Effect::Read),
                command("service.restart unit=UNIT", Effect::Change),
                command("evil$(touch x) a=B", Effect::Read),
            ];
            commands.retain(|one| match &access.name {
                Some(name) => one.name() == name,
                None => true,
            });
            Answer::Reply(Reply::Access(AccessReport {
                user: "alice".into(),
                uid: 1001,
                grants: Vec::new(),
                asked: None,
                profiles: Vec::new(),
                commands,
                more_commands: 0,
                more_grants: 0,
            }))
        }
        Request::Jobs { .. } => {
            let job = |byte, state| JobSummary {
                job_id: JobId([byte; 16]),
                command: "df -h".into(),
                state,
                exit: None,
                started_ms: 0,
                output_bytes: 0,
            };
            Answer::Reply(Reply::Jobs(vec![
                job(0x97, State::Running),
                job(0x11, State::Exited),
            ]))
        }
        _ => Answer::HangUp,
    });
    let heard = fake.answer_each_administrator(|request| match request {
        AdminRequest::Pending { .. } => AdminReply::Pending {
            state: 1,
            requests: vec![PendingView {
                job: JOB,
                user: "agent".into(),
                uid: 1001,
                command: "service.restart\nunit=x".into(),
                reason: String::new(),
                by: Vec::new(),
                approved_by: Vec::new(),
                missing: 1,
                signed: None,
                yours: true,
                asked_ms: 0,
                left_ms: 1,
                digest: [0; 32],
                set: None,
                behalf: None,
            }],
            omitted: 0,
        },
        AdminRequest::Grants => AdminReply::Grants(vec![ActiveGrant {
            grant: 7,
            new: NewGrant {
                to: Grantee::User {
                    name: "agent".into(),
                    uid: 1001,
                },
                what: "service.restart".into(),
                args: Vec::new(),
                for_s: 60,
                uses: None,
                across_reboot: false,
                paths: Vec::new(),
            },
            covered: vec!["service.restart".into()],
            by: "ann".into(),
            by_uid: 1000,
            granted_ms: 0,
            left_ms: 1,
            uses_left: None,
        }]),
        _ => AdminReply::Done(String::new()),
    });
    (fake, heard)
}

fn bash(dir: &Path, words: &[&str]) -> Vec<String> {
    let words = [&["remit", "--runtime", dir.to_str().unwrap()], words].concat();
    let script = "
        source <(remit completions bash)
        COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_remit remit \"${!#}\" \"\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let bin = Path::new(env!("CARGO_BIN_EXE_remit")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .args(&words)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output();
    let said = Said::from(output.unwrap());
    assert_eq!(said.stderr, "");
    let asks_option = words.last().is_some_and(|word| word.starts_with('-'));
    said.text()
        .lines()
        .filter(|line| !line.is_empty() && line.starts_with('-') == asks_option)
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_what_the_daemon_knows() {
    let (fake, _heard) = daemon();
    let cases: &[(&[&str], &[&str])] = &[
        (&["run", "--name", ""], &["disks.usage", "logs"]),
        (&["run", "--name", "d"], &["disks.usage"]),
        (&["run", "--name", "disks.u"], &["disks.usage"]),
        (&["run", "--name", "logs", ""], &["unit=", "lines="]),
        (&["change", "ser"], &["service.restart"]),
        (&["change", "service.restart", "u"], &["unit="]),
        (&["change", "--name", "s"], &["service.restart"]),
        (&["access", "--name", "s"], &["service.restart"]),
        (&["grant", "agent", "s"], &["service.restart"]),
        (&["show", "9"], &["9797-9797"]),
        (&["approve", ""], &["9797-9797"]),
        (&["deny", "97"], &["9797-9797"]),
        (&["revoke", "7"], &["7"]),
        (&["stop", "9"], &["97979797979797979797979797979797"]),
        (&["stop", "1"], &[]),
        (&["job", "1"], &["11111111111111111111111111111111"]),
        (
            &["audit", "show", "1"],
            &["11111111111111111111111111111111"],
        ),
        (&["gran"], &["grant", "grants"]),
        (&["jobs", "--ru"], &["--running"]),
        (&["host", "mem"], &["memory"]),
        (&["run", "remi"], &["remit"]),
    ];
    for (words, expect) in cases {
        let mut offered = bash(fake.dir(), words);
        if words.first() == Some(&"run") && words.len() == 2 {
            offered.retain(|name| name == "remit");
        }
        assert_eq!(offered, *expect, "{words:?}");
    }
}

#[test]
fn absent_daemon_is_no_error() {
    let away = Directory::new();
    for words in [
        &["show", ""][..],
        &["stop", ""],
        &["revoke", ""],
        &["change", "x"],
        &["run", "--name", "logs", "u"],
    ] {
        assert_eq!(bash(away.path(), words), [""; 0], "{words:?}");
    }
    assert_eq!(bash(away.path(), &["run", "--name", "lo"]), ["logs"]);
}

#[test]
fn silent_daemon_ends_the_wait() {
    let dir = Directory::new();
    let runtime = Runtime::new(dir.path());
    let _socket = UnixListener::bind(runtime.socket()).unwrap();
    let _admin = UnixListener::bind(runtime.admin_socket()).unwrap();
    assert_eq!(bash(dir.path(), &["show", ""]), [""; 0]);
    assert_eq!(bash(dir.path(), &["run", "--name", "lo"]), ["logs"]);
}

#[test]
fn every_shell_gets_harmless_candidates() {
    let (fake, _heard) = daemon();
    for shell in ["bash", "zsh", "fish"] {
        let dir = fake.dir().to_str().unwrap();
        let words = ["remit", "--runtime", dir, "run", "--name", ""];
        let output = Command::new(env!("CARGO_BIN_EXE_remit"))
            .arg("--")
            .args(words)
            .env("REMIT_COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "5")
            .env("_CLAP_IFS", "\n")
            .output();
        let said = Said::from(output.unwrap());
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{shell}"
        );
        let text = said.text();
        assert!(text.contains("disks.usage"), "{shell}: {text}");
        assert!(!text.contains("evil") && !text.contains('\x1b'), "{text:?}");
    }
}

#[test]
fn variable_without_a_script_changes_no_verb() {
    let away = Directory::new();
    for shell in ["bash", "other"] {
        let mut lock = remit(away.path(), &["lock", "-m", "x"]);
        let said = Said::from(lock.env("REMIT_COMPLETE", shell).output().unwrap());
        assert_ne!(said.status, Some(0), "{shell}: {}", said.text());
        assert!(said.stderr.contains("admin.sock"), "{}", said.stderr);
    }
}

/// zsh and fish are not on every machine.
#[test]
fn shells_can_read_their_scripts() {
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let mut script = remit(Path::new("/nonexistent"), &["completions", shell]);
        let said = Said::from(script.output().unwrap());
        assert_eq!(said.status, Some(0), "{shell}");
        let dir = Directory::new();
        let file = dir.path().join("script");
        std::fs::write(&file, &said.stdout).unwrap();
        match Command::new(shell).arg(check).arg(&file).status() {
            Ok(status) => assert!(status.success(), "{shell}"),
            Err(error) => assert!(shell != "bash", "{error}"),
        }
    }
}
