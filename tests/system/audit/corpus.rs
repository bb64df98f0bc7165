//! Hostile text in any field: a record stays one line and belongs to its user. Each job has one end record with its cause
//! and who caused it. A refusal reveals nothing about this machine that the caller did not say.

use std::fs;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminRequest, Grantee, NewGrant};
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_common::text;
use remit_tests::caller::{Caller, argv, at_once, named, run, script, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_m};
use remit_tests::random::{self, TEXTS};
use remit_wire::{Access, Bytes, Purpose, Request, Run, What};
use serde_json::Value;

fn bytes(text: &[u8]) -> Bytes {
    Bytes::from(text.to_vec())
}

/// Reads the raw audit log. Checks for control bytes, and that each line is an object of text fields.
fn read(daemon: &Daemon) -> Vec<Value> {
    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    let raw = text.chars().find(|char| random::is_raw(*char));
    let line = raw.and_then(|raw| text.lines().find(|line| line.contains(raw)));
    assert_eq!((raw, line), (None, None), "it is in the audit log as it is");
    assert!(text.ends_with('\n'));
    let parse = |line| serde_json::from_str(line).expect("each line is JSON");
    let records: Vec<Value> = text.lines().map(parse).collect();
    for record in &records {
        let fields = record.as_object().expect("it is an object");
        assert!(fields.values().all(Value::is_string), "{record}");
        let known = |name: &str| name == "MESSAGE" || name == "MESSAGE_ID" || name == "PRIORITY";
        let is_own_field = |name: &String| {
            let rest = name.strip_prefix("REMIT_");
            known(name) || name == "TIME" || rest.is_some_and(|rest| !rest.starts_with('_'))
        };
        assert!(fields.keys().all(is_own_field), "{record}");
        let priority = record["PRIORITY"].as_str().unwrap_or_default();
        assert!(matches!(priority, "3" | "4" | "5" | "6"), "{record}");
    }
    records
}

fn all_of(records: &[Value], event: &str, uid: u32) -> usize {
    let own = records
        .iter()
        .filter(|record| record["REMIT_EVENT"] == event);
    let uid = uid.to_string();
    own.filter(|record| record["REMIT_UID"] == uid.as_str())
        .count()
}

#[test]
fn no_argument_can_forge_a_record() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    // NUL ends an argument, so no program can receive it.
    let (with_nul, texts): (Vec<&[u8]>, Vec<&[u8]>) =
        TEXTS.into_iter().partition(|text| text.contains(&0));
    for text in &texts {
        let words: [&[u8]; 3] = [b"printf", b"%s", text];
        let what = What::Argv(words.iter().map(|word| bytes(word)).collect());
        let report = caller.run(run(what)).expect("user A has a grant");
        assert_eq!(report.stdout.head.as_slice(), *text, "{}", stdout(&report));
    }
    for text in &with_nul {
        let what = What::Argv(vec![bytes(b"printf"), bytes(text)]);
        caller.run(run(what)).expect_err("it holds a NUL");
    }
    let records = read(&daemon);
    // One record for each event. A forged one would add to the count.
    assert_eq!(all_of(&records, "intent", 64_001), texts.len());
    assert_eq!(all_of(&records, "end", 64_001), texts.len());
    let intents = daemon.records("intent");
    for (intent, sent) in intents.iter().zip(&texts) {
        let words: [&[u8]; 3] = [b"printf", b"%s", sent];
        let expect = text::command_line(&words, 4096);
        assert_eq!(intent["REMIT_ARGV"], expect.as_str());
        let message = intent["MESSAGE"].as_str().unwrap_or_default();
        assert!(message.contains(&expect), "{message} lacks {expect}");
    }
    let others = |record: &&Value| {
        record["REMIT_UID"]
            .as_str()
            .is_some_and(|uid| uid != "64001")
    };
    assert_eq!(records.iter().find(others), None);
    daemon.stop();
}

fn requests(text: &[u8]) -> Vec<Run> {
    let utf8 = String::from_utf8_lossy(text).into_owned();
    let words = vec![bytes(b"true"), bytes(text)];
    vec![
        Run {
            cwd: Some(bytes(text)),
            profile: Some(utf8.clone()),
            request_id: Some(utf8.clone()),
            ..run(What::Argv(words.clone()))
        },
        Run {
            env: vec![(bytes(text), bytes(text))],
            stdin: Some(bytes(text)),
            traceparent: Some(utf8.clone()),
            set: None,
            behalf: None,
            ..run(What::Argv(words))
        },
        run(What::Argv(vec![bytes(text)])),
        run(What::Script {
            text: bytes(text),
            interpreter: Some(bytes(text)),
        }),
        Run {
            purpose: Purpose::Change {
                reason: utf8.clone(),
            },
            ..run(What::Named {
                name: utf8.clone(),
                args: vec![(utf8.clone(), utf8.clone())],
            })
        },
        run(What::Named {
            name: "service.status".into(),
            args: vec![("unit".into(), utf8)],
        }),
    ]
}

