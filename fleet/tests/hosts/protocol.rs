//! The server's side of MCP: all revisions as mcp-shim, before any host answers, and bad input.

use std::process::{Command, Stdio};

use remit_tests::test_dir::built;
use serde_json::{Value, json};

use crate::client::Client;
use crate::stage::Stage;

const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// A fleet whose hosts never answer.
fn silent() -> Stage {
    let stage = Stage::new(&["web1", "web2"]);
    for host in ["web1", "web2"] {
        stage.set_host(host, "exec sleep 1000\n");
    }
    stage
}

fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params
}

#[test]
fn snapshot_of_tools_is_what_the_shim_prints() {
    let printed = Command::new(built().join("mcp-shim"))
        .arg("--print-tools")
        .output()
        .unwrap();
    let file = format!("{}/src/mcp/tools.json", env!("CARGO_MANIFEST_DIR"));
    let printed = String::from_utf8(printed.stdout).unwrap();
    if std::env::var_os("REMIT_WRITE_TOOLS").is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept == printed, "{file}: REMIT_WRITE_TOOLS=1 writes it");
}

#[test]
fn list_is_answered_before_any_host() {
    let stage = silent();
    let mut client = Client::start(stage.command(&[]));
    let hello = client.initialize("2025-11-25");
    assert_eq!(hello["serverInfo"]["name"], "remit-fleet");
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    assert_eq!(tools.as_array().unwrap().len(), 9);
    assert_eq!(tools[1]["inputSchema"]["required"], json!(["on"]));
    let hosts = client.data("hosts", json!({}));
    assert_eq!(hosts["hosts"], json!([{"name": "web1"}, {"name": "web2"}]));
    assert_eq!(stage.logins(), [""; 0]);
}

/// Sends the same lines to both, and compares the answers without names and tools.
#[test]
fn every_revision_is_answered_as_by_the_shim() {
    let stage = silent();
    let line = |id: u64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let hello = |version: &str| json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let mut sessions: Vec<Vec<Value>> = Vec::new();
    for version in
        LEGACY
            .into_iter()
            .chain(["2026-07-28", "2024-10-07", "2099-01-01", "", "garbage"])
    {
        sessions.push(vec![
            line(1, "initialize", hello(version)),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            line(2, "tools/list", json!({})),
            line(3, "ping", json!({})),
            line(4, "resources/list", json!({})),
            line(5, "tools/call", json!({"name": "nonsense"})),
            line(6, "initialize", hello(version)),
        ]);
    }
    let mut unknown = modern(json!({}));
    unknown["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    sessions.push(vec![
        line(1, "server/discover", modern(json!({}))),
        line(2, "tools/list", modern(json!({}))),
        line(3, "ping", modern(json!({}))),
        line(4, "tools/list", unknown),
        line(5, "tools/list", json!({})),
        line(6, "initialize", hello("2025-11-25")),
    ]);
    for session in sessions {
        let mut shim = Command::new(built().join("mcp-shim"));
        shim.args(["--socket", "/nonexistent"])
            .stderr(Stdio::null());
        let mut answers =
            [Client::start(shim), Client::start(stage.command(&[]))].map(|mut client| {
                let asked = session
                    .iter()
                    .filter(|line| line.get("id").is_some())
                    .count();
                session.iter().for_each(|line| client.send(line));
                let mut answers: Vec<Value> = (0..asked).map(|_| client.receive()).collect();
                answers.sort_by_key(|answer| answer["id"].as_u64());
                answers
            });
        for answer in answers.iter_mut().flatten() {
            without_names(answer);
        }
        let [shim, own] = answers;
        assert_eq!(shim, own, "{session:#?}");
    }
}

fn without_names(answer: &mut Value) {
    let result = &mut answer["result"];
    for (key, of) in [
        ("tools", json!("list")),
        ("instructions", json!("text")),
        ("serverInfo", json!("info")),
    ] {
        if result.get(key).is_some() {
            result[key] = of;
        }
    }
    if result
        .pointer("/_meta/io.modelcontextprotocol~1serverInfo")
        .is_some()
    {
        result["_meta"]["io.modelcontextprotocol/serverInfo"] = json!("info");
    }
    // It lists the tools that there are.
    if answer["error"]["code"] == -32602 {
        answer["error"]["message"] = json!("params");
    }
}

#[test]
fn bad_input_is_answered_and_survived() {
    let stage = silent();
    let mut client = stage.client();
    client.raw(b"{\n\n[]\n\xff\n{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}\n");
    for code in [-32700, -32600, -32700, -32600] {
        let fault = client.receive();
        assert_eq!(
            (&fault["error"]["code"], fault.get("id")),
            (&json!(code), None),
            "{fault}"
        );
    }
    client.raw(&vec![b'x'; (4 << 20) + 1]);
    client.raw(b"\n");
    assert_eq!(client.receive()["error"]["code"], -32600);
    client.raw(b"{\"method\":\"tools/call\",\"params\":\"");
    client.raw(&vec![b'x'; 4 << 20]);
    client.raw(b"\",\"jsonrpc\":\"2.0\",\"id\":71}\n");
    assert_eq!(client.receive()["id"], 71);
    client.raw(b"{\"params\":[\"\\ud83d\"],\"jsonrpc\":\"2.0\",\"id\":72}\n");
    assert_eq!(client.receive()["id"], 72);
    let twice = br#"{"method":"x","method":"ping","jsonrpc":"2.0","id":73}"#;
    client.raw(&[&twice[..], b"\n"].concat());
    let fault = client.receive();
    assert_eq!(
        (&fault["id"], &fault["error"]["code"]),
        (&json!(73), &json!(-32600))
    );
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}}));
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
}

#[test]
fn requests_in_flight_are_bounded_and_have_one_id_each() {
    let stage = silent();
    let mut client = stage.client();
    let call = json!({"name": "access", "arguments": {"on": "web1"}});
    let ids: Vec<u64> = (0..32)
        .map(|_| client.start_request("tools/call", call.clone()))
        .collect();
    client.send(&json!({"jsonrpc": "2.0", "id": ids[0], "method": "ping"}));
    let twice = client.receive();
    assert_eq!(
        twice["error"]["message"], "a request with this id is still in flight",
        "{twice}"
    );
    let more = client.request("tools/call", call);
    assert!(
        more["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("32 calls are in flight")
    );
    // A client that gets no answer to it ends the session.
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
    for id in ids {
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    }
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
}
