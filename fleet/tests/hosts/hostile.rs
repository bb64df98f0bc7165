//! Hosts that are silent, endless, lying or of another release: bounded, and named.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stage::{RELEASE, Stage, canned, daemon, ran};

/// Calls all hosts, and returns why each of these had no answer.
fn reasons(stage: &Stage) -> Value {
    let mut client = stage.client();
    let data = client.tool("run", json!({"on": "*", "argv": ["echo", "a"]}));
    data["structuredContent"].clone()
}

fn why<'a>(data: &'a Value, host: &str) -> &'a str {
    let all = data["unreachable"].as_array().unwrap();
    let of = all
        .iter()
        .find(|one| one["hosts"].as_array().unwrap().contains(&json!(host)));
    of.unwrap_or_else(|| panic!("{host}: {data}"))["why"]
        .as_str()
        .unwrap()
}

#[test]
fn hosts_that_misbehave_harm_only_their_own_line() {
    let daemon = daemon();
    let hosts = [
        "good", "silent", "lines", "bytes", "answers", "other", "long", "list", "closed", "refuses",
    ];
    let mut stage = Stage::new(&hosts);
    stage.set_limits("connect_s = 10");
    stage.set_fleet("[hosts]\ninclude = [\"*\"]\n");
    stage.set_real("good", &daemon);
    stage.set_host("silent", "exec sleep 1000\n");
    stage.set_host("lines", "exec yes\n");
    stage.set_host("bytes", "exec cat /dev/zero\n");
    stage.set_host(
        "answers",
        "exec yes '{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{}}'\n",
    );
    stage.set_host("other", &canned("another\u{1b}[2J", "1", &ran("x")));
    stage.set_host("long", &canned("remit", RELEASE, &ran(&"x".repeat(90_000))));
    stage.set_host(
        "list",
        &canned("remit", RELEASE, &json!({"structuredContent": [1]})),
    );
    stage.set_host(
        "closed",
        "read -r line; echo 'bash: line 1: mcp-shim: command not found' >&2; exit 127\n",
    );
    stage.set_host(
        "refuses",
        "read -r line; echo '{\"jsonrpc\":\"2.0\",\"id\":0,\"error\":{\"code\":-1,\"message\":\"not you\"}}'; exec sleep 1000\n",
    );
    let data = reasons(&stage);
    assert_eq!(data["groups"][0]["hosts"], json!(["good"]), "{data}");
    assert_eq!(data["groups"].as_array().unwrap().len(), 1);
    for (host, expect) in [
        ("silent", "no answer within 10 s"),
        (
            "lines",
            "it prints without end: 262144 bytes answer nothing; it printed: y",
        ),
        ("bytes", "it sent a line of more than 262144 bytes"),
        ("answers", "it answers what was not asked"),
        ("other", "'another\\x1b[2J' answers there, and not remit"),
        ("long", "it sent an answer of 9"),
        ("list", "it sent an answer that is no object"),
        (
            "closed",
            "mcp-shim: command not found (ssh ended with status 127). if it is mcp-shim, install remit there",
        ),
        ("refuses", "it refuses: not you"),
    ] {
        let why = why(&data, host);
        assert!(why.contains(expect), "{host}: {why}");
    }
}

#[test]
fn escape_codes_are_made_visible() {
    let stage = Stage::new(&["web1", "web2"]);
    let hostile = ran("\u{1b}]0;title\u{7}\u{202e}abc\r\n");
    for host in ["web1", "web2"] {
        stage.set_host(host, &canned("remit", RELEASE, &hostile));
    }
    let mut client = stage.client();
    for (on, pointer) in [
        ("web1", "/structuredContent/stdout"),
        ("*", "/structuredContent/groups/0/stdout"),
    ] {
        let result = client.tool("run", json!({"on": on, "argv": ["x"]}));
        let texts = [
            &result["content"][0]["text"],
            result.pointer(pointer).unwrap(),
        ];
        for text in texts.map(|text| text.as_str().unwrap()) {
            let hidden = text.chars().find(|c| !remit_common::text::is_plain(*c));
            assert_eq!(hidden, None, "{text}");
        }
        let expect = "\\x1b]0;title\\x07\\u{202e}abc";
        assert!(texts[1].as_str().unwrap().starts_with(expect), "{result}");
    }
}

#[test]
fn other_release_is_named_and_served() {
    let stage = Stage::new(&["old", "new"]);
    stage.set_host("old", &canned("remit", "0.0.1", &ran("x")));
    stage.set_host("new", &canned("remit", RELEASE, &ran("x")));
    let mut client = stage.client();
    let data = client.data("run", json!({"on": "*", "argv": ["x"]}));
    assert_eq!(data["groups"][0]["hosts"], json!(["old", "new"]), "{data}");
    assert_eq!(data["other_releases"]["0.0.1"]["hosts"], json!(["old"]));
    // A set and a plan on many hosts say the same.
    for (tool, arguments) in [
        ("change", json!({"on": "*", "name": "x", "reason": "x"})),
        ("plan", json!({"on": "*", "edits": []})),
    ] {
        let result = client.tool(tool, arguments);
        let old = &result["structuredContent"]["other_releases"]["0.0.1"];
        assert_eq!(*old, json!({"hosts": ["old"], "more_hosts": 0}), "{result}");
    }
    let one = client.data("run", json!({"on": "old", "argv": ["x"]}));
    assert!(
        one["release"]
            .as_str()
            .unwrap()
            .starts_with("remit 0.0.1 there"),
        "{one}"
    );
    let same = client.data("run", json!({"on": "new", "argv": ["x"]}));
    assert_eq!(same.get("release"), None);
}

#[test]
fn silent_host_after_hello_ends_by_the_deadline() {
    let stage = Stage::new(&["web1"]);
    // It answers 'initialize' and nothing else.
    let hello =
        canned("remit", RELEASE, &ran("x")).replace("*'\"method\":\"tools/call\"'*", "never");
    stage.set_host("web1", &hello);
    let mut client = stage.client();
    let start = Instant::now();
    let why = client.refusal("job", json!({"job_id": "ab", "wait_ms": 0}));
    assert!(why.starts_with("web1: no answer within 10 s"), "{why}");
    let why = client.refusal("run", json!({"argv": ["x"], "wait_ms": 1}));
    assert!(
        why.contains("it may have started: the same call with request_id '"),
        "{why}"
    );
    assert!(start.elapsed() < Duration::from_secs(45));
    assert_eq!(
        stage.logins().len(),
        2,
        "a silent session is not used again"
    );
}

/// It says at once, each time, that its job runs.
#[test]
fn host_that_answers_at_once_is_asked_once_a_second() {
    let stage = Stage::new(&["web1"]);
    let running = json!({"content": [], "structuredContent": {"job_id": "ab", "state": "running"}, "isError": false});
    let ended = ran("done\n");
    let calls = format!(
        "*'\"method\":\"tools/call\"'*) echo x >>\"$dir/hosts/.calls\"; result='{running}'\n\
         [ \"$(wc -l <\"$dir/hosts/.calls\")\" -gt 3 ] && result='{ended}' ;;\n"
    );
    let other = "*'\"method\":\"tools/call\"'*";
    let host = canned("remit", RELEASE, &ended).replacen(other, &(calls + other), 1);
    stage.set_host("web1", &host);
    let start = Instant::now();
    let (status, out, err) = stage.run(&["run", "--on", "web1", "--", "x"]);
    assert!(status == Some(0) && out.contains("done"), "{out}{err}");
    assert!(
        start.elapsed() >= Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}
