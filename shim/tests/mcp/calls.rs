use std::process::Command;
use std::sync::LazyLock;

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::host::{HostReport, Section};
use remit_wire::outcome::{Captured, JobSummary, OutputPart, State, Stream};
use remit_wire::{
    AccessReport, Asked, Bytes, CommandView, Effect, JobQuery, PageQuery, PartQuery, ProfileView,
    Reply, Request, What,
};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Seen, answer, ended, page, report};
use crate::pipe::Shim;
use crate::search;

pub fn session(daemon: &Daemon) -> Shim {
    let mut shim = Shim::start(&daemon.socket());
    shim.initialize("2025-11-25");
    shim
}

/// Returns the result of a call. Its text and data must be the same.
pub fn call(shim: &mut Shim, tool: &str, arguments: Value) -> Value {
    shim.call(5, tool, arguments);
    let answer = shim.next();
    let result = answer["result"].clone();
    assert!(result.is_object(), "{answer}");
    let content = result["content"].as_array().unwrap();
    assert_eq!(content.len(), 1);
    let text = content[0]["text"].as_str().unwrap();
    assert!(text.chars().count() < 40_000);
    search::check_fence(text, &result["structuredContent"]);
    check_types(tool, &result["structuredContent"]);
    result
}

/// Each member that the tool's schema describes has a type of it. The specification requires that.
fn check_types(tool: &str, data: &Value) {
    static LIST: LazyLock<Value> = LazyLock::new(|| {
        let shim = Command::new(env!("CARGO_BIN_EXE_mcp-shim"))
            .arg("--print-tools")
            .output();
        serde_json::from_slice(&shim.unwrap().stdout).unwrap()
    });
    let tools = LIST["tools"].as_array().unwrap();
    let tool = tools.iter().find(|one| one["name"] == tool).unwrap();
    let properties = tool["outputSchema"]["properties"].as_object().unwrap();
    for (name, value) in data.as_object().into_iter().flatten() {
        let types = match properties.get(name).map(|property| &property["type"]) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(types)) => types.clone(),
            Some(one) => vec![one.clone()],
        };
        let own = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(
            types.contains(&json!(own)),
            "{name} is {value}, not {types:?}"
        );
    }
}

#[test]
fn run_is_requested_and_failure_is_data() {
    let daemon = Daemon::start(|_| answer(ended(b"out\xff")));
    let mut shim = session(&daemon);
    let arguments = json!({"argv": ["df", "-h"], "cwd": "/tmp", "env": {"A": "b"}, "stdin": "in"});
    let result = call(&mut shim, "run", arguments);
    assert_eq!(result["isError"], false);
    let job = &result["structuredContent"];
    assert_eq!(
        (&job["exit"], &job["stdout"]),
        (&json!(3), &json!("out\\xff"))
    );
    assert_eq!(job["encoding"], "escaped");
    assert_eq!(job["notes"], json!(["a note"]));
    let Seen::Hello(client) = daemon.next() else {
        panic!("no hello")
    };
    assert!(
        client.starts_with("mcp-shim ") && client.ends_with(", tests 1"),
        "{client}"
    );
    let (_, Request::Run(run)) = daemon.next_call() else {
        panic!("no run")
    };
    let bytes = |text: &str| Bytes::from(text.as_bytes().to_vec());
    assert_eq!(run.what, What::Argv(vec![bytes("df"), bytes("-h")]));
    assert_eq!(run.cwd, Some(bytes("/tmp")));
    assert_eq!(run.env, [(bytes("A"), bytes("b"))]);
    assert_eq!(run.stdin, Some(bytes("in")));
    assert_eq!((run.profile, run.wait_ms), (None, None));
    assert_eq!(run.request_id.unwrap().len(), 32, "an id of our own");
}

#[test]
fn run_has_new_request_id_unless_chosen() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    let mut shim = session(&daemon);
    let mut ids = Vec::new();
    for arguments in [
        json!({"argv": ["a"]}),
        json!({"argv": ["a"]}),
        json!({"script": "a", "request_id": "mine"}),
    ] {
        call(&mut shim, "run", arguments);
        let (_, Request::Run(run)) = daemon.next_call() else {
            panic!("no run")
        };
        ids.push(run.request_id.unwrap());
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[2], "mine");
}

