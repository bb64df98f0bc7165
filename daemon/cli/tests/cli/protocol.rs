//! Compares the bytes in remit-protocol(7) with the real ones. Comments in the page mark what is compared in the `.EX`
//! block after each: `.\" bytes: NAME` a dump, `.\" enum: NAME` the numbers of an enum, `.\" caps` the limits.

use std::fmt::Debug;
use std::path::Path;

use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use remit_common::denial::Layer;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};
use remit_wire::host::Section;
use remit_wire::outcome::{Captured, Ending, Enforced, JobReport, State, Stream};
use remit_wire::{
    Bytes, Effect, FromClient, Hello, Kind, PROTOCOL, Purpose, Reply, Request, Run, ToClient, What,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man/remit-protocol.7");
    std::fs::read_to_string(path).unwrap().replace("\\-", "-")
}

fn blocks<'a>(page: &'a str, mark: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    let comment = format!(".\\\" {mark}");
    let mut lines = page.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix(&comment) {
            assert_eq!(lines.next(), Some(".EX"), "after '{line}'");
            let block = lines.by_ref().take_while(|line| *line != ".EE").collect();
            found.push((name.trim(), block));
        }
    }
    found
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes().to_vec())
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let hello = FromClient::Hello(Hello {
        protocol: PROTOCOL,
        client: "remit 0.1.0".into(),
    });
    let welcome = ToClient::Welcome {
        protocol: PROTOCOL,
        release: "0.1.0".into(),
    };
    let plain = Run {
        traceparent: None,
        set: None,
        behalf: None,
        what: What::Argv(vec![bytes("df"), bytes("-h")]),
        cwd: None,
        env: Vec::new(),
        stdin: None,
        profile: None,
        wait_ms: None,
        max_runtime_s: None,
        request_id: None,
        purpose: Purpose::Use,
    };
    let run = FromClient::Call {
        id: 0,
        request: Request::Run(Run {
            env: vec![(bytes("TZ"), bytes("UTC"))],
            wait_ms: Some(300),
            ..plain.clone()
        }),
    };
    let change = FromClient::Call {
        id: 1,
        request: Request::Run(Run {
            what: What::Named {
                name: "web.reload".into(),
                args: vec![("site".into(), "a".into())],
            },
            purpose: Purpose::Change {
                reason: "new TLS".into(),
            },
            ..plain
        }),
    };
    let job = ToClient::Reply {
        id: 0,
        reply: Ok(Reply::Job {
            report: Box::new(report()),
            part: None,
        }),
    };
    let refused = ToClient::Reply {
        id: 0,
        reply: Err(Refusal::new(Code::Locked, "remit is locked")),
    };
    let lock = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request: AdminRequest::Lock {
            why: "incident 7".into(),
            kill: true,
        },
    };
    vec![
        ("hello", encoded(&hello, caps::FRAME)),
        ("welcome", encoded(&welcome, caps::FRAME)),
        ("run", encoded(&run, caps::FRAME)),
        ("change", encoded(&change, caps::FRAME)),
        ("job", encoded(&job, caps::FRAME)),
        ("refused", encoded(&refused, caps::FRAME)),
        ("lock", encoded(&lock, caps::ADMIN_FRAME)),
        (
            "done",
            encoded(&AdminReply::Done("locked".into()), caps::ADMIN_FRAME),
        ),
    ]
}

fn report() -> JobReport {
    JobReport {
        then: Vec::new(),
        denials: Vec::new(),
        job: JobId(*b"0123456789abcdef"),
        command: "df -h".into(),
        state: State::Exited,
        ending: Some(Ending {
            denials: Vec::new(),
            state: State::Exited,
            exit: Some(1),
            signal: None,
            cause: "exited".into(),
            kill_verified: true,
            cpu_usec: 900,
            memory_peak: 65536,
            runtime_ms: 5,
            code: None,
            next: None,
        }),
        started_ms: 1_795_163_148_000,
        waited_ms: 0,
        queue_position: None,
        enforced: Some(Enforced {
            profile: "read".into(),
            uid: 1_879_048_193,
            layers: vec!["uid".into()],
            landlock: 6,
            limits: Vec::new(),
        }),
        stdout: Captured {
            total: 3,
            lines: 1,
            head: bytes("ok\n"),
            tail: Bytes::new(),
        },
        stderr: Captured::default(),
        notes: Vec::new(),
        approval: None,
    }
}

fn encoded(message: &impl Serialize, cap: usize) -> Vec<u8> {
    frame::encode(message, cap).unwrap()
}

/// Parses a dump. Each line has an offset, two spaces, hexadecimal bytes, two spaces, words.
fn dumped(name: &str, block: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in block {
        let (length, rest) = line.split_once("  ").unwrap();
        assert_eq!(length, format!("{:04x}", bytes.len()), "{name}: {line}");
        let dump = rest.split("  ").next().unwrap();
        bytes.extend(
            dump.split(' ')
                .map(|byte| u8::from_str_radix(byte, 16).unwrap()),
        );
    }
    bytes
}

