//! The five protocol revisions and both ways to start.

use serde_json::{Value, json};

use crate::daemon::{Daemon, answer, ended};
use crate::pipe::{Shim, initialize_params, modern};

const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

#[test]
fn initialize_agrees_on_the_revision_asked_for() {
    for version in LEGACY {
        let mut shim = Shim::alone();
        let result = shim.initialize(version);
        assert_eq!(result["protocolVersion"], version);
        assert_eq!(result["serverInfo"]["name"], "remit");
        assert_eq!(result["capabilities"], json!({"tools": {}}));
        let instructions = result["instructions"].as_str().unwrap();
        assert!(instructions.starts_with("Root-safe access"));
        assert!(instructions.len() <= 2048);
        assert!(shim.close().0.success());
    }
}

#[test]
fn initialize_with_unknown_revision_gets_newest_legacy() {
    for version in ["2026-07-28", "2024-10-07", "2099-01-01", "", "garbage"] {
        let result = Shim::alone().initialize(version);
        assert_eq!(result["protocolVersion"], "2025-11-25", "{version}");
    }
}

#[test]
fn legacy_results_have_no_modern_fields() {
    let daemon = Daemon::start(|_| answer(ended(b"out")));
    for version in LEGACY {
        let mut shim = Shim::start(&daemon.socket());
        shim.initialize(version);
        shim.request(1, "tools/list", json!({}));
        let list = shim.next()["result"].clone();
        assert_eq!(
            list.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["tools"]
        );
        shim.call(2, "run", json!({"argv": ["true"]}));
        let result = shim.next()["result"].clone();
        for field in ["resultType", "_meta", "ttlMs"] {
            assert_eq!(result.get(field), None, "{version}: {result}");
        }
        shim.request(3, "ping", json!({}));
        assert_eq!(shim.next()["result"], json!({}));
        shim.request(4, "initialize", initialize_params(version));
        assert_eq!(shim.next()["result"]["protocolVersion"], version);
    }
}

#[test]
fn modern_results_name_server_without_handshake() {
    let daemon = Daemon::start(|_| answer(ended(b"out")));
    let mut shim = Shim::start(&daemon.socket());
    shim.request(1, "server/discover", modern(json!({})));
    let discover = shim.next()["result"].clone();
    for version in LEGACY.into_iter().chain(["2026-07-28"]) {
        let supported = discover["supportedVersions"].as_array().unwrap();
        assert!(supported.contains(&json!(version)));
    }
    assert!(discover["instructions"].as_str().unwrap().len() <= 2048);
    shim.request(2, "tools/list", modern(json!({})));
    let list = shim.next()["result"].clone();
    assert!(list["ttlMs"].is_u64() && list["cacheScope"].is_string());
    let params = modern(json!({"name": "run", "arguments": {"argv": ["true"]}}));
    shim.request(3, "tools/call", params);
    let run = shim.next()["result"].clone();
    assert_eq!(run["structuredContent"]["exit"], 3);
    shim.request(4, "tools/call", modern(json!({"name": "run"})));
    let refused = shim.next()["result"].clone();
    assert_eq!(refused["isError"], true);
    for result in [discover, list, run, refused] {
        assert_eq!(result["resultType"], "complete", "{result}");
        let server = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(server["name"], "remit", "{result}");
    }
    shim.request(5, "ping", modern(json!({})));
    assert_eq!(shim.next()["error"]["code"], -32601);
}

#[test]
fn modern_request_without_meta_or_revision_is_refused() {
    for first in [false, true] {
        let mut shim = Shim::alone();
        if !first {
            shim.request(0, "tools/list", modern(json!({})));
            assert!(shim.next()["result"].is_object());
        }
        for method in ["tools/list", "tools/call", "server/discover"] {
            shim.request(1, method, json!({"name": "run", "arguments": {}}));
            assert_eq!(shim.next()["error"]["code"], -32602, "{method}");
            let mut params = modern(json!({"name": "run", "arguments": {}}));
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
            shim.request(1, method, params);
            let answer = shim.next();
            assert_eq!(answer["error"]["code"], -32022, "{method}: {answer}");
            assert!(answer["error"]["data"]["supported"].is_array());
        }
        shim.request(2, "tools/list", modern(json!({})));
        assert!(shim.next()["result"]["tools"].is_array());
    }
}

#[test]
fn unknown_cursor_is_refused() {
    for params in [json!({"cursor": "x"}), modern(json!({"cursor": ""}))] {
        let mut shim = Shim::alone();
        shim.initialize("2025-11-25");
        shim.request(1, "tools/list", params);
        assert_eq!(shim.next()["error"]["code"], -32602);
    }
}

#[test]
fn initialize_after_discover_opens_a_legacy_session() {
    let mut shim = Shim::alone();
    shim.request(1, "server/discover", modern(json!({})));
    assert!(shim.next()["result"].is_object());
    shim.cancel(1);
    let result = shim.initialize("2025-11-25");
    assert_eq!(result["protocolVersion"], "2025-11-25");
    shim.request(2, "tools/list", json!({}));
    assert_eq!(shim.next()["result"].get("resultType"), None);
}

#[test]
fn tool_list_equals_print_tools() {
    let printed = crate::pipe::command(&["--print-tools"]).output().unwrap();
    assert!(printed.status.success());
    let again = crate::pipe::command(&["--print-tools"]).output().unwrap();
    assert_eq!(printed.stdout, again.stdout);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let mut lists = Vec::new();
    for version in LEGACY {
        let mut shim = Shim::alone();
        shim.initialize(version);
        shim.request(1, "tools/list", json!({}));
        lists.push(shim.next()["result"]["tools"].clone());
    }
    let mut shim = Shim::alone();
    shim.request(1, "tools/list", modern(json!({})));
    lists.push(shim.next()["result"]["tools"].clone());
    for list in lists {
        assert_eq!(list, printed["tools"]);
        let names: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|t| &t["name"])
            .collect();
        assert_eq!(
            names,
            [
                "access", "host", "run", "change", "job", "job_stop", "history"
            ]
        );
        assert!(list.to_string().len() <= 12_000);
    }
}
