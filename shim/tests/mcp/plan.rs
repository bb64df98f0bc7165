//! Checks of a plan: what is asked of the daemon, and what the answer says of them.

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_plan::{Bundle, Change, Content, Entry, Metadata, New, Plan, PlanPath, Source, sha256};
use remit_wire::outcome::{Ending, JobReport, OutputPart, Page, State, Stream};
use remit_wire::{Bytes, JobQuery, Progress, Purpose, Reply, Request, Run, ToClient, What};
use serde_json::{Value, json};

use crate::calls::{call, session};
use crate::daemon::{Daemon, React, answer, report};
use crate::pipe::{Shim, modern, with_token};
use crate::rounds::awaiting_approval;

const NEW: &[u8] = b"gzip on;\n";

fn bundle() -> Vec<u8> {
    let content = Content {
        size: NEW.len() as u64,
        sha256: sha256(NEW),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let entry = Entry {
        path: PlanPath::new("/etc/nginx/nginx.conf").unwrap(),
        change: Change::Create {
            new: New::File(content),
            meta: Metadata {
                mode: 0o644,
                uid: 0,
                gid: 0,
            },
        },
    };
    let plan = Plan::new(vec![entry]).unwrap();
    Bundle::new(&plan, NEW, b"").unwrap().as_bytes().to_vec()
}

fn planned() -> JobReport {
    let report = report(b"");
    let ending = report.ending.clone().map(|ending| Ending {
        exit: Some(0),
        ..ending
    });
    JobReport { ending, ..report }
}

fn reply(report: JobReport) -> React {
    let report = Box::new(report);
    answer(Ok(Reply::Job { report, part: None }))
}

fn page() -> React {
    let bytes = bundle();
    let page = Page {
        stream: Stream::Stdout,
        offset: 0,
        total: bytes.len() as u64,
        bytes: Bytes::from(bytes),
        eof: true,
    };
    answer(Ok(Reply::Job {
        report: Box::new(planned()),
        part: Some(OutputPart::Page(page)),
    }))
}

/// A daemon whose plan is made by a program on a copy, first in this state.
fn daemon_of_program(state: State) -> Daemon {
    let first = move || JobReport {
        state,
        ending: None,
        ..report(b"")
    };
    Daemon::start(move |request| match request {
        Request::Run(Run {
            what: What::Script { .. },
            ..
        }) => reply(first()),
        Request::Job(JobQuery { part: Some(_), .. }) => page(),
        _ => reply(planned()),
    })
}

/// A daemon that makes a plan, and answers each check, and an extraction, by its name.
fn daemon(check: impl Fn(&str) -> React + Send + 'static) -> Daemon {
    Daemon::start(move |request| match request {
        Request::Run(Run {
            what: What::Named { name, .. },
            ..
        }) if name != "plan.make" => check(name),
        Request::Job(_) => page(),
        _ => reply(planned()),
    })
}

fn plan(check: Value) -> Value {
    let edits = json!([{"path": "/etc/nginx/nginx.conf", "write": "gzip on;\n"}]);
    json!({"edits": edits, "check": check})
}

fn runs(daemon: &Daemon, count: usize) -> Vec<Run> {
    let run = || loop {
        if let (_, Request::Run(run)) = daemon.next_call() {
            break run;
        }
    };
    (0..count).map(|_| run()).collect()
}

#[test]
fn check_gets_the_plan_and_is_after_the_diff() {
    let daemon = daemon(|name| match name {
        "nginx.test" => reply(JobReport {
            job: JobId([0xcd; 16]),
            ..report(b"bad\x1b\n")
        }),
        _ => answer(Err(Refusal::new(Code::DeniedRule, "no").next("ask"))),
    });
    let mut shim = session(&daemon);
    let calls = json!(["nginx.test config=/etc/nginx/nginx.conf", "no.test"]);
    let result = call(&mut shim, "plan", plan(calls));
    assert_eq!(result["isError"], false, "a failed check is data");
    let data = &result["structuredContent"];
    assert_eq!(data["plan_id"], "ab".repeat(16));
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.find("\"diff\"") < text.find("\"checks\""), "{text}");
    let [first, second] = data["checks"].as_array().unwrap().as_slice() else {
        panic!("{data}");
    };
    let expect = json!({"command": "nginx.test config=/etc/nginx/nginx.conf", "job_id": "cd".repeat(16),
        "state": "exited", "exit": 3, "cause": "exited", "stdout": "bad\\x1b\n", "encoding": "escaped",
        "notes": ["a note"]});
    assert_eq!(*first, expect);
    assert_eq!(second["command"], "no.test");
    assert_eq!(second["error"]["code"], "denied_rule");
    assert_eq!(second["error"]["next"], "ask");
    let [_, first, second] = runs(&daemon, 3).try_into().unwrap();
    let args = vec![("config".to_owned(), "/etc/nginx/nginx.conf".to_owned())];
    let name = "nginx.test".to_owned();
    assert_eq!(first.what, What::Named { name, args });
    for run in [first, second] {
        assert_eq!(run.stdin, Some(Bytes::from(bundle())));
        assert_eq!((run.purpose, run.wait_ms), (Purpose::Use, Some(10_000)));
    }
}