#[test]
fn jobs_are_listed_waited_for_paged_and_stopped() {
    let id = JobId([0xab; 16]);
    let summary = JobSummary {
        job_id: id,
        command: "x".to_owned(),
        state: State::Running,
        exit: None,
        started_ms: 1,
        output_bytes: 2,
    };
    let daemon = Daemon::start(move |request| {
        answer(Ok(match request {
            Request::Jobs { .. } => Reply::Jobs(vec![summary.clone(); 27]),
            Request::Job(query) => Reply::Job {
                report: Box::new(report(b"inline")),
                part: query
                    .part
                    .as_ref()
                    .map(|_| OutputPart::Page(page(b"a\xff"))),
            },
            _ => Reply::Job {
                report: Box::new(report(b"inline")),
                part: None,
            },
        }))
    });
    let mut shim = session(&daemon);
    let text = id.to_string();
    let mut ask = |tool: &str, arguments: Value| {
        let result = call(&mut shim, tool, arguments)["structuredContent"].clone();
        (result, daemon.next_call().1)
    };

    for (arguments, listed, more) in [
        (json!({}), 20, 7),
        (json!({"limit": 7}), 7, 20),
        (json!({"limit": 70}), 27, 0),
    ] {
        let (list, request) = ask("job", arguments);
        assert_eq!(request, Request::Jobs { limit: u32::MAX });
        assert_eq!(
            (list["jobs"].as_array().unwrap().len(), &list["more"]),
            (listed, &json!(more))
        );
        assert_eq!(list["jobs"][0]["job_id"], text);
    }

    let (job, request) = ask("job", json!({"job_id": text, "wait_ms": 50000}));
    let query = JobQuery {
        job: id,
        wait_ms: 50_000,
        part: None,
    };
    assert_eq!(request, Request::Job(query));
    assert_eq!((&job["stdout"], job.get("page")), (&json!("inline"), None));

    let (job, request) = ask("job", json!({"job_id": text, "offset": 10}));
    let Request::Job(JobQuery {
        part: Some(PartQuery::Page(asked)),
        ..
    }) = request
    else {
        panic!("no page")
    };
    let expect = PageQuery {
        stream: Stream::Stdout,
        offset: 10,
        limit: 16384,
        tail: false,
        whole_characters: true,
    };
    assert_eq!(asked, expect);
    assert_eq!(job["page"]["data"], "a\\xff");
    assert_eq!(job["page"]["next"], 12);
    for absent in ["stdout", "stderr", "truncated", "matches"] {
        assert_eq!(job.get(absent), None, "the page is there instead");
    }

    let (job, _) = ask("job", json!({"job_id": text, "encoding": "base64"}));
    assert_eq!(
        (&job["page"]["data"], &job["page"]["encoding"]),
        (&json!("Yf8="), &json!("base64"))
    );

    let (job, request) = ask("job_stop", json!({"job_id": text, "signal": "INT"}));
    assert_eq!(
        request,
        Request::Stop {
            job: id,
            signal: Some(2)
        }
    );
    assert_eq!(job["kill_verified"], true);
    assert_eq!((job.get("stdout"), job.get("stderr")), (None, None));
    assert_eq!(job["stdout_bytes"], 6, "counted, not sent again");
}

#[test]
fn access_to_one_command_shows_no_other() {
    let command = |usage: &str| CommandView {
        usage: usage.to_owned(),
        summary: String::new(),
        args: vec![],
        approval: None,
        profile: "read".into(),
        effect: Effect::Read,
    };
    let all = vec![command("logs"), command("service.failed")];
    let daemon = Daemon::start(move |request| {
        let Request::Access(access) = request else {
            panic!("{request:?}");
        };
        let is_open = access.argv.is_none() && access.name.is_none();
        answer(Ok(Reply::Access(AccessReport {
            user: "agent".to_owned(),
            uid: 1001,
            grants: vec![],
            asked: (!is_open).then(|| Asked {
                allowed: true,
                rule: None,
                why: "a rule".to_owned(),
                lift: None,
                approval: None,
            }),
            profiles: vec![ProfileView {
                name: "read".to_owned(),
                summary: String::new(),
            }],
            commands: match access.name {
                Some(_) => vec![command("logs")],
                None => all.clone(),
            },
            more_commands: 0,
            more_grants: 0,
        })))
    });
    let mut shim = session(&daemon);
    for (arguments, present) in [
        (json!({}), &["user", "uid", "profiles", "run", "note"][..]),
        (json!({"argv": ["id"]}), &["user", "uid", "asked"]),
        (
            json!({"name": "logs"}),
            &["user", "uid", "asked", "commands"],
        ),
        (json!({"query": "logs"}), &["user", "uid", "commands"]),
    ] {
        let answer = call(&mut shim, "access", arguments.clone());
        let keys = answer["structuredContent"].as_object().unwrap().keys();
        let mut keys: Vec<&str> = keys.map(String::as_str).collect();
        let mut present = present.to_vec();
        keys.sort_unstable();
        present.sort_unstable();
        assert_eq!(keys, present, "{arguments}");
    }
}

