//! Compares the bytes in remit-protocol(7) with the real ones. Comments in the page mark what is compared in the `.EX`
//! block after each: `.\" bytes: NAME` a dump, `.\" enum: NAME` the numbers of an enum, `.\" caps` the limits. Structures
//! are compared with their source.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use remit_approval::{AnswerHead, CheckEnd, Context, Loose, Now, Unbound};
use remit_common::admin::{
    ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest, AnyJob, AuditHead, Grantee, NewGrant,
    PendingView,
};
use remit_common::denial::Layer;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::Signed;
use remit_common::{caps, frame};
use remit_policy::Profile;
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
    let plain = Run::new(What::Argv(vec![bytes("df"), bytes("-h")]), Purpose::Use);
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
    let lock = AdminRequest::Lock {
        why: "incident 7".into(),
        kill: true,
    };
    let confirm = AdminRequest::Confirm {
        id: Some("7f3a91c2".into()),
    };
    vec![
        ("hello", encoded(&hello, caps::FRAME)),
        ("welcome", encoded(&welcome, caps::FRAME)),
        ("run", encoded(&run, caps::FRAME)),
        ("change", encoded(&change, caps::FRAME)),
        ("job", encoded(&job, caps::FRAME)),
        ("refused", encoded(&refused, caps::FRAME)),
        ("lock", asked(lock)),
        ("done", answered(&AdminReply::Done("locked".into()))),
        ("grant", asked(grant())),
        ("confirm", asked(confirm)),
        (
            "job-of-any",
            answered(&AdminReply::Job(Box::new(any_job()))),
        ),
        ("answer", answer_head().encode()),
    ]
}

fn asked(request: AdminRequest) -> Vec<u8> {
    let protocol = ADMIN_PROTOCOL;
    encoded(&AdminCall { protocol, request }, caps::ADMIN_FRAME)
}

fn answered(reply: &AdminReply) -> Vec<u8> {
    encoded(reply, caps::ADMIN_FRAME)
}

fn grant() -> AdminRequest {
    AdminRequest::Grant {
        new: NewGrant {
            to: Grantee::User {
                name: "agent".into(),
                uid: 1001,
            },
            what: "service.restart".into(),
            args: vec![("unit".into(), "nginx.service".into())],
            for_s: 7200,
            uses: Some(5),
            across_reboot: false,
            paths: Vec::new(),
        },
        accepts_paths: false,
    }
}

fn any_job() -> AnyJob {
    AnyJob {
        job: JobId(*b"0123456789abcdef"),
        user: "agent".into(),
        uid: 1001,
        command: "plan.commit".into(),
        state: State::Exited,
        exit: Some(0),
        cause: None,
        unconfirmed: Some("undone by itself at 12:00".into()),
        started_ms: 1_795_163_148_000,
        runtime_ms: 40,
        kill_verified: Some(true),
        then: Vec::new(),
    }
}

