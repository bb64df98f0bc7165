//! Policy-defined commands over MCP: `run`, `change` and `access`.

use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::session::Session;
use serde_json::{Value, json};

const COMMANDS: &str = r##"
[[command]]
name = "note.take"
summary = "Take a note"
argv = ["/usr/bin/cat"]
effect = "change"
profile = "read"
stdin = "caller"

[[command]]
name = "note.show"
summary = "Show words"
argv = ["/usr/bin/printf", "<%s>", "{words}", ["-n", "{count}"]]
effect = "read"
profile = "read"
args.words = { type = "string", pattern = "(?s).*", max = 64, repeat = 4 }
args.count = { type = "int", min = -9, max = 9, optional = true }

[[grant]]
name = "notes"
to = ["#64001"]
allow = ["note.*"]
effect = "change"
"##;

fn daemon() -> Daemon {
    let options = Options::default();
    let policy = options.policy.clone() + COMMANDS;
    Daemon::start(Options { policy, ..options })
}

fn ask(session: &mut Session, tool: &str, arguments: Value) -> Value {
    session.tool(tool, &arguments)["structuredContent"].clone()
}

#[test]
fn repeated_change_id_runs_once() {
    let daemon = daemon();
    let mut session = daemon.session(&user_a());
    let change = |reason: &str, stdin: &str| json!({ "name": "note.take", "reason": reason, "stdin": stdin, "request_id": "one" });
    let first = ask(&mut session, "change", change("new site", "hello"));
    assert_eq!(
        (&first["stdout"], &first["exit"]),
        (&json!("hello"), &json!(0)),
        "{first}"
    );
    let again = ask(&mut session, "change", change("new site", "hello"));
    assert_eq!(
        (&again["job_id"], &again["stdout"]),
        (&first["job_id"], &json!("hello"))
    );
    for other in [change("another", "hello"), change("new site", "other")] {
        let refused = ask(&mut session, "change", other);
        assert_eq!(refused["error"]["code"], "conflict_request_id", "{refused}");
    }
    assert_eq!(daemon.records("intent").len(), 1);
    for _ in 0..2 {
        let change = json!({ "name": "note.take", "reason": "more", "stdin": "x" });
        assert_eq!(ask(&mut session, "change", change)["stdout"], "x");
    }
    assert_eq!(daemon.records("intent").len(), 3);
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn values_arrive_unchanged_in_order() {
    let daemon = daemon();
    let mut session = daemon.session(&user_a());
    for (args, stdout) in [
        (json!({ "words": ["b", "a", "b"] }), "<b><a><b>"),
        (
            json!({ "words": [7, true, "x y", "$(id);'\"\n"] }),
            "<7><true><x y><$(id);'\"\n>",
        ),
        (
            json!({ "words": "{words}%s", "count": -3 }),
            "<{words}%s><-n><-3>",
        ),
        (
            json!({ "words": "a\u{1f600}", "count": [] }),
            "<a\u{1f600}>",
        ),
    ] {
        let run = json!({ "name": "note.show", "args": args });
        let job = ask(&mut session, "run", run.clone());
        assert_eq!(job["stdout"], stdout, "{run}: {job}");
    }
    let ran = daemon.records("intent").len();
    for args in [
        json!({ "words": ["a", "b", "c", "d", "e"] }),
        json!({ "words": "a", "count": 10 }),
        json!({ "words": "a", "count": "03" }),
        json!({ "words": "a", "count": 3.0 }),
        json!({ "words": "a", "count": [1, 2] }),
        json!({ "words": "a\u{0}b" }),
        json!({ "words": "-n" }),
        json!({ "words": { "a": "b" } }),
        json!({ "words": null }),
        json!({ "words": "a", "unknown": "b" }),
    ] {
        let run = json!({ "name": "note.show", "args": args });
        let refused = ask(&mut session, "run", run.clone());
        assert_eq!(refused["error"]["code"], "invalid_args", "{run}: {refused}");
    }
    assert_eq!(daemon.records("intent").len(), ran, "something ran");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn each_tool_takes_the_commands_of_its_effect() {
    let daemon = daemon();
    let mut session = daemon.session(&user_a());
    let refused = ask(&mut session, "run", json!({ "name": "note.take" }));
    assert_eq!(refused["error"]["code"], "invalid_args", "{refused}");
    assert!(
        refused["error"]["next"].to_string().contains("change"),
        "{refused}"
    );
    let change = json!({ "name": "note.show", "args": { "words": "a" }, "reason": "why" });
    let refused = ask(&mut session, "change", change);
    assert_eq!(refused["error"]["code"], "invalid_args", "{refused}");
    assert!(
        refused["error"]["next"].to_string().contains("run"),
        "{refused}"
    );
    let change = json!({ "name": "service.failed", "reason": "why" });
    let refused = ask(&mut session, "change", change);
    assert_eq!(refused["error"]["code"], "invalid_args", "{refused}");
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn access_lists_only_commands_of_caller() {
    let daemon = daemon();
    let (mut owner, mut stranger) = (daemon.session(&user_a()), daemon.session(&user_b()));
    let usages = |report: &Value| -> Vec<String> {
        let commands = report["commands"].as_array().expect("a list");
        let usage = |command: &Value| command["usage"].as_str().expect("a text").to_owned();
        commands.iter().map(usage).collect()
    };
    let found = ask(&mut owner, "access", json!({ "query": "NOTE" }));
    let named = usages(&found);
    assert_eq!(named.len(), 2, "{found}");
    assert!(
        named.iter().all(|usage| usage.starts_with("note.")),
        "{named:?}"
    );
    let one = ask(&mut owner, "access", json!({ "name": "note.take" }));
    assert_eq!(
        (&one["asked"]["allowed"], &one["commands"][0]["effect"]),
        (&json!(true), &json!("change"))
    );
    assert!(usages(&ask(&mut stranger, "access", json!({ "query": "note" }))).is_empty());

    // A command that the caller may not use looks like one that does not exist, except for the name.
    for (tool, arguments) in [
        ("access", json!({})),
        ("run", json!({ "args": { "words": ["a"] } })),
        (
            "change",
            json!({ "reason": "why", "stdin": "x", "args": { "x": 1 } }),
        ),
    ] {
        let mut answers = ["note.show", "note.take", "note.none"].map(|name| {
            let mut arguments = arguments.clone();
            arguments["name"] = json!(name);
            let answer = ask(&mut stranger, tool, arguments);
            assert_eq!(answer["error"]["code"], "not_found", "{answer}");
            answer.to_string().replace(name, "NAME")
        });
        answers.sort_unstable();
        assert_eq!(answers[0], answers[2], "{tool} {arguments}");
    }
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    assert_eq!((owner.close(), stranger.close()), (Some(0), Some(0)));
    daemon.stop();
}