#[test]
fn request_fields_cannot_forge_record() {
    let daemon = Daemon::start(Options::default());
    for text in TEXTS {
        let utf8 = String::from_utf8_lossy(text).into_owned();
        let name: String = utf8.chars().take(30).collect();
        let client = daemon.client_named(&user_a(), &name);
        let mut caller = Caller(client.expect("it is let in"));
        for request in requests(text) {
            let _ = caller.run(at_once(request));
        }
        let mut caller = Caller::new(&daemon, &user_a());
        let _ = caller.ask(Request::Access(Access {
            argv: Some(vec![bytes(text)]),
            profile: Some(utf8.clone()),
            name: Some(utf8.clone()),
            query: None,
        }));
    }
    daemon.is_well();
    let records = read(&daemon);
    let known = [64_001, 64_002, 64_003].map(|uid| uid.to_string());
    for record in &records {
        let uid = record["REMIT_UID"].as_str();
        assert!(
            uid.is_none_or(|uid| known.iter().any(|known| known == uid)),
            "{record}"
        );
        let event = record["REMIT_EVENT"].as_str().unwrap_or_default();
        let expected = ["start", "walls", "policy", "intent", "end", "refusal"];
        assert!(expected.contains(&event), "{record}");
    }
    let [refused, started] = ["refusal", "intent"].map(|event| daemon.records(event).len());
    assert!(refused > 100 && started > 20, "{refused} {started}");
    daemon.stop();
}

#[test]
fn administrator_text_cannot_forge_record() {
    let daemon = Daemon::start(Options::default());
    let texts: Vec<&str> = random::texts();
    for text in &texts {
        let why = (*text).to_owned();
        let _ = daemon.administer(AdminRequest::Lock {
            why: why.clone(),
            kill: false,
        });
        let refused = Caller::new(&daemon, &user_a()).run(argv(&["true"]));
        let refused = refused.expect_err("it is locked");
        let raw = refused.message.chars().find(|char| random::is_raw(*char));
        assert_eq!(raw, None, "{refused:?}");
        let _ = daemon.administer(AdminRequest::Unlock);
        let job = JobId([7; 16]);
        let _ = daemon.administer(AdminRequest::Deny {
            job,
            why: why.clone(),
        });
        let _ = daemon.administer(AdminRequest::Show { id: why.clone() });
        let _ = daemon.administer(AdminRequest::Grant {
            new: NewGrant {
                to: Grantee::User {
                    name: why.clone(),
                    uid: 64_001,
                },
                what: why.clone(),
                args: vec![(why.clone(), why)],
                for_s: 60,
                uses: None,
                across_reboot: false,
                paths: Vec::new(),
            },
            accepts_paths: false,
        });
    }
    daemon.is_well();
    let records = read(&daemon);
    let locked = records.iter().filter(|r| r["REMIT_EVENT"] == "lock");
    assert_eq!(locked.count(), texts.len());
    assert_eq!(all_of(&records, "unlock", admin().uid), texts.len());
    assert_eq!(all_of(&records, "intent", 64_001), 0);
    daemon.stop();
}

fn words(refusal: &Refusal) -> String {
    let Refusal {
        code,
        message,
        object,
        by,
        lift,
        next,
    } = refusal;
    let parts = [object, by, lift, next].map(|part| part.clone().unwrap_or_default());
    format!("{code} {message} {}", parts.join(" "))
}

#[test]
fn errors_without_grant_name_no_path() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_m());
    let daemon_dir = daemon.path().display().to_string();
    let secret = format!("{daemon_dir}/state");
    let at = |path: &str| Run {
        cwd: Some(Bytes::from(path.as_bytes().to_vec())),
        ..argv(&["true"])
    };
    let job = JobId([9; 16]);
    let runs = [
        argv(&["id"]),
        argv(&["/usr/sbin/visudo"]),
        script("id"),
        named("service.status", &[("unit", "ssh")]),
        named("site.reload", &[]),
        at(&secret),
        at("/root/no-such-directory"),
        run(What::Argv(Vec::new())),
    ];
    let mut refused: Vec<Refusal> = Vec::new();
    for request in runs {
        let outcome = caller.run(at_once(request));
        refused.push(outcome.expect_err("user M has no grant"));
    }
    for request in [
        Request::Stop { job, signal: None },
        Request::Job(remit_wire::JobQuery {
            job,
            wait_ms: 0,
            part: None,
        }),
    ] {
        refused.push(caller.ask(request).expect_err("it is not theirs"));
    }
    for refusal in &refused {
        let text = words(refusal);
        for path in [
            daemon_dir.as_str(),
            "/var/lib",
            "/run/",
            "/proc",
            "/root",
            "/home",
            "/sys",
        ] {
            assert!(!text.contains(path), "{path} in: {text}");
        }
    }
    assert_eq!(refused[5].message, refused[6].message);
    // Records say more, because they are for administrators.
    let records = daemon.records("refusal");
    assert!(
        records
            .iter()
            .any(|record| record["REMIT_CWD"] == secret.as_str())
    );
    daemon.stop();
}

