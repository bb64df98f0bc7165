//! A valid `traceparent` of a call is in every record of it; anything else is dropped.

use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_wire::Run;
use serde_json::{Value, json};

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
