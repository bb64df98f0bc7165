//! Well-formed requests that cannot be served, and invalid calls of a model through the shim.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, cause, run, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_wire::outcome::State;
use remit_wire::{Bytes, Run, What};
use serde_json::json;

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::from(bytes.to_vec())
}

fn words(words: Vec<Vec<u8>>) -> Run {
    run(What::Argv(words.into_iter().map(Bytes::from).collect()))
}

#[test]
fn oversized_or_malformed_request_is_refused_with_code() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let element = |length| words(vec![b"true".to_vec(), vec![b'x'; length]]);
    let count = |count| {
        words(
            std::iter::once(b"true".to_vec())
                .chain(vec![b"x".to_vec(); count - 1])
                .collect(),
        )
    };
    let text = |length| What::Script {
        text: bytes(&vec![b'#'; length]),
        interpreter: None,
    };
    let stdin = |length| Run {
        stdin: Some(bytes(&vec![b'x'; length])),
        ..argv(&["true"])
    };
    let env = |name: &str, value: &str| Run {
        env: vec![(bytes(name.as_bytes()), bytes(value.as_bytes()))],
        ..argv(&["true"])
    };
    let cwd = |path: &str| Run {
        cwd: Some(bytes(path.as_bytes())),
        ..argv(&["true"])
    };
    for (name, wanted, expected) in [
        ("no argv", words(vec![]), Some(Code::InvalidArgs)),
        (
            "an empty program",
            words(vec![vec![]]),
            Some(Code::InvalidArgs),
        ),
        (
            "NUL in argv",
            words(vec![b"true".to_vec(), b"a\0b".to_vec()]),
            Some(Code::InvalidArgs),
        ),
        (
            "NUL in the program",
            words(vec![b"tr\0ue".to_vec()]),
            Some(Code::InvalidArgs),
        ),
        // The kernel's limit includes the final NUL.
        (
            "an element at the cap",
            element(caps::ARGV_ELEMENT - 1),
            None,
        ),
        (
            "an element over the cap",
            element(caps::ARGV_ELEMENT),
            Some(Code::TooLarge),
        ),
        ("elements at the cap", count(caps::ARGV_COUNT), None),
        (
            "elements over the cap",
            count(caps::ARGV_COUNT + 1),
            Some(Code::TooLarge),
        ),
        (
            "argv over the cap in all",
            words(vec![vec![b'x'; 100 << 10]; 11]),
            Some(Code::TooLarge),
        ),
        ("a script at the cap", run(text(caps::SCRIPT)), None),
        (
            "a script over the cap",
            run(text(caps::SCRIPT + 1)),
            Some(Code::TooLarge),
        ),
        ("stdin at the cap", stdin(caps::STDIN), None),
        (
            "stdin over the cap",
            stdin(caps::STDIN + 1),
            Some(Code::TooLarge),
        ),
        ("a variable of the grant", env("TZ", "UTC"), None),
        (
            "a variable that no grant permits",
            env("LD_PRELOAD", "/tmp/x.so"),
            Some(Code::DeniedRule),
        ),
        (
            "NUL in a variable",
            env("TZ", "a\0b"),
            Some(Code::InvalidArgs),
        ),
        ("a relative directory", cwd("etc"), Some(Code::InvalidArgs)),
        (
            "NUL in the directory",
            cwd("/etc\0x"),
            Some(Code::InvalidArgs),
        ),
        (
            "an unknown profile",
            Run {
                profile: Some("none".into()),
                ..argv(&["true"])
            },
            Some(Code::DeniedRule),
        ),
        (
            "a request id over the cap",
            Run {
                request_id: Some("x".repeat(caps::REQUEST_ID + 1)),
                ..argv(&["true"])
            },
            Some(Code::TooLarge),
        ),
    ] {
        let got = caller.run(wanted);
        match (&got, expected) {
            (Ok(report), None) => assert_eq!(report.state, State::Exited, "{name}: {report:?}"),
            (Err(refusal), Some(code)) => {
                assert_eq!(refusal.code, code, "{name}: {refusal}");
                assert!(!refusal.message.is_empty(), "{name}");
            }
            _ => panic!("{name}: {got:?}"),
        }
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn unexecutable_program_is_refused_with_reason() {
    let daemon = Daemon::start(Options::default());
    let fixture_dir = daemon.path().join("fixture");
    fs::create_dir(&fixture_dir).expect("the directory is writable");
    let file = |name: &str, content: &str, mode| {
        let path = fixture_dir.join(name);
        fs::write(&path, content).expect("the directory is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
        path.display().to_string()
    };
    let fifo = fixture_dir.join("fifo");
    nix::unistd::mkfifo(
        &fifo,
        nix::sys::stat::Mode::S_IRWXU | nix::sys::stat::Mode::S_IRWXO,
    )
    .expect("it is ours");
    let fifo = fifo.display().to_string();
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let lost = file("lost", "#!/no/such/interpreter\n", 0o755);
    let garbage = file("garbage", "\u{1}\u{2}\u{3}", 0o755);
    let works = file("works", "#!/bin/sh\necho works\n", 0o755);
    let lost_script = |interpreter: &str| {
        run(What::Script {
            text: bytes(b"true"),
            interpreter: Some(bytes(interpreter.as_bytes())),
        })
    };
    let mut caller = Caller::new(&daemon, &user_a());
    assert_eq!(
        stdout(&caller.run(argv(&[&works])).expect("user A has a grant")),
        "works\n"
    );
    for (name, wanted, says) in [
        (
            "no such program",
            argv(&["no-such-program"]),
            "no-such-program",
        ),
        (
            "no such path",
            argv(&["/no/such/program"]),
            "/no/such/program",
        ),
        ("a directory", argv(&["/etc"]), "director"),
        ("a FIFO", argv(&[&fifo]), ""),
        ("a device", argv(&["/dev/null"]), ""),
        ("a file that may not be executed", argv(&[&plain]), ""),
        (
            "a script whose interpreter is missing",
            argv(&[&lost]),
            "interpreter",
        ),
        ("a file that is no program", argv(&[&garbage]), ""),
        (
            "a script for a missing interpreter",
            lost_script("no-such-interpreter"),
            "no-such-interpreter",
        ),
        (
            "a missing directory",
            Run {
                cwd: Some(bytes(b"/no/such/directory")),
                ..argv(&["true"])
            },
            "/no/such/directory",
        ),
        (
            "a closed directory",
            Run {
                cwd: Some(bytes(b"/root")),
                ..argv(&["true"])
            },
            "/root",
        ),
    ] {
        let report = caller
            .run(wanted)
            .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(report.state, State::NotStarted, "{name}: {report:?}");
        assert!(cause(&report).contains(says), "{name}: {}", cause(&report));
        assert_eq!(
            (report.stdout.total, report.stderr.total),
            (0, 0),
            "{name}: {report:?}"
        );
    }
    assert_eq!(
        daemon.records("intent").len(),
        daemon.records("end").len(),
        "an intent without an end"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_request_id_names_one_job() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let with_id = |run: Run| Run {
        request_id: Some("one".into()),
        ..run
    };
    let first = caller
        .run(with_id(script("echo once")))
        .expect("user A has a grant");
    let again = caller
        .run(with_id(script("echo once")))
        .expect("it is the same request");
    assert_eq!((first.job, stdout(&again)), (again.job, "once\n".into()));
    let other = caller
        .run(with_id(script("echo twice")))
        .expect_err("another content");
    assert_eq!(other.code, Code::ConflictRequestId, "{other}");
    // The request id belongs to this user only.
    let foreign = Caller::new(&daemon, &user_b())
        .run(with_id(script("echo twice")))
        .expect("user B has a grant");
    assert_ne!(foreign.job, first.job);
    assert_eq!(daemon.records("intent").len(), 2);
    daemon.stop();
}

#[test]
fn not_yours_and_not_there_answer_alike() {
    let daemon = Daemon::start(Options::default());
    let job = Caller::new(&daemon, &user_a())
        .run(argv(&["true"]))
        .expect("user A has a grant")
        .job;
    let mut other = Caller::new(&daemon, &user_b());
    let nowhere = JobId([7; 16]);
    let text = |refusal: remit_common::refusal::Refusal, id: JobId| {
        assert_eq!(refusal.code, Code::NotFound, "{refusal}");
        format!("{refusal:?}").replace(&id.to_string(), "ID")
    };
    let not_yours = text(other.job(job, 0).expect_err("it is user A's"), job);
    assert_eq!(
        not_yours,
        text(other.job(nowhere, 0).expect_err("there is none"), nowhere)
    );
    let not_yours = text(other.stop(job).expect_err("it is user A's"), job);
    assert_eq!(
        not_yours,
        text(other.stop(nowhere).expect_err("there is none"), nowhere)
    );
    daemon.stop();
}

#[test]
fn unknown_tools_and_arguments_are_refused() {
    let daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    for (name, arguments) in [
        ("no_such_tool", json!({})),
        ("run", json!({ "argv": ["true"], "no_such_argument": 1 })),
        ("run", json!({ "argv": "true" })),
        ("run", json!({ "argv": ["true"], "wait_ms": -1 })),
        ("run", json!({ "argv": ["true"], "wait_ms": "soon" })),
        ("run", json!({ "argv": [1] })),
        ("run", json!({})),
        ("run", json!({ "argv": ["true"], "script": "true" })),
        ("run", json!({ "argv": ["true", "a\u{0}b"] })),
        ("job", json!({ "job_id": "../../etc/passwd" })),
        (
            "job",
            json!({ "job_id": "00000000000000000000000000000000" }),
        ),
        ("job_stop", json!({})),
        ("history", json!({ "before": "x" })),
        ("history", json!({ "limit": 0 })),
        ("host", json!({ "sections": ["secrets"] })),
    ] {
        let params = json!({ "name": name, "arguments": arguments });
        let answer = session.request("tools/call", &params);
        let refused = answer["error"]["code"] == -32602 || answer["result"]["isError"] == true;
        assert!(refused, "{params}: {answer}");
    }
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    assert_eq!(
        session.run(&json!({ "argv": ["echo", "well"] }))["stdout"],
        "well\n"
    );
    assert_eq!(session.close(), Some(0));
    daemon.is_well();
    daemon.stop();
}

#[test]
fn output_that_looks_like_protocol_is_only_output() {
    let daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    let forged = r#"{"jsonrpc":"2.0","id":2,"result":{"isError":false}}"#;
    let result = session.run(&json!({ "argv": ["echo", forged] }));
    assert_eq!(result["stdout"], format!("{forged}\n"));
    let result = session.run(&json!({ "script": "printf 'a\\033[2Jb\\377\\000'" }));
    let shown = result["stdout"].as_str().unwrap_or_default();
    let detail = json!({ "job_id": result["job_id"], "detail": true });
    assert_eq!(
        session.tool("job", &detail)["structuredContent"]["stdout_bytes"],
        8
    );
    assert!(!shown.contains(['\x1b', '\0']), "{shown:?}");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}