fn last(daemon: &Daemon, job: JobId) -> Value {
    let id = job.to_string();
    let mut records = daemon.audit();
    records.retain(|record| {
        let event = record["REMIT_EVENT"].as_str().unwrap_or_default();
        record["REMIT_JOB"] == id.as_str() && matches!(event, "end" | "interrupted")
    });
    assert_eq!(records.len(), 1, "{records:#?}");
    records.remove(0)
}

fn says(record: &Value, state: &str, cause: &str) {
    assert_eq!(record["REMIT_STATE"], state, "{record}");
    let found = record["REMIT_CAUSE"].as_str().unwrap_or_default();
    assert!(found.contains(cause), "{cause:?} is not in {found:?}");
    let message = record["MESSAGE"].as_str().unwrap_or_default();
    assert!(message.contains(cause), "{cause:?} is not in {message:?}");
}

fn sleeps(caller: &mut Caller) -> JobId {
    let report = caller.run(at_once(argv(&["sleep", "600"])));
    report.expect("user A has a grant").job
}

fn ended(caller: &mut Caller, run: Run) -> JobId {
    let job = caller.run(run).expect("user A has a grant").job;
    let _ = caller.end_of(job);
    job
}

#[test]
fn end_record_has_cause_and_user() {
    let mut daemon = Daemon::start(Options {
        config: "[output]\nper_job = 65536\n".to_owned(),
        waiting: 4,
        ..Options::default()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let late = Run {
        max_runtime_s: Some(1),
        ..argv(&["sleep", "600"])
    };
    for (run, state, cause) in [
        (argv(&["true"]), "exited", "exited with status 0"),
        (script("exit 3"), "exited", "exited with status 3"),
        (script("kill -SEGV $$"), "signalled", "SIGSEGV"),
        (late, "timed_out", "after 1 s (limit of this call)"),
        (
            argv(&["no-such-program"]),
            "not_started",
            "no program 'no-such-program'",
        ),
        (
            argv(&["yes"]),
            "output_limit",
            "more than 65536 bytes of output",
        ),
    ] {
        let job = ended(&mut caller, run);
        says(&last(&daemon, job), state, cause);
    }

    let job = sleeps(&mut caller);
    caller.stop(job).expect("it is theirs");
    let _ = caller.end_of(job);
    says(&last(&daemon, job), "cancelled", "stopped by its owner");

    let by = |daemon: &Daemon| {
        let locks = daemon.records("lock");
        locks.last().map(|record| record["REMIT_USER"].clone())
    };
    let job = sleeps(&mut caller);
    let stopped = daemon.administer(AdminRequest::Stop { job, signal: None });
    stopped.expect("an administrator may");
    let name = format!("stopped by administrator #{}", admin().uid);
    says(&last(&daemon, job), "cancelled", &name);

    let job = sleeps(&mut caller);
    let why = "a reason".to_owned();
    let locked = daemon.administer(AdminRequest::Lock { why, kill: true });
    locked.expect("an administrator may");
    let _ = caller.end_of(job);
    let name = format!("#{}", admin().uid);
    assert_eq!(by(&daemon), Some(name.as_str().into()));
    says(&last(&daemon, job), "cancelled", &name);
    daemon.administer(AdminRequest::Unlock).expect("they may");

    let job = sleeps(&mut caller);
    daemon.restart_cleanly();
    says(&last(&daemon, job), "interrupted", "remitd was stopped");
    // The kernel names the sender of the signal: this test process.
    let stop = daemon.records("stop").pop().expect("it stopped in order");
    let said = stop["REMIT_CAUSE"].as_str().unwrap_or_default();
    assert!(said.contains("SIGTERM"), "{stop}");
    assert!(
        said.contains(&format!("process {}", std::process::id())),
        "{stop}"
    );

    let mut caller = Caller::new(&daemon, &user_a());
    let job = sleeps(&mut caller);
    daemon.signal(Signal::SIGKILL);
    drop(caller);
    daemon.restart_insistently();
    let record = last(&daemon, job);
    assert_eq!(record["REMIT_EVENT"], "interrupted");
    says(&record, "interrupted", "remitd");
    daemon.stop();
}
