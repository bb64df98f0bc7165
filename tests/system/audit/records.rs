//! Contents of the audit log: each job before its exec and after its end, and its request, with a hash if it is too
//! long for a record or was escaped. Nothing runs while the audit log cannot be written. A valid
//! `traceparent` of a call is in every record of it; anything else is dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b, user_m};
use remit_wire::{Bytes, Run};
use serde_json::{Value, json};

#[test]
fn intent_precedes_job_and_end_follows() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let running = caller
        .run(at_once(argv(&["sleep", "1"])))
        .expect("user A has a grant");
    let intents = daemon.records("intent");
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0]["REMIT_JOB"], running.job.to_string());
    assert_eq!(daemon.records("end").len(), 0);
    let _ = caller.end_of(running.job);
    let ends = daemon.records("end");
    assert_eq!(ends.len(), 1);
    assert_eq!(
        (&ends[0]["REMIT_JOB"], &ends[0]["REMIT_EXIT"]),
        (&intents[0]["REMIT_JOB"], &"0".into())
    );
    daemon.stop();
}

#[test]
fn intent_and_end_share_short_id() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for words in [&["true"][..], &["true"], &["no-such-program"]] {
        let _ = caller.run(argv(words)).expect("user A has a grant");
    }
    let late = Run {
        max_runtime_s: Some(1),
        ..argv(&["sleep", "60"])
    };
    let _ = caller.run(late).expect("user A has a grant");
    let expected = [
        "exited with status 0: true",
        "exited with status 0: true",
        "did not start: there is no program 'no-such-program' in the PATH of jobs: no-such-program",
        "ended after 1 s (limit of this call): sleep 60",
    ];
    let (intents, ends) = (daemon.records("intent"), daemon.records("end"));
    assert_eq!((intents.len(), ends.len()), (4, 4));
    for ((intent, end), expected) in intents.iter().zip(&ends).zip(expected) {
        let job = intent["REMIT_JOB"].as_str().expect("an id");
        assert_eq!(end["REMIT_JOB"], job);
        let (short, user) = (&job[..8], intent["REMIT_USER"].as_str().expect("a name"));
        assert_eq!(
            end["MESSAGE"],
            format!("{user}'s job [{short}] {expected}").as_str()
        );
        let message = intent["MESSAGE"].as_str().expect("a text");
        let start = format!("{user} runs in read [{short}]: ");
        assert!(message.starts_with(&start), "{message}");
    }
    daemon.stop();
}

#[test]
fn refusal_record_has_request_fields_of_intent() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_m());
    let run = Run {
        cwd: Some(Bytes::from(b"/var".to_vec())),
        ..argv(&["df", "-h"])
    };
    caller.run(run).expect_err("user M has no grant");
    caller
        .run(script("echo hi"))
        .expect_err("user M has no grant");
    let lock = daemon.remit(&admin(), &["lock", "-m", "a trial"]);
    assert_eq!(
        String::from_utf8_lossy(&lock.stdout),
        "locked; no job is running\n"
    );
    Caller::new(&daemon, &user_a())
        .run(argv(&["uptime"]))
        .expect_err("it is locked");
    let refusals = daemon.records("refusal");
    let [df, echo, uptime] = refusals.as_slice() else {
        panic!("{refusals:#?}")
    };
    let field = |record: &Value, name: &str| {
        let text = record[name].as_str();
        text.unwrap_or_else(|| panic!("no {name}: {record}"))
            .to_owned()
    };
    for (record, command) in [
        (df, "df -h"),
        (echo, "sh script: echo hi"),
        (uptime, "uptime"),
    ] {
        assert_eq!(field(record, "REMIT_ARGV"), command);
        assert_eq!(field(record, "REMIT_PROFILE"), "read");
        let (message, cause) = (field(record, "MESSAGE"), field(record, "REMIT_CAUSE"));
        let (user, code) = (field(record, "REMIT_USER"), field(record, "REMIT_VERDICT"));
        assert_eq!(
            message,
            format!("{user} was refused ({code}): {cause}: {command}")
        );
    }
    assert_eq!(field(df, "REMIT_CWD"), "/var");
    assert_eq!(field(echo, "REMIT_SCRIPT"), "echo hi");
    let lock = daemon.records("lock");
    assert_eq!(
        (&lock[0]["REMIT_JOBS"], &lock[0]["REMIT_KILL"]),
        (&"0".into(), &"no".into())
    );
    daemon.stop();
}

