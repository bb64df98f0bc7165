//! Malformed lines of every kind, before and after the handshake, in both eras.

use serde_json::{Value, json};

use crate::calls::session;
use crate::daemon::Daemon;
use crate::pipe::{Shim, initialize_params, modern};

#[derive(Clone, Copy, Debug)]
enum Expect {
    Error(i64),
    ErrorFor(i64),
    Nothing,
}
use Expect::{Error, ErrorFor, Nothing};

/// Returns a line over the bound.
fn long(head: &str, tail: &str) -> Vec<u8> {
    [head.as_bytes(), &b"x".repeat(4 << 20), tail.as_bytes()].concat()
}

fn lines() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let text = |line: &str| line.as_bytes().to_vec();
    vec![
        ("no JSON", text("hello"), Error(-32700)),
        (
            "truncated",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"#),
            ErrorFor(-32700),
        ),
        ("two values", text(r#"{"jsonrpc":"2.0"} {}"#), Error(-32700)),
        ("trailing comma", text(r#"{"id":77,}"#), ErrorFor(-32700)),
        ("single quotes", text("{'id':77}"), Error(-32700)),
        ("NaN", text(r#"{"id":NaN}"#), Error(-32700)),
        ("raw NUL", b"\0".to_vec(), Error(-32700)),
        (
            "raw control in a string",
            b"\"a\x01b\"".to_vec(),
            Error(-32700),
        ),
        ("byte order mark", text("\u{feff}{}"), Error(-32700)),
        (
            "not UTF-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"\xff\"}".to_vec(),
            ErrorFor(-32700),
        ),
        ("overlong UTF-8", b"\"\xc0\xaf\"".to_vec(), Error(-32700)),
        (
            "lone surrogate",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"\ud800"}"#),
            ErrorFor(-32700),
        ),
        (
            "deep array",
            [vec![b'['; 100_000], vec![b']'; 100_000]].concat(),
            Error(-32700),
        ),
        (
            "deep array within the count",
            [vec![b'['; 2000], vec![b']'; 2000]].concat(),
            Error(-32700),
        ),
        ("deep object", text(&"{\"a\":".repeat(1000)), Error(-32700)),
        ("number", text("7"), Error(-32600)),
        ("string", text("\"ping\""), Error(-32600)),
        ("null", text("null"), Error(-32600)),
        ("true", text("true"), Error(-32600)),
        ("empty object", text("{}"), Error(-32600)),
        ("empty batch", text("[]"), Error(-32600)),
        (
            "batch",
            text(r#"[{"jsonrpc":"2.0","id":77,"method":"ping"}]"#),
            Error(-32600),
        ),
        (
            "no jsonrpc",
            text(r#"{"id":77,"method":"ping"}"#),
            ErrorFor(-32600),
        ),
        (
            "jsonrpc 1.0",
            text(r#"{"jsonrpc":"1.0","id":77,"method":"ping"}"#),
            ErrorFor(-32600),
        ),
        (
            "jsonrpc number",
            text(r#"{"jsonrpc":2.0,"id":77,"method":"ping"}"#),
            ErrorFor(-32600),
        ),
        (
            "jsonrpc null, no id",
            text(r#"{"jsonrpc":null,"method":"ping"}"#),
            Error(-32600),
        ),
        (
            "id null",
            text(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
            Error(-32600),
        ),
        (
            "id true",
            text(r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#),
            Error(-32600),
        ),
        (
            "id fraction",
            text(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#),
            Error(-32600),
        ),
        (
            "id 2^70",
            text(r#"{"jsonrpc":"2.0","id":1180591620717411303424,"method":"ping"}"#),
            Error(-32600),
        ),
        (
            "id array",
            text(r#"{"jsonrpc":"2.0","id":[77],"method":"ping"}"#),
            Error(-32600),
        ),
        (
            "id object",
            text(r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#),
            Error(-32600),
        ),
        (
            "no method",
            text(r#"{"jsonrpc":"2.0","id":77}"#),
            ErrorFor(-32600),
        ),
        (
            "method number",
            text(r#"{"jsonrpc":"2.0","id":77,"method":7}"#),
            ErrorFor(-32600),
        ),
        (
            "method null",
            text(r#"{"jsonrpc":"2.0","id":77,"method":null}"#),
            ErrorFor(-32600),
        ),
        (
            "request and result",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"ping","result":{}}"#),
            ErrorFor(-32600),
        ),
        (
            "request and error",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"ping","error":{}}"#),
            ErrorFor(-32600),
        ),
        (
            "params array",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"tools/list","params":[1]}"#),
            ErrorFor(-32600),
        ),
        (
            "params string",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":"x"}"#),
            ErrorFor(-32600),
        ),
        (
            "unknown method",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"nope"}"#),
            ErrorFor(-32601),
        ),
        (
            "empty method",
            text(r#"{"jsonrpc":"2.0","id":77,"method":""}"#),
            ErrorFor(-32601),
        ),
        (
            "method of another case",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"Tools/List"}"#),
            ErrorFor(-32601),
        ),
        (
            "prompts",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"prompts/list"}"#),
            ErrorFor(-32601),
        ),
        (
            "prompts get",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"prompts/get","params":{"name":"x"}}"#),
            ErrorFor(-32601),
        ),
        (
            "resources",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"resources/list","params":{}}"#),
            ErrorFor(-32601),
        ),
        (
            "templates",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"resources/templates/list"}"#),
            ErrorFor(-32601),
        ),
        (
            "subscribe",
            text(
                r#"{"jsonrpc":"2.0","id":77,"method":"resources/subscribe","params":{"uri":"x"}}"#,
            ),
            ErrorFor(-32601),
        ),
        (
            "completion",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"completion/complete","params":{}}"#),
            ErrorFor(-32601),
        ),
        (
            "logging",
            text(
                r#"{"jsonrpc":"2.0","id":77,"method":"logging/setLevel","params":{"level":"info"}}"#,
            ),
            ErrorFor(-32601),
        ),
        (
            "tasks",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"tasks/get","params":{"taskId":"x"}}"#),
            ErrorFor(-32601),
        ),
        (
            "subscriptions",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"subscriptions/listen","params":{}}"#),
            ErrorFor(-32601),
        ),
        (
            "call without params",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"tools/call"}"#),
            ErrorFor(-32602),
        ),
        (
            "call without a name",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"arguments":{}}}"#),
            ErrorFor(-32602),
        ),
        (
            "call with a number as name",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":1}}"#),
            ErrorFor(-32602),
        ),
        (
            "call with arguments as array",
            text(
                r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"run","arguments":[1]}}"#,
            ),
            ErrorFor(-32602),
        ),
        (
            "call with bad _meta",
            text(
                r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"run","_meta":1}}"#,
            ),
            ErrorFor(-32602),
        ),
        (
            "list with a number as cursor",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"tools/list","params":{"cursor":1}}"#),
            ErrorFor(-32602),
        ),
        (
            "initialize without params",
            text(r#"{"jsonrpc":"2.0","id":77,"method":"initialize"}"#),
            ErrorFor(-32602),
        ),
        (
            "initialize with a number as version",
            text(
                r#"{"jsonrpc":"2.0","id":77,"method":"initialize","params":{"protocolVersion":1,"capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#,
            ),
            ErrorFor(-32602),
        ),
        ("blank", text(""), Nothing),
        ("spaces", text(" \t\r"), Nothing),
        (
            "unknown notification",
            text(r#"{"jsonrpc":"2.0","method":"notifications/nope"}"#),
            Nothing,
        ),
        (
            "notification with params array",
            text(r#"{"jsonrpc":"2.0","method":"notifications/nope","params":[]}"#),
            Nothing,
        ),
        (
            "initialized",
            text(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
            Nothing,
        ),
        (
            "progress of ours",
            text(
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
            ),
            Nothing,
        ),
        (
            "request sent as notification",
            text(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"run"}}"#),
            Nothing,
        ),
        (
            "cancel of nothing",
            text(
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":123}}"#,
            ),
            Nothing,
        ),
        (
            "cancel without an id",
            text(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#),
            Nothing,
        ),
        (
            "cancel with a bad id",
            text(
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}"#,
            ),
            Nothing,
        ),
        (
            "response",
            text(r#"{"jsonrpc":"2.0","id":77,"result":{}}"#),
            Nothing,
        ),
        (
            "error response",
            text(r#"{"jsonrpc":"2.0","id":77,"error":{"code":-1,"message":"x"}}"#),
            Nothing,
        ),
        (
            "error response without an id",
            text(r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"x"}}"#),
            Nothing,
        ),
        (
            "malformed response",
            text(r#"{"jsonrpc":"2.0","id":{},"result":7}"#),
            Nothing,
        ),
        (
            "line of 4 MiB and one byte",
            vec![b'x'; (4 << 20) + 1],
            Error(-32600),
        ),
        ("line of 4 MiB", vec![b'x'; 4 << 20], Error(-32700)),
        (
            "lone surrogate in an argument, id last",
            text(
                r#"{"method":"tools/call","params":{"name":"run","arguments":{"argv":["echo","cut \ud83d"]}},"jsonrpc":"2.0","id":77}"#,
            ),
            ErrorFor(-32700),
        ),
        (
            "NaN, id last",
            text(r#"{"method":"tools/call","params":{"id":1,"x":NaN},"jsonrpc":"2.0","id":77}"#),
            ErrorFor(-32700),
        ),
        (
            "two ids",
            text(r#"{"id":77,"params":"\ud83d","id":77}"#),
            Error(-32700),
        ),
        (
            "response with a lone surrogate",
            text(r#"{"id":77,"result":"\ud83d"}"#),
            Error(-32700),
        ),
        ("id that may be cut", text(r#"{"id":77"#), Error(-32700)),
        (
            "long line, id first",
            long(r#"{"jsonrpc":"2.0","id":77,"method":""#, r#""}"#),
            ErrorFor(-32600),
        ),
        (
            "long line, id last",
            long(
                r#"{"method":"tools/call","params":{"x":""#,
                r#""},"jsonrpc":"2.0","id":77}"#,
            ),
            ErrorFor(-32600),
        ),
        (
            "long line, id of an argument",
            long(
                r#"{"method":"tools/call","params":{"x":""#,
                r#"","id":77}}"#,
            ),
            Error(-32600),
        ),
        (
            "long line, two ids",
            long(r#"{"id":77,"x":""#, r#"","id":78}"#),
            Error(-32600),
        ),
        (
            "many values, id last",
            [
                b"{\"params\":[".to_vec(),
                b"0,".repeat(1 << 17),
                b"0],\"id\":77}".to_vec(),
            ]
            .concat(),
            ErrorFor(-32700),
        ),
        (
            "many values",
            [b"[".to_vec(), b"0,".repeat(1 << 20), b"0]".to_vec()].concat(),
            Error(-32700),
        ),
    ]
}

fn check(shim: &mut Shim, stage: &str, name: &str, expect: Expect) {
    let (code, id) = match expect {
        Nothing => return shim.nothing_more(),
        Error(code) => (code, None),
        ErrorFor(code) => (code, Some(json!(77))),
    };
    let answer = shim.next();
    assert_eq!(answer["error"]["code"], code, "{stage}, {name}: {answer}");
    assert_eq!(answer.get("id"), id.as_ref(), "{stage}, {name}: {answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        !message.is_empty() && message.len() < 600,
        "{stage}, {name}"
    );
    assert_eq!(answer["jsonrpc"], "2.0");
}

fn all_lines(shim: &mut Shim, stage: &str) {
    for (name, line, expect) in lines() {
        shim.raw(&line);
        shim.raw(b"\n");
        check(shim, stage, name, expect);
    }
    shim.nothing_more();
}

#[test]
fn before_the_handshake_and_then_it_still_works() {
    let mut shim = Shim::alone();
    all_lines(&mut shim, "fresh");
    shim.initialize("2025-11-25");
    shim.request(1, "tools/list", json!({}));
    assert!(shim.next()["result"]["tools"].is_array());
    assert!(shim.close().0.success());
}

#[test]
fn in_a_legacy_session() {
    let mut shim = Shim::alone();
    shim.initialize("2025-06-18");
    all_lines(&mut shim, "legacy");
    assert!(shim.close().0.success());
}

#[test]
fn after_discover_and_then_either_era_works() {
    for modern_next in [true, false] {
        let mut shim = Shim::alone();
        shim.request(1, "server/discover", modern(json!({})));
        assert!(shim.next()["result"]["supportedVersions"].is_array());
        all_lines(&mut shim, "after discover");
        if modern_next {
            shim.request(2, "tools/list", modern(json!({})));
            assert!(shim.next()["result"]["tools"].is_array());
        } else {
            shim.initialize("2025-11-25");
        }
        assert!(shim.close().0.success());
    }
}

#[test]
fn in_the_modern_era() {
    let mut shim = Shim::alone();
    shim.request(1, "tools/list", modern(json!({})));
    assert!(shim.next()["result"]["tools"].is_array());
    all_lines(&mut shim, "modern");
    assert!(shim.close().0.success());
}

#[test]
fn as_the_very_first_line() {
    for (name, line, expect) in lines() {
        let mut shim = Shim::alone();
        shim.raw(&line);
        shim.raw(b"\n");
        check(&mut shim, "first", name, expect);
        shim.request(1, "initialize", initialize_params("2025-11-25"));
        assert!(shim.next()["result"].is_object(), "{name}");
        assert!(shim.close().0.success(), "{name}");
    }
}

#[test]
fn as_the_last_line_without_a_newline() {
    for (name, line, expect) in lines() {
        let mut shim = Shim::alone();
        shim.raw(&line);
        let (status, _, rest) = shim.close();
        assert!(status.success(), "{name}");
        let codes: Vec<_> = rest.iter().map(|answer| &answer["error"]["code"]).collect();
        match expect {
            Nothing => assert!(rest.is_empty(), "{name}: {rest:?}"),
            Error(code) | ErrorFor(code) => assert_eq!(codes, [&json!(code)], "{name}"),
        }
    }
}

#[test]
fn usable_ids_come_back_unchanged() {
    let mut shim = Shim::alone();
    shim.initialize("2025-11-25");
    let long = "x".repeat(10_000);
    let ids = [
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(""),
        json!("1"),
        json!("\u{0}\u{202e}\""),
        json!(long),
    ];
    for id in ids {
        shim.request(id.clone(), "ping", json!({}));
        let answer = shim.next();
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    }
    // An integer, too: the client compares numbers.
    shim.raw(b"{\"jsonrpc\":\"2.0\",\"id\":1e0,\"method\":\"ping\"}\n");
    assert_eq!(shim.next()["id"], 1);
    shim.raw(b"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}\n");
    assert_eq!(shim.next().get("id"), None);
}

#[test]
fn line_endings_and_whitespace_do_not_matter() {
    let mut shim = Shim::alone();
    shim.raw(b"\r\n\n  {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}  \r\n");
    assert_eq!(shim.next()["id"], 1);
    shim.nothing_more();
}

#[test]
fn lines_may_come_in_pieces_or_together() {
    let mut shim = Shim::alone();
    for byte in b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n" {
        shim.raw(&[*byte]);
    }
    assert_eq!(shim.next()["id"], 1);
    let mut many = String::new();
    for id in 0..500 {
        many += &format!(
            "{}\n",
            json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
        );
    }
    shim.raw(many.as_bytes());
    for id in 0..500 {
        assert_eq!(shim.next()["id"], id);
    }
}

#[test]
fn bad_arguments_are_results_that_name_the_argument() {
    let mut shim = Shim::alone();
    shim.initialize("2025-11-25");
    let cases = [
        ("run", json!({}), "argv"),
        ("run", json!({"argv": "df"}), "argv"),
        ("run", json!({"argv": ["a\0"]}), "argv"),
        ("run", json!({"argv": ["a"], "nope": 1}), "nope"),
        ("run", json!({"argv": ["a"], "wait_ms": 60000}), "wait_ms"),
        ("job", json!({"job_id": 7}), "job_id"),
        ("job_stop", json!({}), "job_id"),
        ("history", json!({"since": "soon"}), "since"),
        ("history", json!({"kind": "run"}), "kind"),
        ("host", json!({"sections": "os"}), "sections"),
        ("access", json!({"argv": [1]}), "argv"),
    ];
    for (tool, arguments, name) in cases {
        shim.call(1, tool, arguments);
        let result = &shim.next()["result"];
        assert_eq!(result["isError"], true, "{result}");
        let error = &result["structuredContent"]["error"];
        assert_eq!(error["code"], "invalid_args", "{result}");
        assert!(
            error["message"].as_str().unwrap().contains(name),
            "{result}"
        );
        let text: Value =
            serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"]);
    }
    shim.call(2, "nope", json!({}));
    let answer = shim.next();
    assert_eq!(answer["error"]["code"], -32602);
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("nope")
    );
}

#[test]
fn duplicate_name_never_reaches_the_daemon() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    for (tool, arguments, name) in [
        ("run", r#"{"argv":["a"],"argv":["b"]}"#, "argv"),
        ("run", r#"{"argv":["a"],"\u0061rgv":["b"]}"#, "argv"),
        (
            "run",
            r#"{"name":"a","args":{"unit":"a","unit":"b"}}"#,
            "unit",
        ),
        ("run", r#"{"argv":["a"],"env":{"A":"a","A":"b"}}"#, "A"),
        (
            "change",
            r#"{"reason":"r","name":"a","args":{"u":1,"u":1}}"#,
            "u",
        ),
        (
            "plan",
            r#"{"edits":[{"path":"/a","path":"/b","mkdir":true}]}"#,
            "path",
        ),
        ("job_stop", r#"{"job_id":"x","job_id":"x"}"#, "job_id"),
    ] {
        let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        shim.raw(request(&params).as_bytes());
        let answer = shim.next();
        assert_eq!(answer["id"], 77, "{answer}");
        let error = &answer["result"]["structuredContent"]["error"];
        assert_eq!(error["code"], "invalid_args", "{answer}");
        let expect = format!("an argument is given twice: {name}");
        assert_eq!(error["message"], expect, "{arguments}");
    }
    let run = r#""name":"run","arguments":{"argv":["a"]}"#;
    for (line, name) in [
        (request(&format!(r#"{{"name":"host",{run}}}"#)), "name"),
        (
            request(&format!(r#"{{"arguments":{{}},{run}}}"#)),
            "arguments",
        ),
        (
            request(&format!(r#"{{{run},"_meta":{{"a":1,"a":2}}}}"#)),
            "a",
        ),
        // The library takes a call with a task.
        (
            request(&format!(r#"{{{run},"task":{{"ttl":1,"ttl":2}}}}"#)),
            "ttl",
        ),
        (request(&format!(r#"{{{run}}},"params":{{}}"#)), "params"),
        (request(&format!(r#"{{{run}}},"method":"ping""#)), "method"),
    ] {
        shim.raw(line.as_bytes());
        let answer = shim.next();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(77), &json!(-32600)),
            "{answer}"
        );
        let expect = format!("a name is given twice: {name}");
        assert_eq!(answer["error"]["message"], expect, "{line}");
    }
    shim.nothing_more();
    assert!(daemon.untouched());
}

fn request(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}"#) + "\n"
}
