//! Whom an agent says it acts for: in the records, and before an approver's eyes as words that nobody has verified.

use remit_common::admin::AdminRequest;
use remit_common::names::JobId;
use remit_tests::daemon::{admin, user_a};
use serde_json::{Value, json};

use super::scene::{about, approve, does, listed, started};

/// What it says, and what anybody sees of it.
const CLAIM: &str = "ann@laptop\nREMIT_UID=0\u{202e}";
const SHOWN: &str = "ann@laptop\\nREMIT_UID=0\\u{202e}";

#[test]
fn whom_an_agent_acts_for_is_shown_and_recorded_as_unverified() {
    let daemon = started();
    let mut session = daemon.session(&user_a());
    let mut ask = |claim: Option<Value>| {
        let mut params = json!({"name": "change", "_meta": {}, "arguments": {
            "name": "site.switch", "args": {"to": "blue"}, "reason": "a test"}});
        if let Some(claim) = claim {
            params["_meta"]["remit/behalf"] = claim;
        }
        let result = session.request("tools/call", &params)["result"].clone();
        result["structuredContent"].clone()
    };
    let job = |answer: Value| -> JobId { answer["job_id"].as_str().unwrap().parse().unwrap() };
    let claims = job(ask(Some(json!(CLAIM))));
    let silent = job(ask(None));
    assert_eq!(ask(Some(json!(7)))["error"]["code"], "invalid_args");

    let behalf = |job| listed(&daemon, job).behalf.map(|behalf| behalf.to_string());
    assert_eq!(behalf(claims).as_deref(), Some(SHOWN));
    assert_eq!(behalf(silent), None);
    let shown = |arguments: &[&str]| {
        let output = daemon.remit(&admin(), arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pending = shown(&["pending"]);
    let line = format!("| unverified: for {SHOWN}\n");
    assert_eq!(pending.matches(&line).count(), 1, "{pending}");
    let page = shown(&["show", &claims.to_string()]);
    assert!(page.contains(SHOWN), "{page}");
    assert!(page.contains("that nobody has verified"), "{page}");
    let page = shown(&["show", &silent.to_string()]);
    assert!(!page.contains("verified"), "{page}");

    approve(&daemon, claims).expect("the approver can");
    let deny = AdminRequest::Deny {
        job: silent,
        why: "one is enough".into(),
    };
    does(&daemon, deny);
    for (job, expect) in [(claims, json!(SHOWN)), (silent, Value::Null)] {
        for record in about(&daemon, job) {
            let event = &record["REMIT_EVENT"];
            if event == "end" {
                continue;
            }
            assert_eq!(record["REMIT_BEHALF"], expect, "{event}");
            let client = record["REMIT_CLIENT"].as_str().unwrap();
            assert!(client.ends_with(", remit-tests 1"), "{client}");
            assert_eq!(record["REMIT_UID"], user_a().uid.to_string(), "{event}");
        }
    }
    let history = shown(&["history", "--all"]);
    let words = format!("says it acts for {SHOWN}");
    assert!(history.contains(&words), "{history}");
    let config = daemon.path().join("config").display().to_string();
    let log = daemon
        .path()
        .join("state/audit.jsonl")
        .display()
        .to_string();
    let id = claims.to_string();
    let story = ["audit", "show", &id, "--config", &config, "--file", &log];
    let root = remit_tests::process::Identity::new(0, &[]);
    let output = daemon.remit(&root, &story);
    let story = String::from_utf8(output.stdout).unwrap();
    let found = story.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("says for") && line.ends_with(SHOWN)
    });
    assert!(found, "{story}");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}