#[test]
fn rule_format_is_equal_in_intents_and_refusals() {
    let deny = "[[grant]]\nname = \"some\"\nto = [\"#64001\", \"#64002\"]\nallow = [\"run\"]\n\
                [[deny]]\nname = \"not-b\"\nto = [\"#64002\"]\ndeny = [\"run\"]\n";
    let daemon = Daemon::start(Options {
        policy: deny.to_owned(),
        ..Options::default()
    });
    let _ = Caller::new(&daemon, &user_a())
        .run(argv(&["true"]))
        .expect("user A has a grant");
    Caller::new(&daemon, &user_b())
        .run(argv(&["true"]))
        .expect_err("user B has none");
    for (event, rule) in [("intent", "some (/"), ("refusal", "not-b (/")] {
        let record = &daemon.records(event)[0];
        let found = record["REMIT_RULE"].as_str().expect("a rule");
        assert!(found.starts_with(rule), "{found}");
    }
    daemon.stop();
}

#[test]
fn record_has_hash_of_previous_record() {
    let mut daemon = Daemon::start(Options::default());
    for _ in 0..2 {
        let _ = Caller::new(&daemon, &user_a())
            .run(argv(&["true"]))
            .expect("user A has a grant");
        daemon.restart_cleanly();
    }
    let records = daemon.audit();
    assert!(records.len() > 8, "{} records", records.len());
    for pair in records.windows(2) {
        assert_eq!(pair[1]["REMIT_PREV"], pair[0]["REMIT_HASH"], "{pair:?}");
        let number = |record: &Value| {
            record["REMIT_SEQ"]
                .as_str()
                .and_then(|seq| seq.parse::<u64>().ok())
        };
        assert_eq!(
            number(&pair[1]),
            number(&pair[0]).map(|seq| seq + 1),
            "{pair:?}"
        );
    }
    daemon.stop();
}

#[test]
fn secrets_are_not_in_audit_log() {
    let daemon = Daemon::start(Options::default());
    let secret = "canary-8b1f7c";
    let run = Run {
        env: vec![(
            Bytes::from(b"TZ".to_vec()),
            Bytes::from(secret.as_bytes().to_vec()),
        )],
        stdin: Some(Bytes::from(secret.as_bytes().to_vec())),
        ..script("cat; echo $TZ >&2")
    };
    let report = Caller::new(&daemon, &user_a())
        .run(run)
        .expect("user A has a grant");
    assert_eq!(stdout(&report), secret);
    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    assert!(
        text.contains("echo $TZ"),
        "the script is recorded by its beginning: {text}"
    );
    assert!(
        !text.contains(secret) && !daemon.stderr().contains(secret),
        "{text}"
    );
    daemon.stop();
}

fn sha256(daemon: &Daemon, bytes: &[u8]) -> String {
    let file = daemon.path().join("hashed");
    fs::write(&file, bytes).expect("the directory is writable");
    let output = Command::new("sha256sum").arg(&file).output();
    let output = output.expect("coreutils are there");
    String::from_utf8_lossy(&output.stdout[..64]).into_owned()
}

#[test]
fn long_arguments_are_truncated_and_hashed_in_record() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "x".repeat(100 << 10);
    let rows: [&[&str]; 4] = [
        &["true", &long, &long, &long],
        &["true", "a\nb"],
        &["true", "a\\nb"],
        &["true", "plain words"],
    ];
    for words in rows {
        let _ = caller.run(argv(words)).expect("it is granted");
    }
    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 64 << 10, "{longest} bytes");
    let intents = daemon.records("intent");
    for (intent, words) in intents.iter().zip(rows) {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| format!("{word}\0").into_bytes())
            .collect();
        let is_exact = words
            .iter()
            .all(|word| word.len() < 100 && !word.contains('\n'));
        if is_exact {
            assert!(intent["REMIT_ARGV_SHA256"].is_null(), "{intent}");
            continue;
        }
        assert_eq!(intent["REMIT_ARGV_BYTES"], bytes.len().to_string().as_str());
        assert_eq!(
            intent["REMIT_ARGV_SHA256"],
            sha256(&daemon, &bytes).as_str()
        );
    }
    // A newline and its escaped form look the same, but their hashes differ.
    assert_eq!(intents[1]["REMIT_ARGV"], intents[2]["REMIT_ARGV"]);
    assert!(intents[1]["REMIT_ARGV_SHA256"].is_string());
    daemon.stop();
}

