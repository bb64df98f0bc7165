//! Tests the verbs that set up a machine. tests/machine/test-enroll tests their effect.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::fake::{Said, remit};

/// A well-formed key that nobody owns.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn said(args: &[&str], input: &str) -> Said {
    let mut child = remit(Path::new("/nonexistent"), args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program does not read its input if it refuses the arguments.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

#[test]
fn printing_does_nothing_and_says_so() {
    let key = format!("{KEY} me");
    let printed = said(&["enroll", "agent", "-", "--print"], &key);
    let line = format!("restrict,command=\"/usr/bin/mcp-shim\" {key}");
    assert_eq!(
        (printed.status, printed.text()),
        (Some(0), &*format!("{line}\n"))
    );
    assert!(
        printed.stderr.starts_with("remit: nothing was done"),
        "{printed:?}"
    );
    let json = said(&["enroll", "agent", "-", "--print", "--json"], &key).json();
    assert_eq!(json, json!({ "line": line }));
}

#[test]
fn invalid_key_is_refused_in_both_forms() {
    let input = "-----BEGIN OPENSSH PRIVATE KEY-----";
    let refused = said(&["enroll", "agent", "-", "--print"], input);
    assert_eq!((refused.status, refused.text()), (Some(125), ""));
    assert!(
        refused
            .stderr
            .contains("standard input: it is a private key"),
        "{refused:?}"
    );
    let json = said(&["enroll", "agent", "-", "--print", "--json"], input).json();
    assert_eq!(json["error"]["code"], "invalid_args");
}

#[test]
fn user_not_enrolled_is_not_unenrolled() {
    let state = std::env::temp_dir().join(format!("remit-unenroll-{}", std::process::id()));
    let args = [
        "unenroll",
        "no-such-agent",
        "--json",
        "--state",
        state.to_str().unwrap(),
    ];
    let refused = said(&args, "");
    std::fs::remove_dir_all(&state).unwrap();
    assert_eq!(refused.status, Some(125), "{refused:?}");
    assert_eq!(refused.json()["error"]["code"], "not_found");
    assert!(refused.stderr.contains("remit: to go on: "), "{refused:?}");
}

#[test]
fn stdout_has_only_text_to_paste() {
    let args = [
        "client-config",
        "cursor",
        "web-1.example.org",
        "--user",
        "agent",
    ];
    let config = said(&args, "");
    assert_eq!(config.status, Some(0), "{config:?}");
    let read: serde_json::Value = serde_json::from_str(config.text()).unwrap();
    let ssh = read["mcpServers"]["web-1"]["args"].as_array().unwrap();
    assert_eq!(
        ssh[ssh.len() - 2..],
        ["agent@web-1.example.org", "mcp-shim"]
    );
    assert!(config.stderr.contains("~/.cursor/mcp.json"), "{config:?}");
    let json = said(&[&args[..], &["--json"]].concat(), "").json();
    assert_eq!(
        (&json["client"], &json["config"]),
        (&"cursor".into(), &config.text().into())
    );
    assert_eq!(json["command"][0], "ssh");
}

#[test]
fn ambiguous_ssh_words_are_usage_errors() {
    for args in [
        &["client-config", "cursor", "--", "-oProxyCommand=x"][..],
        &["client-config", "cursor", "a b"],
        &["client-config", "cursor", "web", "--user", "-x"],
        &["client-config", "cursor", "a@web", "--user", "b"],
        &["client-config", "cursor", "web", "--identity", "a\nb"],
        &["client-config", "cursor", "web", "--name", "a b"],
        &["client-config", "emacs", "web"],
        &["enroll", "--", "-x", "-"],
        &["enroll", "a b", "-"],
        &["enroll", "a", "-", "--expires", "soon"],
        &["enroll", "a", "-", "--group", "x,y"],
        &["unenroll", "../root"],
    ] {
        let refused = said(args, KEY);
        assert_eq!((refused.status, refused.text()), (Some(64), ""), "{args:?}");
    }
}
