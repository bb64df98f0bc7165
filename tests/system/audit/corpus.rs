//! Hostile text in any field: a record stays one line and belongs to its user.

use std::fs;

use remit_common::admin::{AdminRequest, Grantee, NewGrant};
use remit_common::names::JobId;
use remit_common::text;
use remit_tests::caller::{Caller, argv, at_once, run, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_tests::hostile::{self, TEXTS};
use remit_wire::{Access, Bytes, Purpose, Request, Run, What};
use serde_json::Value;

fn bytes(text: &[u8]) -> Bytes {
    Bytes::from(text.to_vec())
}

/// Reads the raw audit log. Checks for control bytes, and that each line is an object of text fields.
fn read(daemon: &Daemon) -> Vec<Value> {
    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    let raw = text.chars().find(|char| hostile::is_raw(*char));
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
    let texts: Vec<&str> = hostile::texts();
    for text in &texts {
        let why = (*text).to_owned();
        let _ = daemon.administer(AdminRequest::Lock {
            why: why.clone(),
            kill: false,
        });
        let refused = Caller::new(&daemon, &user_a()).run(argv(&["true"]));
        let refused = refused.expect_err("it is locked");
        let raw = refused.message.chars().find(|char| hostile::is_raw(*char));
        assert_eq!(raw, None, "{refused:?}");
        let _ = daemon.administer(AdminRequest::Unlock);
        let job = JobId([7; 16]);
        let _ = daemon.administer(AdminRequest::Deny {
            job,
            why: why.clone(),
        });
        let _ = daemon.administer(AdminRequest::Show { id: why.clone() });
        let _ = daemon.administer(AdminRequest::Grant(NewGrant {
            to: Grantee::User {
                name: why.clone(),
                uid: 64_001,
            },
            what: why.clone(),
            args: vec![(why.clone(), why)],
            for_s: 60,
            uses: None,
            across_reboot: false,
        }));
    }
    daemon.is_well();
    let records = read(&daemon);
    let locked = records.iter().filter(|r| r["REMIT_EVENT"] == "lock");
    assert_eq!(locked.count(), texts.len());
    assert_eq!(all_of(&records, "unlock", admin().uid), texts.len());
    assert_eq!(all_of(&records, "intent", 64_001), 0);
    daemon.stop();
}