#[test]
fn unwritable_audit_log_refuses_every_run() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let file = daemon.path().join("state/audit.jsonl");
    let moved = daemon.path().join("moved.jsonl");
    let proof = daemon.path().join("ran");
    fs::create_dir(&proof).expect("the directory is writable");
    fs::set_permissions(&proof, fs::Permissions::from_mode(0o777)).expect("it is ours");
    // The path is taken by a directory, a link, or a pipe without a reader.
    let pipe = |path: &std::path::Path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)
            .expect("the directory is writable");
    };
    let in_the_way: [(&str, &dyn Fn()); 3] = [
        ("a directory", &|| {
            fs::create_dir(&file).expect("the directory is writable")
        }),
        ("a link", &|| {
            std::os::unix::fs::symlink("/dev/null", &file).expect("the directory is writable");
        }),
        ("a pipe", &|| pipe(&file)),
    ];
    for (what, make) in in_the_way {
        let intents = daemon.records("intent").len();
        fs::rename(&file, &moved).expect("it is there");
        make();
        let refusal = caller.run(argv(&["true"])).expect_err(what);
        assert_eq!(refusal.code, Code::NotStarted, "{what}: {refusal}");
        assert!(
            refusal
                .message
                .contains("not started, because it cannot be recorded"),
            "{what}: {refusal}"
        );
        if fs::remove_file(&file).is_err() {
            fs::remove_dir(&file).expect("it is empty");
        }
        fs::rename(&moved, &file).expect("it is there");
        let report = caller.run(argv(&["echo", "again"])).expect(what);
        assert_eq!(stdout(&report), "again\n");
        assert_eq!(daemon.records("intent").len(), intents + 1, "{what}");
        daemon.is_well();
    }
    daemon.stop();
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn claimed(daemon: &Daemon, event: &str) -> Vec<Value> {
    let records = daemon.records(event);
    records
        .iter()
        .map(|record| record["REMIT_TRACEPARENT"].clone())
        .collect()
}

#[test]
fn every_record_of_a_request_has_its_trace() {
    let daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    for (argv, traceparent) in [
        (json!(["true"]), TRACE.to_owned()),
        (json!(["true"]), TRACE.to_uppercase()),
        (json!(["true"]), format!("{TRACE}\nREMIT_UID=0")),
    ] {
        let params = json!({
            "name": "run",
            "arguments": {"argv": argv},
            "_meta": {"traceparent": traceparent},
        });
        let answer = session.request("tools/call", &params);
        assert_eq!(answer["result"]["isError"], false, "{answer}");
    }
    let refused = json!({
        "name": "run",
        "arguments": {"argv": ["true"], "profile": "none-such"},
        "_meta": {"traceparent": TRACE},
    });
    let answer = session.request("tools/call", &refused);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    for event in ["intent", "end"] {
        let expect = [json!(TRACE), Value::Null, Value::Null];
        assert_eq!(claimed(&daemon, event), expect, "{event}");
    }
    assert_eq!(claimed(&daemon, "refusal"), [json!(TRACE)]);
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn set_of_a_call_is_recorded_or_refused() {
    let daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    let set = "0123456789abcdef".repeat(2);
    let mut call = |set: Value| {
        let params = json!({
            "name": "run", "arguments": {"argv": ["true"]}, "_meta": {"remit/set": set},
        });
        session.request("tools/call", &params)["result"].clone()
    };
    assert_eq!(call(json!(set))["isError"], false);
    for wrong in [
        json!(set.to_uppercase()),
        json!(format!("{set}\nREMIT_UID=0")),
        json!(7),
    ] {
        let result = call(wrong);
        let error = &result["structuredContent"]["error"];
        assert_eq!(error["code"], "invalid_args", "{result}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("'remit/set' in _meta: "), "{message}");
    }
    let intents = daemon.records("intent");
    let sets: Vec<_> = intents.iter().map(|one| one["REMIT_SET"].clone()).collect();
    assert_eq!(sets, [json!(set)]);
    daemon.stop();
}

#[test]
fn daemon_validates_traceparent_of_custom_client() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for claim in [
        TRACE.to_owned(),
        "x\nREMIT_UID=0".to_owned(),
        "x".repeat(1 << 20),
    ] {
        let run = Run {
            traceparent: Some(claim),
            set: None,
            behalf: None,
            ..argv(&["true"])
        };
        caller.run(run).expect("a claim that is none is no mistake");
    }
    assert_eq!(
        claimed(&daemon, "intent"),
        [json!(TRACE), Value::Null, Value::Null]
    );
    daemon.stop();
}