#[test]
fn the_dumps_are_the_messages() {
    let versions = format!("The former is {PROTOCOL}, the latter {ADMIN_PROTOCOL}.\n");
    assert!(page().contains(&versions), "{versions}");
    let page = page();
    let shown: Vec<_> = blocks(&page, "bytes:")
        .into_iter()
        .map(|(name, block)| (name, dumped(name, &block)))
        .collect();
    assert_eq!(shown, messages());
}

fn values<T: DeserializeOwned + Debug>(name: impl Fn(&T) -> String) -> Vec<String> {
    (0..=u8::MAX)
        .map_while(|number| {
            let value: T = frame::decode(&[number]).ok()?;
            Some(format!("{number:>2}  {}", name(&value)))
        })
        .collect()
}

#[test]
fn enum_numbers_match_the_wire() {
    let page = page();
    let expect = [
        ("State", values(|state: &State| state.as_str().to_owned())),
        ("Effect", values(|effect: &Effect| effect.name().to_owned())),
        (
            "Stream",
            values(|stream: &Stream| format!("{stream:?}").to_lowercase()),
        ),
        (
            "Section",
            values(|section: &Section| section.name().to_owned()),
        ),
        ("Code", values(|code: &Code| code.as_str().to_owned())),
        ("Kind", values(|kind: &Kind| kind.as_str().to_owned())),
        ("Layer", values(|layer: &Layer| layer.as_str().to_owned())),
    ];
    let shown = blocks(&page, "enum:");
    assert_eq!(shown.len(), expect.len());
    for ((name, block), (expect_name, values)) in shown.iter().zip(&expect) {
        assert_eq!(name, expect_name);
        assert_eq!(block, values, "{name}");
    }
}

#[test]
fn the_bounds_are_those_of_the_code() {
    let page = page();
    let caps: [(&str, u64); 44] = [
        ("FRAME", caps::FRAME as u64),
        ("ADMIN_FRAME", caps::ADMIN_FRAME as u64),
        ("SHOWN", caps::SHOWN as u64),
        ("ARGV_ELEMENT", caps::ARGV_ELEMENT as u64),
        ("ARGV", caps::ARGV as u64),
        ("ARGV_COUNT", caps::ARGV_COUNT as u64),
        ("SCRIPT", caps::SCRIPT as u64),
        ("STDIN", caps::STDIN as u64),
        ("BUNDLE", caps::BUNDLE as u64),
        ("UPLOAD_PART", caps::UPLOAD_PART as u64),
        ("ENV_COUNT", caps::ENV_COUNT as u64),
        ("ENV_ELEMENT", caps::ENV_ELEMENT as u64),
        ("PATH", caps::PATH as u64),
        ("REQUEST_ID", caps::REQUEST_ID as u64),
        ("CLIENT_NAME", caps::CLIENT_NAME as u64),
        ("NAME", caps::NAME as u64),
        ("NAMED_ARGS", caps::NAMED_ARGS as u64),
        ("NAMED_VALUE", caps::NAMED_VALUE as u64),
        ("SECRET_LEAST", caps::SECRET_LEAST as u64),
        ("REASON", caps::REASON as u64),
        ("PENDING_PER_UID", caps::PENDING_PER_UID as u64),
        ("PENDING", caps::PENDING as u64),
        ("WHY", caps::WHY as u64),
        ("GRANT_S", caps::GRANT_S.into()),
        ("GRANT_USES", caps::GRANT_USES.into()),
        ("GRANTS", caps::GRANTS as u64),
        ("ACCESS_BYTES", caps::ACCESS_BYTES as u64),
        ("ACCESS_FOUND", caps::ACCESS_FOUND as u64),
        ("POLICY_CHANGES", caps::POLICY_CHANGES as u64),
        ("HISTORY_PAGE", caps::HISTORY_PAGE.into()),
        ("DENIALS", caps::DENIALS as u64),
        ("TRACEPARENT", caps::TRACEPARENT as u64),
        ("INLINE_OUTPUT", caps::INLINE_OUTPUT as u64),
        ("PAGE", caps::PAGE as u64),
        ("PATTERN", caps::PATTERN as u64),
        ("GREP_MATCHES", caps::GREP_MATCHES.into()),
        ("GREP_CONTEXT", caps::GREP_CONTEXT.into()),
        ("GREP_LINE", caps::GREP_LINE as u64),
        ("WAIT_MS", caps::WAIT_MS.into()),
        ("RUNTIME_S", caps::RUNTIME_S.into()),
        ("CALLS_PER_SESSION", caps::CALLS_PER_SESSION as u64),
        ("SESSIONS_PER_UID", caps::SESSIONS_PER_UID as u64),
        ("REQUESTS_PER_SECOND", caps::REQUESTS_PER_SECOND.into()),
        ("FRAME_DEADLINE_MS", caps::FRAME_DEADLINE_MS),
    ];
    let blocks = blocks(&page, "caps");
    let [(_, shown)] = blocks.as_slice() else {
        panic!("one table of bounds");
    };
    let begin: Vec<String> = shown
        .iter()
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let expect = caps.map(|(name, value)| format!("{value} {name}"));
    assert_eq!(begin, expect);
}