fn answer_head() -> AnswerHead {
    let pending = PendingView {
        job: JobId(*b"0123456789abcdef"),
        user: "agent".into(),
        uid: 1001,
        command: "web.reload".into(),
        reason: "new TLS".into(),
        by: vec!["ann".into()],
        approved_by: Vec::new(),
        missing: 1,
        signed: Some(Signed::Touch),
        yours: true,
        asked_ms: 1_795_163_148_000,
        left_ms: 840_000,
        digest: [0xd1; 32],
        set: None,
        behalf: None,
    };
    let context = Context {
        pending,
        loginuid: Some(1001),
        peer: "pid 77".into(),
        client: "remit 0.1.0".into(),
        summary: "reload a site".into(),
        profile: Profile {
            summary: "no sandbox".into(),
            ..Profile::host()
        },
        runtime_source: "remit.toml".into(),
        usual_runtime_s: None,
        is_own_program: false,
        loose: [Loose::Argument(1, Unbound::Changeable)].into(),
        today: [(2, Now::Same)].into(),
        required: vec!["a.b ended".into()],
        checks: vec![CheckEnd {
            is_well: true,
            text: "exit 0".into(),
        }],
        host_jobs: vec!["a job".into()],
        acts: Vec::new(),
        head: AuditHead {
            seq: 300,
            hash: [0xa5; 32],
        },
    };
    AnswerHead {
        context,
        request: 900,
        contents: vec![12],
        is_withheld: false,
    }
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

/// Where the structures of the page are defined.
const SOURCES: [&str; 10] = [
    "common/src/admin.rs",
    "common/src/admin/grants.rs",
    "common/src/outcome.rs",
    "common/src/refusal.rs",
    "common/src/wire.rs",
    "daemon/approval/src/lib.rs",
    "daemon/policy/src/model/machine.rs",
    "daemon/policy/src/model/profile.rs",
    "wire/src/outcome.rs",
    "wire/src/host/mod.rs",
];

/// Splits at the commas that are in no bracket.
fn items(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(|c: char| {
        depth += i32::from("([{<".contains(c)) - i32::from(")]}>".contains(c));
        c == ',' && depth == 0
    });
    parts
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

/// Returns a type of the code as the page writes it.
fn type_on_page(code: &str) -> String {
    let of = |outer: &str| code.strip_prefix(outer)?.strip_suffix('>').map(items);
    let many = |types: &[&str]| {
        let types: Vec<_> = types.iter().map(|one| type_on_page(one)).collect();
        types.join(", ")
    };
    if let Some(inner) = of("Box<") {
        return many(&inner);
    }
    if let Some(inner) = of("Option<") {
        return format!("option {}", many(&inner));
    }
    if let Some(inner) = of("Vec<").or_else(|| of("BTreeSet<")) {
        return format!("list of {}", many(&inner));
    }
    if let Some(inner) = of("BTreeMap<") {
        return format!("list of ({})", many(&inner));
    }
    if let Some(inner) = code.strip_prefix('(') {
        return format!("({})", many(&items(inner.trim_end_matches(')'))));
    }
    if let Some(length) = code.strip_prefix("[u8; ") {
        return format!("{} bytes", length.trim_end_matches(']'));
    }
    let named = match code {
        "String" | "Behalf" => "text",
        "Bytes" => "bytes",
        "JobId" | "SetId" => "16 bytes",
        "usize" => "u64",
        "OutputPart" => "Part",
        "Gap" => "(fact: text, why: text)",
        other => other,
    };
    named.to_owned()
}

/// Returns what is between the braces of a definition, without its comments.
fn body(source: &str, head: &str) -> Option<String> {
    let start = source.find(&format!("pub {head} {{\n"))?;
    let lines = source[start..].lines();
    let indent = source[..start].chars().rev().take_while(|c| *c == ' ');
    let end = format!("{}}}", indent.collect::<String>());
    let lines = lines.skip(1).take_while(|line| *line != end);
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    Some(code.collect::<Vec<_>>().join(" "))
}

/// Returns a field or a variant of the code without its attributes, and the name that it has in JSON if that differs.
fn bare(mut item: &str) -> (&str, Option<&str>) {
    let mut renamed = None;
    while let Some((attribute, rest)) = item.strip_prefix("#[").and_then(|of| of.split_once(']')) {
        let name = attribute.strip_prefix("serde(rename = \"");
        renamed = renamed.or(name.and_then(|name| name.strip_suffix("\")")));
        item = rest.trim_start();
    }
    (item, renamed)
}

fn fields_on_page(body: &str) -> Vec<String> {
    let field = |item| {
        let (item, renamed) = bare(item);
        let (name, of) = item.trim_start_matches("pub ").split_once(": ").unwrap();
        format!("{}: {}", renamed.unwrap_or(name), type_on_page(of))
    };
    items(body).into_iter().map(field).collect()
}

fn variants_on_page(body: &str) -> Vec<String> {
    let variant = |(number, item)| {
        let (item, _) = bare(item);
        let (name, fields) = match item.split_once(['{', '(']) {
            None => (item, Vec::new()),
            Some((name, of)) if item.ends_with('}') => (name, fields_on_page(&of[..of.len() - 1])),
            Some((name, of)) => (name, vec![type_on_page(&of[..of.len() - 1])]),
        };
        let text = format!("{number} {} {}", name.trim(), fields.join(", "));
        text.trim_end().to_owned()
    };
    items(body).into_iter().enumerate().map(variant).collect()
}

/// Returns the definitions of the page: name, and its fields or variants.
fn definitions(page: &str) -> BTreeMap<String, Vec<String>> {
    let (page, _) = page.split_once(".SH BOUNDS").unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last = String::new();
    for block in page.split(".EX\n").skip(1) {
        let (block, _) = block.split_once(".EE").unwrap();
        for line in block.lines() {
            let words = line.split_whitespace().collect::<Vec<_>>();
            let is_number = |word: &&str| word.parse::<u8>().is_ok();
            match (line.starts_with("     "), words.as_slice()) {
                (_, []) => {}
                (true, more) => {
                    let text = found.get_mut(&last).unwrap().last_mut().unwrap();
                    *text = format!("{text} {}", more.join(" "));
                }
                (false, [number, ..]) if is_number(number) => {
                    found.get_mut(&last).unwrap().push(words.join(" "));
                }
                (false, [name, text @ ..]) => {
                    last = (*name).to_owned();
                    let text = (!text.is_empty()).then(|| text.join(" "));
                    found.insert(last.clone(), text.into_iter().collect());
                }
            }
        }
    }
    found
}

#[test]
fn structures_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = SOURCES.map(|file| std::fs::read_to_string(root.join(file)).unwrap());
    let shown = definitions(&page());
    let mut compared = 0;
    for (name, lines) in &shown {
        let head = format!("struct {name}");
        let code = sources.iter().find_map(|source| body(source, &head));
        let ([text], Some(code)) = (lines.as_slice(), code) else {
            continue;
        };
        // Flat on the page.
        if name != "SectionChanges" {
            assert_eq!(items(text), fields_on_page(&code), "{name}");
            compared += 1;
        }
    }
    assert!(compared >= 40, "only {compared} structures were compared");
    for name in ["AdminRequest", "AdminReply"] {
        let code = body(&sources[0], &format!("enum {name}")).unwrap();
        assert_eq!(shown[name], variants_on_page(&code), "{name}");
    }
    // Each structure of the admin half is there.
    for line in sources[0].lines() {
        let name = line
            .strip_prefix("pub struct ")
            .and_then(|line| line.strip_suffix(" {"));
        assert!(
            name.is_none_or(|name| shown.contains_key(name)),
            "no {name:?}"
        );
    }
}
