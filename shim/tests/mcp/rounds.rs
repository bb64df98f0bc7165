//! While a person decides, clients of the newest revision send the call again and wait; older ones get the answer at once.

use remit_wire::outcome::{ApprovalView, JobReport, State};
use remit_wire::{Reply, Request, Run};
use serde_json::{Value, json};

use crate::calls::{call, session};
use crate::daemon::{Daemon, React, answer, ended, report};
use crate::pipe::{Shim, modern};

pub fn awaiting_approval() -> JobReport {
    JobReport {
        state: State::AwaitingApproval,
        ending: None,
        approval: Some(ApprovalView {
            by: vec!["%sre".to_owned()],
            expires_ms: 9,
            line: "remit approve 0101-0101".to_owned(),
            digest: "ab".repeat(32),
        }),
        ..report(b"")
    }
}

fn waiting() -> React {
    answer(Ok(Reply::Job {
        report: Box::new(awaiting_approval()),
        part: None,
    }))
}

fn asked(daemon: &Daemon) -> Run {
    match daemon.next_call().1 {
        Request::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn change() -> Value {
    json!({"name": "change", "arguments": {"name": "a.b", "reason": "why"}})
}

fn sent(shim: &mut Shim, params: &Value) -> Value {
    shim.request(1, "tools/call", modern(params.clone()));
    let answer = shim.next();
    assert_eq!(answer["id"], 1, "{answer}");
    answer["result"].clone()
}

fn again(result: &Value) -> Value {
    assert_eq!(result["resultType"], "input_required", "{result}");
    let server = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(server["name"], "remit", "{result}");
    for field in ["content", "structuredContent", "isError", "inputRequests"] {
        assert_eq!(result.get(field), None, "{result}");
    }
    let mut params = change();
    params["requestState"] = result["requestState"].clone();
    params
}

#[test]
fn the_same_request_is_waited_for_twice_and_then_reported() {
    let daemon = Daemon::start(|_| waiting());
    // The first call of a session goes through the library, the second does not.
    let mut shim = Shim::start(&daemon.socket());
    for _ in 0..2 {
        let first = sent(&mut shim, &change());
        let (id, wait) = {
            let run = asked(&daemon);
            (run.request_id.unwrap(), run.wait_ms)
        };
        assert_eq!(wait, None, "the daemon answers at once");
        let mut params = again(&first);
        // The responses to questions that were never asked decide nothing.
        params["inputResponses"] = json!({});
        let second = sent(&mut shim, &params);
        let run = asked(&daemon);
        assert_eq!(
            (run.request_id.as_ref(), run.wait_ms),
            (Some(&id), Some(25_000))
        );
        let third = sent(&mut shim, &again(&second));
        let run = asked(&daemon);
        assert_eq!(
            (run.request_id.as_ref(), run.wait_ms),
            (Some(&id), Some(25_000))
        );
        assert_eq!(third["resultType"], "complete");
        let job = &third["structuredContent"];
        assert_eq!(job["state"], "awaiting_approval", "{third}");
        assert_eq!(job["approval"]["line"], "remit approve 0101-0101");
    }
}

#[test]
fn decision_ends_the_rounds() {
    let mut calls = 0;
    let daemon = Daemon::start(move |_| {
        calls += 1;
        match calls {
            1 => waiting(),
            _ => answer(ended(b"done\n")),
        }
    });
    let mut shim = Shim::start(&daemon.socket());
    let params = again(&sent(&mut shim, &change()));
    // Nothing is kept in the process: another one goes on.
    let mut shim = Shim::start(&daemon.socket());
    let result = sent(&mut shim, &params);
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["structuredContent"]["stdout"], "done\n");
}

#[test]
fn older_clients_and_calls_with_a_wait_of_their_own_are_answered_at_once() {
    let daemon = Daemon::start(|_| waiting());
    let mut shim = session(&daemon);
    let result = call(&mut shim, "change", change()["arguments"].clone());
    assert_eq!(result["structuredContent"]["state"], "awaiting_approval");
    let mut shim = Shim::start(&daemon.socket());
    for tool in ["change", "job"] {
        let params = match tool {
            "job" => json!({"name": "job", "arguments": {"job_id": "ab".repeat(16)}}),
            _ => json!({"name": "change",
                        "arguments": {"name": "a.b", "reason": "why", "wait_ms": 0}}),
        };
        let result = sent(&mut shim, &params);
        assert_eq!(result["resultType"], "complete", "{tool}");
        assert_eq!(result["structuredContent"]["state"], "awaiting_approval");
    }
}

#[test]
fn a_forged_state_is_refused_without_the_daemon() {
    let daemon = Daemon::silent();
    let mut shim = Shim::start(&daemon.socket());
    for state in ["", "remit/1 9 x", "yes", &"x".repeat(100_000)] {
        let mut params = change();
        params["requestState"] = json!(state);
        let result = sent(&mut shim, &params);
        assert_eq!(result["isError"], true, "{result}");
        assert_eq!(result["structuredContent"]["error"]["code"], "invalid_args");
        assert!(result.to_string().len() < 2000, "{result}");
    }
    assert!(daemon.untouched());
    // What is no text is a bad call.
    let mut params = change();
    params["requestState"] = json!(7);
    shim.request(2, "tools/call", modern(params));
    assert_eq!(shim.next()["error"]["code"], -32602);
}
