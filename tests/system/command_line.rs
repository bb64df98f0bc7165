//! `remit` in a shell and on a terminal of 80 columns, against a real daemon.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use nix::pty::{Winsize, openpty};
use remit_tests::caller::{Caller, argv, script};
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP, admin, stranger, user_a, user_m};
use remit_tests::process::Identity;
use serde_json::Value;

fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stderr_lines(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stderr).lines().count()
}

#[test]
fn exit_status_is_command_status_or_reason() {
    let daemon = Daemon::start(Options {
        limits: "runtime_s = 2".into(),
        ..Options::default()
    });
    for (arguments, expected, says) in [
        (&["run", "--", "sh", "-c", "exit 7"][..], 7, ""),
        (&["run", "--", "true"], 0, ""),
        (&["run", "--script", "exit 8"], 8, ""),
        (&["run", "--", "sh", "-c", "kill -9 $$"], 128 + 9, "signal"),
        (&["run", "--", "sleep", "1000"], 124, "time"),
        (&["run", "--", "no-such-program"], 127, "no-such-program"),
        (&["run", "--", "/etc"], 126, "/etc"),
        (
            &["run", "--profile", "no-such-profile", "--", "true"],
            125,
            "no-such-profile",
        ),
    ] {
        let output = daemon.remit(&user_a(), arguments);
        assert_eq!(status(&output), expected, "{arguments:?}: {output:?}");
        let lines = usize::from(!says.is_empty());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            text.contains(says) && stderr_lines(&output) >= lines,
            "{arguments:?}: {text}"
        );
        assert!(
            says.is_empty() || stderr_lines(&output) <= 3,
            "{arguments:?}: {text}"
        );
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn user_without_permission_gets_reason() {
    let daemon = Daemon::start(Options::default());
    let refused = daemon.remit(&user_m(), &["run", "--", "true"]);
    assert_eq!(status(&refused), 125, "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("denied_rule"),
        "{refused:?}"
    );
    let kept_out = daemon.remit(&stranger(), &["run", "--", "true"]);
    assert_eq!(status(&kept_out), 77, "{kept_out:?}");
    assert!(
        String::from_utf8_lossy(&kept_out.stderr).contains("may not connect"),
        "{kept_out:?}"
    );
    daemon.stop();
}

#[test]
fn streams_are_separate_and_json_is_one_object() {
    let daemon = Daemon::start(Options::default());
    let output = daemon.remit(
        &user_a(),
        &["run", "--script", "echo out; echo err >&2; exit 3"],
    );
    assert_eq!(
        (status(&output), output.stdout.as_slice()),
        (3, &b"out\n"[..]),
        "{output:?}"
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("err\n"),
        "{output:?}"
    );
    let output = daemon.remit(&user_a(), &["--json", "run", "--", "echo", "text"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(
        (&json["stdout"], &json["exit"], &json["state"]),
        (&"text\n".into(), &0.into(), &"exited".into())
    );
    assert!(
        json["enforced"]["walls"]
            .as_array()
            .is_some_and(|layers| layers.len() > 5),
        "{json}"
    );
    daemon.stop();
}

#[test]
fn reload_reports_policy_state() {
    let daemon = Daemon::start(Options::default());
    let root = Identity::new(0, &[]);
    let good = daemon.remit(&root, &["policy", "reload"]);
    assert_eq!(status(&good), 0, "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("is in force"));
    daemon.set_file("config/policy.d/20-broken.toml", "[[grant]]\nalow = 1\n");
    let broken = daemon.remit(&root, &["policy", "reload"]);
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(status(&broken), 125, "{broken:?}");
    assert!(said.contains("20-broken.toml:"), "{said}");
    let run = daemon.remit(&user_a(), &["run", "--", "true"]);
    assert_eq!(status(&run), 0, "{run:?}");
    let records = daemon.records("policy");
    let verdicts: Vec<_> = records.iter().map(|r| &r["REMIT_VERDICT"]).collect();
    assert_eq!(verdicts, ["loaded", "refused"]);
    assert!(records.iter().all(|record| record["REMIT_UID"] == "0"));
    daemon.stop();
}

#[test]
fn access_shows_lock_and_refusal_names_closed_client() {
    let daemon = Daemon::start(Options::default());
    let root = Identity::new(0, &[]);
    let lock = daemon.remit(&root, &["lock", "-m", "a test"]);
    assert_eq!(status(&lock), 0, "{lock:?}");
    let access = daemon.remit(&user_a(), &["access", "ls"]);
    assert_eq!(status(&access), 125, "{access:?}");
    assert!(String::from_utf8_lossy(&access.stdout).contains("a test"));
    for _ in 0..20 {
        let unknown = daemon.remit(&user_a(), &["job", &"0".repeat(32)]);
        assert_eq!(status(&unknown), 125, "{unknown:?}");
    }
    assert_eq!(status(&daemon.remit(&root, &["unlock"])), 0);
    daemon.is_well();
    let refusals = daemon.records("refusal");
    assert!(!refusals.is_empty());
    let named = user_a().uid.to_string();
    assert!(
        refusals
            .iter()
            .all(|record| record["REMIT_UID"] == named.as_str()),
        "{refusals:?}"
    );
    daemon.stop();
}

const CHANGE: &str = r##"
[[command]]
name = "note.take"
summary = "Take a note"
argv = ["/usr/bin/printf", "%s\n", "{words}"]
effect = "change"
profile = "read"
args.words = { type = "string", pattern = "(?s).*", max = 4096 }

[[grant]]
name = "notes"
to = ["#1"]
allow = ["note.*"]
effect = "change"
approval = { by = ["#0"], expires = "10min" }
"##;

#[test]
fn change_is_approved_from_another_shell() {
    let options = Options::default();
    let policy = options.policy.clone() + CHANGE;
    let daemon = Daemon::start(Options { policy, ..options });
    let root = Identity::new(0, &[]);
    // An account that every machine has, because a request ends with its requester's account.
    let asker = Identity::new(1, &[SOCKET_GROUP]);
    let json = |user: &Identity, arguments: &[&str]| -> Value {
        let output = daemon.remit(user, &[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let nasty = "words=tonight\n  digest      : 00000000 \x1b[2J\u{202e}";
    let ask = [
        "change",
        "note.take",
        nasty,
        "--reason",
        "for\x1b[1A the log",
        "--no-wait",
    ];
    let asked = json(&asker, &ask);
    assert_eq!(asked["state"], "awaiting_approval", "{asked}");
    let (id, digest) = (&asked["job_id"], &asked["approval"]["digest"]);
    let (id, digest) = (
        id.as_str().expect("an id"),
        digest.as_str().expect("a digest"),
    );
    let short = format!("{}-{}", &id[..4], &id[4..8]);
    assert_eq!(asked["approval"]["line"], format!("remit approve {short}"));
    let listed = json(&root, &["pending"]);
    assert_eq!(
        (
            &listed["requests"][0]["digest"],
            &listed["requests"][0]["yours"]
        ),
        (&digest.into(), &true.into()),
        "{listed}"
    );
    let page = daemon.remit(&root, &["show", &short]).stdout;
    let page = String::from_utf8(page).expect("text");
    assert!(
        !page.contains(['\x1b', '\u{202e}']) && page.lines().all(|line| line.chars().count() <= 80),
        "{page}"
    );
    let begin = format!("\n  digest      : {} ", &digest[..8]);
    assert_eq!(page.matches("\n  digest ").count(), 1, "{page}");
    assert!(page.contains(&begin), "{page}");

    let own = daemon.remit(&asker, &["approve", id, "--digest", digest]);
    assert_eq!(status(&own), 77, "{own:?}");
    let other = daemon.remit(&root, &["approve", id, "--digest", &"0".repeat(64)]);
    assert_eq!(status(&other), 125, "{other:?}");

    let approved = daemon.remit(&root, &["approve", &short, "--digest", digest]);
    assert_eq!(status(&approved), 0, "{approved:?}");
    let result = json(&asker, &["job", id, "--wait"]);
    assert_eq!(
        (&result["exit"], result["stdout"].as_str()),
        (
            &0.into(),
            Some("tonight\n  digest      : 00000000 \\x1b[2J\\u{202e}\n")
        ),
        "{result}"
    );
    let again = daemon.remit(&root, &["approve", id, "--digest", digest]);
    assert_eq!(status(&again), 125, "once is once: {again:?}");

    let next = json(&asker, &ask);
    let id = next["job_id"].as_str().expect("an id");
    let denied = daemon.remit(&root, &["deny", id, "-m", "not before the weekend"]);
    assert_eq!(status(&denied), 0, "{denied:?}");
    let output = daemon.remit(&asker, &["job", id, "--follow"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(status(&output), 125, "{message}");
    assert!(
        message.contains("the job was not approved: denied by ")
            && message.contains(": not before the weekend"),
        "{message}"
    );
    daemon.is_well();
    daemon.stop();
}

const COLUMNS: u16 = 80;

/// Returns what `remit` prints on a terminal.
fn shown(daemon: &Daemon, user: &Identity, arguments: &[&str]) -> String {
    let size = Winsize {
        ws_row: 24,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(&size, None).unwrap();
    let mut command = Command::new(daemon.program("remit"));
    command
        .arg("--runtime")
        .arg(daemon.runtime().dir())
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(pty.slave.try_clone().unwrap())
        .stderr(pty.slave);
    user.runs(&mut command);
    let mut child = command.spawn().unwrap();
    drop(command); // also closes our copies of the slave
    let mut text = Vec::new();
    // Linux returns EIO after the last slave is closed (pty(7)).
    let _ = File::from(pty.master).read_to_end(&mut text);
    let status = child.wait().unwrap();
    let text = String::from_utf8(text).unwrap().replace("\r\n", "\n");
    assert!(status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn tables_fit_the_terminal() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "word-of-a-long-command ".repeat(20);
    caller.run(argv(&["echo", long.as_str()])).unwrap();
    caller.run(script("exit 7")).unwrap();
    let _ = caller.run(argv(&[&"no-such-program-".repeat(12)]));
    let config = daemon.path().join("config");
    let config = config.to_str().unwrap();
    let state = daemon.path().join("state");
    let audit_log = state.join("audit.jsonl");
    let audit = ["audit", "show", "--config", config, "--file"];
    let audit = [&audit[..], &[audit_log.to_str().unwrap()]].concat();
    let cases: &[(Identity, &[&str], usize)] = &[
        (user_a(), &["jobs", "--mine"], 4),
        (admin(), &["jobs"], 4),
        (user_a(), &["access"], 4),
        (user_a(), &["access", "--query", "disk"], 1),
        (user_a(), &["history", "--mine"], 4),
        (admin(), &["history", "--all"], 4),
        (admin(), &["grants"], 1),
        (admin(), &["pending"], 1),
        (admin(), &["status"], 10),
        (user_a(), &["host"], 20),
        (Identity::new(0, &[]), &audit, 4),
        (user_a(), &["--help"], 40),
    ];
    for (user, arguments, least) in cases {
        let text = shown(&daemon, user, arguments);
        assert!(text.lines().count() >= *least, "{arguments:?}: {text}");
        for line in text.lines() {
            assert!(
                line.chars().count() <= usize::from(COLUMNS),
                "{arguments:?}: {line}"
            );
        }
    }
    daemon.stop();
}

/// Without arguments it attacks the machine.
#[test]
fn demo_with_an_argument_does_nothing() {
    for argument in ["--help", "x"] {
        let demo = Command::new(env!("CARGO_BIN_EXE_remit-demo"))
            .arg(argument)
            .output();
        let demo = demo.unwrap();
        assert_eq!((status(&demo), stderr_lines(&demo)), (64, 1), "{demo:?}");
        assert!(demo.stdout.is_empty(), "{demo:?}");
    }
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for (program, expected) in [("remitd", 71), ("remit", 74)] {
        let full = File::create("/dev/full").expect("each machine has it");
        let mut command = Command::new(remit_tests::test_dir::built().join(program));
        let output = command
            .arg("--help")
            .stdout(full)
            .output()
            .expect("it was built");
        assert_eq!(status(&output), expected, "{program}: {output:?}");
    }
}
