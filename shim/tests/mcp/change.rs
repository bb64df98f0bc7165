use remit_common::refusal::{Code, Refusal};
use remit_wire::outcome::{ApprovalView, Ending, JobReport, State};
use remit_wire::{
    Access, AccessReport, CommandView, Effect, GrantView, Purpose, Reply, Request, Run, What,
};
use serde_json::{Value, json};

use crate::calls::{call, session};
use crate::daemon::{Daemon, React, answer, ended};

fn asked(daemon: &Daemon) -> Run {
    match daemon.next_call().1 {
        Request::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn pairs(run: &Run) -> Vec<(&str, &str)> {
    match &run.what {
        What::Named { args, .. } => args.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn change_has_reason_and_answers_like_run() {
    let daemon = Daemon::start(|_| answer(ended(b"done\n")));
    let mut shim = session(&daemon);
    let arguments = json!({
        "name": "nginx.reload", "reason": "new site", "max_runtime_s": 9, "wait_ms": 7,
        "args": {"grace": 5, "site": ["b", "a"], "quiet": true}
    });
    let result = call(&mut shim, "change", arguments);
    assert_eq!(result["isError"], false);
    let job = &result["structuredContent"];
    assert_eq!(
        (&job["exit"], &job["stdout"]),
        (&json!(3), &json!("done\n"))
    );
    let run = asked(&daemon);
    assert!(matches!(&run.what, What::Named { name, .. } if name == "nginx.reload"));
    assert_eq!(
        pairs(&run),
        [
            ("grace", "5"),
            ("quiet", "true"),
            ("site", "b"),
            ("site", "a")
        ]
    );
    let reason = "new site".to_owned();
    assert_eq!(run.purpose, Purpose::Change { reason });
    assert_eq!((run.wait_ms, run.max_runtime_s), (Some(7), Some(9)));
    assert_eq!((run.cwd, run.profile, run.stdin), (None, None, None));
    assert!(run.env.is_empty());
    assert_eq!(run.request_id.unwrap().len(), 32, "an id of our own");

    let arguments = json!({"name": "a.b", "reason": "x", "request_id": "mine", "stdin": "in"});
    call(&mut shim, "change", arguments);
    let run = asked(&daemon);
    assert_eq!(run.request_id.as_deref(), Some("mine"));
    assert_eq!(run.stdin.unwrap().as_slice(), b"in");

    // The other tool has the other purpose for the same command.
    call(
        &mut shim,
        "run",
        json!({"name": "nginx.reload", "args": {"site": [1]}}),
    );
    let run = asked(&daemon);
    assert_eq!(
        (pairs(&run), &run.purpose),
        (vec![("site", "1")], &Purpose::Use)
    );
}

#[test]
fn change_with_broken_connection_is_not_repeated() {
    let mut first = true;
    let daemon = Daemon::start(move |_| match std::mem::take(&mut first) {
        true => React::Close,
        false => answer(ended(b"found")),
    });
    let mut shim = session(&daemon);
    let arguments = json!({"name": "a.b", "reason": "why", "args": {"x": [2, 1]}});
    let result = call(&mut shim, "change", arguments);
    assert_eq!(result["structuredContent"]["stdout"], "found");
    let (first, second) = (asked(&daemon), asked(&daemon));
    assert!(first.request_id.is_some());
    assert_eq!(
        (first.request_id, first.what, first.purpose),
        (second.request_id, second.what, second.purpose)
    );
}

#[test]
fn meaningless_arguments_are_refused_without_daemon() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    let named = |value: &str| -> Value {
        serde_json::from_str(&format!(
            r#"{{"name": "a.b", "reason": "why", "args": {{"key": {value}}}}}"#
        ))
        .unwrap()
    };
    for (arguments, says) in [
        (json!({}), "reason"),
        (json!({"reason": "why"}), "one of 'name', 'plan_id'"),
        (json!({"name": "a.b"}), "reason"),
        (json!({"name": "a.b", "reason": 1}), "reason"),
        (json!({"argv": ["a"], "reason": "why", "cwd": "/"}), "cwd"),
        (json!({"name": "a.b", "reason": "why", "env": {}}), "env"),
        (
            json!({"name": "a.b", "argv": ["reboot"], "reason": "why"}),
            "argv",
        ),
        (json!({"argv": ["reboot"]}), "reason"),
        (json!({"argv": [], "reason": "why"}), "argv"),
        (
            json!({"argv": ["a"], "script": "reboot", "reason": "why"}),
            "script",
        ),
        (json!({"name": "a.b", "reason": "why", "args": []}), "args"),
        (
            json!({"name": "a.b", "reason": "why", "args": "key=1"}),
            "args",
        ),
        (named("null"), "'key' in 'args' is null"),
        (named("1.0"), "'key' in 'args' is no whole number"),
        (
            named("9223372036854775808.5"),
            "'key' in 'args' is no whole number",
        ),
        (named(r#"{"a": 1}"#), "'key' in 'args' is an object"),
        (named("[[1]]"), "'key' in 'args' holds a list in a list"),
    ] {
        let result = call(&mut shim, "change", arguments.clone());
        assert_eq!(result["isError"], true, "{arguments}");
        let error = &result["structuredContent"]["error"];
        assert_eq!(error["code"], "invalid_args", "{arguments}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(says), "{arguments}: {message}");
        assert!(error["next"].is_string(), "{arguments}");
    }
    assert!(daemon.untouched());
}

#[test]
fn long_name_in_long_list_is_bounded() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    let args = json!({ "x".repeat(2 << 20): vec![1; 60_000] });
    let result = call(
        &mut shim,
        "change",
        json!({"name": "a.b", "reason": "why", "args": args}),
    );
    assert_eq!(result["structuredContent"]["error"]["code"], "too_large");
    assert!(shim.peak_memory() < 64 << 20, "{}", shim.peak_memory());
    assert!(daemon.untouched());
}

#[test]
fn what_policy_says_reaches_the_agent_whole() {
    let refusals = [
        Refusal::no_such_command("nginx.reload"),
        Refusal::new(Code::DeniedRule, "denied by 'no-web'")
            .by("no-web")
            .object("nginx.reload"),
        Refusal::new(Code::NeedsApproval, "needs approval by %sre")
            .by("web")
            .lift("remit approve")
            .next("ask"),
    ];
    for refusal in refusals {
        let reply = refusal.clone();
        let daemon = Daemon::start(move |_| answer(Err(reply.clone())));
        let mut shim = session(&daemon);
        let arguments = json!({"name": "nginx.reload", "reason": "why"});
        let result = call(&mut shim, "change", arguments);
        assert_eq!(result["isError"], true);
        let expect = json!({ "error": refusal.with_next() });
        assert_eq!(result["structuredContent"], expect);
    }
}

/// A pending approval is reported at once with the next step. If it is refused later, the result is an error.
#[test]
fn pending_approval_is_reported_and_no_tool_approves() {
    let view = ApprovalView {
        by: vec!["%sre".to_owned()],
        expires_ms: 9,
        line: "remit approve 0101-0101".to_owned(),
        digest: "ab".repeat(32),
    };
    let Ok(Reply::Job { report, part }) = ended(b"") else {
        panic!("a job")
    };
    let waiting = JobReport {
        state: State::AwaitingApproval,
        ending: None,
        approval: Some(view.clone()),
        ..report.as_ref().clone()
    };
    let denied = Ending::unmeasured(State::Denied, "denied by ann: not now".to_owned(), true)
        .refused(Code::ApprovalDenied, "ask ann");
    let denied = JobReport {
        state: State::Denied,
        ending: Some(denied),
        ..report.as_ref().clone()
    };
    assert!(part.is_none());
    let arguments = json!({"name": "nginx.reload", "reason": "why"});
    for (report, is_error, code, says) in [
        (waiting, false, "needs_approval", "remit approve 0101-0101"),
        (denied, true, "approval_denied", "denied by ann: not now"),
    ] {
        let report = Box::new(report);
        let daemon = Daemon::start(move |_| {
            let report = report.clone();
            answer(Ok(Reply::Job { report, part: None }))
        });
        let mut shim = session(&daemon);
        let result = call(&mut shim, "change", arguments.clone());
        assert_eq!(result["isError"], is_error, "{result}");
        let job = &result["structuredContent"];
        assert_eq!(job["code"], code);
        assert!(job["next"].is_string());
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(says), "{text}");
        // Reading a refused job is not an error.
        let id = json!({"job_id": job["job_id"]});
        assert_eq!(call(&mut shim, "job", id)["isError"], false);
        shim.request(1, "tools/list", json!({}));
        let tools = shim.next();
        for tool in tools["result"]["tools"].as_array().unwrap() {
            let words = ["approve", "grant", "deny", "unlock"];
            let name = tool["name"].as_str().unwrap();
            let input = tool["inputSchema"].to_string();
            assert!(words.iter().all(|word| !name.contains(word)), "{name}");
            assert!(!input.contains("digest"), "{input}");
        }
    }
}

fn report(grants: usize, commands: usize) -> AccessReport {
    let grant = GrantView {
        rule: "g".repeat(200),
        allow: vec!["nginx.*".to_owned()],
        profile: "read".to_owned(),
        env: vec![],
        approval: None,
        left: None,
    };
    let command = CommandView {
        usage: "nginx.test [config=PATH]".to_owned(),
        summary: "s".repeat(256),
        args: vec![],
        effect: Effect::Change,
        profile: "nginx".to_owned(),
        approval: Some("needs approval by %sre".to_owned()),
    };
    AccessReport {
        user: "agent".to_owned(),
        uid: 1001,
        grants: vec![grant; grants],
        asked: None,
        profiles: vec![],
        commands: vec![command; commands],
        more_commands: 5,
        more_grants: 0,
    }
}

#[test]
fn commands_are_searched_for() {
    let daemon = Daemon::start(|_| answer(Ok(Reply::Access(report(1, 2)))));
    let mut shim = session(&daemon);
    let result = call(&mut shim, "access", json!({"query": "nginx"}));
    let expect = Access {
        argv: None,
        profile: None,
        name: None,
        query: Some("nginx".to_owned()),
    };
    assert_eq!(daemon.next_call().1, Request::Access(expect));
    let content = &result["structuredContent"];
    assert_eq!(content["commands"][1]["effect"], "change");
    assert_eq!(content["commands"][1]["approval"], "needs approval by %sre");
    assert_eq!(
        (&content["more_commands"], content.get("grants")),
        (&json!(5), None),
        "{content}"
    );
}

#[test]
fn long_access_answer_is_cut_and_counted() {
    for (grants, commands) in [(2, 300), (300, 64), (4096, 0), (2, 9000)] {
        let daemon = Daemon::start(move |_| answer(Ok(Reply::Access(report(grants, commands)))));
        let mut shim = session(&daemon);
        let result = call(&mut shim, "access", json!({}));
        assert_eq!(result["isError"], false);
        let content = &result["structuredContent"];
        let count = |list: &str| content[list].as_array().map_or(0, Vec::len) as u64;
        let more = |key: &str| content[key].as_u64().unwrap_or(0);
        assert_eq!(count("grants") + more("more_grants"), grants as u64);
        let listed = content["change"][0].as_str();
        let listed = listed.map_or(0, |line| line.matches("test").count());
        assert_eq!(listed as u64 + more("more_commands"), commands as u64 + 5);
        let length = result["content"][0]["text"].as_str().unwrap().len();
        assert!(length < 39_100, "{length}");
        assert!(grants + commands < 400 || length > 38_000, "{length}");
    }
}