#[test]
fn long_outputs_of_checks_are_cut_to_fit() {
    let daemon = daemon(|_| reply(report(&b"\x01".repeat(20_000))));
    let mut shim = session(&daemon);
    let calls = json!(["a.test", "b.test", "c.test", "d.test"]);
    let result = call(&mut shim, "plan", plan(calls));
    let data = &result["structuredContent"];
    assert!(data["diff"].as_str().unwrap().contains("+gzip on;"));
    let checks = data["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 4);
    for check in checks {
        assert_eq!(
            (&check["truncated"], &check["exit"]),
            (&json!(true), &json!(3))
        );
        let stdout = check["stdout"].as_str().unwrap();
        assert!(stdout.contains("bytes omitted"), "{stdout}");
    }
}

#[test]
fn without_a_plan_or_a_call_nothing_is_checked() {
    // The job that plans has failed.
    let failed = Daemon::start(|_| reply(report(b"")));
    let mut shim = session(&failed);
    let result = call(&mut shim, "plan", plan(json!(["a.test"])));
    assert_eq!(result["structuredContent"]["exit"], 3);
    assert_eq!(runs(&failed, 1).len(), 1);
    assert!(failed.untouched());
    let silent = Daemon::silent();
    let mut shim = session(&silent);
    let result = call(&mut shim, "plan", plan(json!(["a=b"])));
    assert_eq!(result["structuredContent"]["error"]["code"], "invalid_args");
    assert!(silent.untouched());
    let made = daemon(|_| React::Close);
    let mut shim = session(&made);
    let result = call(&mut shim, "plan", plan(json!([])));
    assert_eq!(result["structuredContent"].get("checks"), None);
}

fn wait(request: &Request) -> u32 {
    match request {
        Request::Run(run) => run.wait_ms.unwrap_or(caps::WAIT_MS_DEFAULT),
        Request::Job(query) => query.wait_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn steps_of_a_call_share_one_wait() {
    let edits = json!([{"path": "/etc/nginx/nginx.conf", "write": "gzip on;\n"}]);
    let job = "0".repeat(32);
    let four = json!(["a.test", "b.test", "c.test", "d.test"]);
    for (arguments, count) in [
        (json!({"script": "true"}), 3),
        (json!({"script": "true", "check": four}), 7),
        (json!({"edits": edits, "check": four}), 6),
        (json!({"job_id": job, "check": four}), 6),
    ] {
        let daemon = daemon(|_| reply(planned()));
        let mut shim = session(&daemon);
        let result = call(&mut shim, "plan", arguments.clone());
        assert!(
            result["structuredContent"]["plan_id"].is_string(),
            "{result}"
        );
        let shares: Vec<u32> = (0..count).map(|_| wait(&daemon.next_call().1)).collect();
        assert!(
            shares.iter().sum::<u32>() <= caps::WAIT_MS,
            "{arguments}: {shares:?}"
        );
    }
}

#[test]
fn repeated_call_asks_for_same_extraction() {
    let daemon = daemon(|_| reply(planned()));
    let mut shim = session(&daemon);
    let mut ids = Vec::new();
    for arguments in [
        json!({"script": "true", "request_id": "mine"}),
        json!({"script": "true", "request_id": "mine"}),
        json!({"script": "true"}),
    ] {
        call(&mut shim, "plan", arguments);
        let [tried, extraction] = runs(&daemon, 2).try_into().unwrap();
        ids.push([tried.request_id.unwrap(), extraction.request_id.unwrap()]);
    }
    let [first, second, third] = ids.try_into().unwrap();
    assert_eq!(first, ["mine", "mine/plan"]);
    assert_eq!(first, second);
    assert_eq!(third[1], format!("{}/plan", third[0]));
}

#[test]
fn unfinished_plan_says_how_to_continue() {
    let running = || JobReport {
        state: State::Running,
        ending: None,
        ..report(b"")
    };
    let arguments = json!({"script": "true", "request_id": "mine"});
    let note = |daemon: &Daemon| {
        let result = call(&mut session(daemon), "plan", arguments.clone());
        let data = &result["structuredContent"];
        assert_eq!(data["state"], "running", "{data}");
        data["notes"][1].as_str().unwrap().to_owned()
    };
    let on_copy = note(&Daemon::start(move |_| reply(running())));
    assert!(
        on_copy.contains(&format!("job_id '{}'", "ab".repeat(16))),
        "{on_copy}"
    );
    let extraction = note(&daemon(move |_| reply(running())));
    assert!(extraction.contains("request_id 'mine'"), "{extraction}");
}

#[test]
fn approval_of_a_plan_is_waited_for_in_rounds() {
    let edits = json!([{"path": "/etc/nginx/nginx.conf", "write": "gzip on;\n"}]);
    for (arguments, way) in [
        (
            json!({"script": "true"}),
            format!("call plan with job_id '{}'", "ab".repeat(16)),
        ),
        (
            json!({"edits": edits, "request_id": "mine"}),
            "call plan again with the same arguments and request_id 'mine'".to_owned(),
        ),
    ] {
        let daemon = Daemon::start(|_| reply(awaiting_approval()));
        let mut shim = Shim::start(&daemon.socket());
        let mut params = json!({"name": "plan", "arguments": arguments});
        for wait_ms in [None, Some(25_000), Some(25_000)] {
            shim.request(1, "tools/call", modern(params.clone()));
            let result = shim.next()["result"].clone();
            let [run] = runs(&daemon, 1).try_into().unwrap();
            assert_eq!(run.wait_ms, wait_ms, "{result}");
            params["requestState"] = result["requestState"].clone();
            if result["resultType"] == "input_required" {
                continue;
            }
            let job = &result["structuredContent"];
            assert_eq!(job["state"], "awaiting_approval", "{result}");
            let note = job["notes"][1].as_str().unwrap();
            assert!(note.contains(&way), "{note}");
        }
        assert!(params["requestState"].is_null(), "the third is the last");
    }
}

#[test]
fn program_on_a_copy_has_the_rest_of_the_wait() {
    for (arguments, rest) in [
        (json!({"script": "true"}), Some(20_000)),
        (json!({"script": "true", "check": ["a.test"]}), None),
    ] {
        let daemon = daemon_of_program(State::Running);
        let mut shim = session(&daemon);
        let result = call(&mut shim, "plan", arguments);
        let is_made = result["structuredContent"]["plan_id"].is_string();
        assert_eq!(is_made, rest.is_some(), "{result}");
        let Request::Run(run) = daemon.next_call().1 else {
            panic!("no run");
        };
        assert_eq!(run.wait_ms, None);
        if rest.is_some() {
            let request = daemon.next_call().1;
            assert!(matches!(request, Request::Job(_)), "{request:?}");
            assert_eq!(Some(wait(&request)), rest);
        }
    }
}

#[test]
fn lost_extraction_names_request_id_of_its_call() {
    let daemon = daemon(|_| React::Close);
    let mut shim = session(&daemon);
    let arguments = json!({"script": "true", "request_id": "mine"});
    let result = call(&mut shim, "plan", arguments);
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], "daemon_unavailable");
    assert!(
        error["next"].as_str().unwrap().contains("'mine'"),
        "{error}"
    );
}

#[test]
fn repeated_commit_without_its_plan_says_to_look_first() {
    let daemon = Daemon::start(|request| match request {
        Request::Job(_) => answer(Err(Refusal::no_such_job())),
        other => panic!("{other:?}"),
    });
    let plan_id = "ab".repeat(16);
    let new = json!({"plan_id": plan_id, "reason": "why"});
    let own = json!({"plan_id": plan_id, "reason": "why", "request_id": "mine"});
    for (is_modern, arguments, state, is_warned) in [
        (false, &new, None, false),
        (false, &own, None, true),
        (true, &new, None, false),
        (true, &own, None, true),
        (true, &new, Some("remit/1 1 mine"), true),
    ] {
        let result = if is_modern {
            let mut params = json!({"name": "change", "arguments": arguments});
            if let Some(state) = state {
                params["requestState"] = json!(state);
            }
            let mut shim = Shim::start(&daemon.socket());
            shim.request(1, "tools/call", modern(params));
            shim.next()["result"].clone()
        } else {
            call(&mut session(&daemon), "change", arguments.clone())
        };
        let error = &result["structuredContent"]["error"];
        assert_eq!(error["code"], "not_found", "{result}");
        let next = error["next"].as_str().unwrap();
        let warned = next.starts_with("if a call with this request_id was sent before");
        assert_eq!(warned, is_warned, "{next}");
        assert!(matches!(daemon.next_call().1, Request::Job(_)));
    }
    assert!(daemon.untouched());
}

#[test]
fn plan_that_is_not_written_yet_is_waited_for() {
    let daemon = Daemon::start(|_| {
        let page = Page {
            stream: Stream::Stdout,
            offset: 0,
            total: 0,
            bytes: Bytes::new(),
            eof: false,
        };
        answer(Ok(Reply::Job {
            report: Box::new(JobReport {
                state: State::Queued,
                ending: None,
                ..report(b"")
            }),
            part: Some(OutputPart::Page(page)),
        }))
    });
    let arguments = json!({"plan_id": "ab".repeat(16), "reason": "why"});
    let result = call(&mut session(&daemon), "change", arguments);
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], "busy", "{error}");
    assert!(error["next"].as_str().unwrap().contains("wait"), "{error}");
}

#[test]
fn each_step_reports_progress() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    let arguments = json!({"script": "true"});
    shim.request(1, "tools/call", with_token("plan", arguments, "t"));
    let mut last = 0.0;
    for line in ["on the copy", "of the extraction"] {
        let (id, _) = daemon.next_call();
        daemon.send(&ToClient::Progress {
            id,
            progress: Progress {
                elapsed_ms: 0,
                queue_position: None,
                output_bytes: 9,
                last_line: line.to_owned(),
            },
        });
        let note = shim.next();
        assert_eq!(note["method"], "notifications/progress", "{note}");
        assert_eq!(note["params"]["progressToken"], "t");
        assert_eq!(note["params"]["message"], format!("it wrote: {line}"));
        let progress = note["params"]["progress"].as_f64().unwrap();
        assert!(progress > last);
        last = progress;
        let report = Box::new(planned());
        daemon.answer(id, Ok(Reply::Job { report, part: None }));
    }
    // The shim's own clock continues while the daemon is silent.
    daemon.next_call();
    assert_eq!(shim.next()["method"], "notifications/progress");
}