#[test]
fn access_and_host_are_passed_through() {
    let daemon = Daemon::start(|request| {
        answer(Ok(match request {
            Request::Access(_) => Reply::Access(AccessReport {
                user: "agent".to_owned(),
                uid: 1001,
                grants: vec![],
                asked: Some(Asked {
                    allowed: false,
                    rule: None,
                    why: "no rule".to_owned(),
                    lift: None,
                    approval: None,
                }),
                profiles: vec![],
                commands: vec![],
                more_commands: 0,
                more_grants: 0,
            }),
            _ => Reply::Host(Box::new(HostReport {
                time: 7,
                ..HostReport::default()
            })),
        }))
    });
    let mut shim = session(&daemon);
    let access = call(&mut shim, "access", json!({"argv": ["reboot"]}));
    assert_eq!(access["structuredContent"]["asked"]["allowed"], false);
    assert_eq!(access["isError"], false, "an answer is not a refusal");
    let host = call(&mut shim, "host", json!({"sections": ["ports", "os"]}));
    assert_eq!(host["structuredContent"]["time"], 7);
    daemon.next_call();
    let expect = Request::Host {
        sections: vec![Section::Ports, Section::Os],
    };
    assert_eq!(daemon.next_call().1, expect);
}

#[test]
fn a_refusal_is_an_error_that_says_everything() {
    let refusal = Refusal::new(Code::DeniedRule, "no")
        .object("thing")
        .by("rule")
        .lift("remit grant")
        .next("ask");
    let reply = refusal.clone();
    let daemon = Daemon::start(move |_| answer(Err(reply.clone())));
    let mut shim = session(&daemon);
    for (tool, arguments) in [
        ("access", json!({})),
        ("host", json!({})),
        ("job", json!({})),
        ("run", json!({"argv": ["a"]})),
    ] {
        let result = call(&mut shim, tool, arguments);
        assert_eq!(result["isError"], true);
        assert_eq!(result["structuredContent"], json!({"error": refusal}));
    }
}

#[test]
fn long_output_of_any_bytes_is_cut() {
    for unit in [
        &b"x"[..],
        b"\0",
        "\u{1f600}".as_bytes(),
        b"\xff",
        b"\"\\",
        "\u{202e}".as_bytes(),
    ] {
        let bytes = unit.repeat((24 << 10) / unit.len());
        let daemon = Daemon::start(move |request| {
            let mut long = report(&bytes);
            long.stderr = Captured {
                total: 1 << 40,
                lines: 0,
                head: Bytes::from(bytes.clone()),
                tail: Bytes::from(bytes.clone()),
            };
            answer(Ok(Reply::Job {
                report: Box::new(long),
                part: matches!(request, Request::Job(_)).then(|| OutputPart::Page(page(&bytes))),
            }))
        });
        let mut shim = session(&daemon);
        let run = call(&mut shim, "run", json!({"argv": ["a"]}));
        assert_eq!(run["structuredContent"]["truncated"], true);
        let arguments = json!({"job_id": "0".repeat(32), "encoding": "base64"});
        call(&mut shim, "job", arguments);
        let arguments = json!({"job_id": "0".repeat(32), "tail": true});
        call(&mut shim, "job", arguments);
    }
}

#[test]
fn an_answer_to_another_question_is_an_error() {
    let daemon = Daemon::start(|_| answer(Ok(Reply::Jobs(vec![]))));
    let mut shim = session(&daemon);
    let result = call(&mut shim, "run", json!({"argv": ["a"]}));
    assert_eq!(
        result["structuredContent"]["error"]["code"],
        "daemon_unavailable"
    );
}

#[test]
fn daemon_is_not_contacted_before_first_call() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    shim.request(1, "tools/list", json!({}));
    shim.next();
    shim.call(2, "run", json!({}));
    assert_eq!(shim.next()["result"]["isError"], true);
    shim.nothing_more();
    assert!(daemon.untouched());
}

#[test]
fn refused_hello_and_foreign_protocol_are_reported() {
    use remit_common::{caps, frame};
    use remit_wire::{PROTOCOL, ToClient};
    let refusing = Daemon::greeting(
        |_| unreachable!(),
        |stream| {
            let refusal = Refusal::new(Code::Locked, "locked").next("wait");
            frame::write(stream, &ToClient::Goodbye(refusal), caps::FRAME).unwrap();
            false
        },
    );
    let newer = Daemon::greeting(
        |_| unreachable!(),
        |stream| {
            let welcome = ToClient::Welcome {
                protocol: PROTOCOL + 1,
                release: "99.0".to_owned(),
            };
            frame::write(stream, &welcome, caps::FRAME).unwrap();
            false
        },
    );
    let garbage = Daemon::greeting(
        |_| unreachable!(),
        |stream| {
            std::io::Write::write_all(stream, &[0xff; 64]).unwrap();
            false
        },
    );
    for (daemon, code, part) in [
        (refusing, "locked", "locked"),
        (newer, "daemon_unavailable", "99.0"),
        (garbage, "daemon_unavailable", "frame"),
    ] {
        let mut shim = session(&daemon);
        let result = call(&mut shim, "run", json!({"argv": ["a"]}));
        let error = &result["structuredContent"]["error"];
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
}

/// Answers a hello as a daemon does that speaks protocol `own`.
fn refuse_protocol(stream: &mut std::os::unix::net::UnixStream, own: u16) -> bool {
    use remit_common::{caps, frame};
    use remit_wire::{ToClient, other_protocol};
    let refusal = other_protocol(0).object(format!("protocol {own}"));
    frame::write(stream, &ToClient::Goodbye(refusal), caps::FRAME).unwrap();
    false
}

/// A program that runs stays what it was in an upgrade: ended, it is started again as the new one.
#[test]
fn program_from_before_an_upgrade_says_so_and_ends() {
    use remit_wire::PROTOCOL;
    let refused = |daemon: &Daemon| {
        let mut shim = session(daemon);
        let result = call(&mut shim, "run", json!({"argv": ["a"]}));
        let error = result["structuredContent"]["error"].clone();
        assert_eq!(error["code"], "daemon_unavailable", "{error}");
        assert!(error["next"].as_str().unwrap().contains("reconnect"));
        shim
    };
    let newer = Daemon::greeting(
        |_| unreachable!(),
        |stream| refuse_protocol(stream, PROTOCOL + 1),
    );
    assert_eq!(refused(&newer).exit_code(), Some(69));
    // Another start would not help here.
    let older = Daemon::greeting(
        |_| unreachable!(),
        |stream| refuse_protocol(stream, PROTOCOL - 1),
    );
    refused(&older).nothing_more();
}

#[test]
fn the_largest_line_fits_in_a_frame() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    let mut shim = session(&daemon);
    for argument in ["", "a", "\u{7f}", "abcdefgh"] {
        let argv = vec![argument; 50_000];
        let padding = (4 << 20) - 200 - json!(argv).to_string().len();
        let arguments = json!({"argv": argv, "stdin": "x".repeat(padding)});
        let result = call(&mut shim, "run", arguments);
        assert_eq!(result["isError"], false);
    }
}

#[test]
fn many_calls_at_once_get_their_own_answers() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    for id in 0..20 {
        shim.call(id, "run", json!({"argv": [id.to_string()]}));
    }
    let mut calls = Vec::new();
    for _ in 0..20 {
        let (id, Request::Run(run)) = daemon.next_call() else {
            panic!("no run")
        };
        let What::Argv(argv) = run.what else {
            panic!("no argv")
        };
        calls.push((id, argv[0].clone()));
    }
    for (id, name) in calls.iter().rev() {
        daemon.answer(*id, ended(name));
    }
    for _ in 0..20 {
        let answer = shim.next();
        let stdout = &answer["result"]["structuredContent"]["stdout"];
        assert_eq!(stdout.as_str().unwrap(), answer["id"].to_string());
    }
}
