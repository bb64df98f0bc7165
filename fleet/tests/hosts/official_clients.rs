//! Official MCP clients, one of each language and of each revision, drive `remit-fleet` as all of them drive `mcp-shim`: one host,
//! a real daemon.

use std::process::Command;

use remit_tests::daemon::{Daemon, Options};

use crate::stage::{Stage, user};

/// Exit status of the script if a client cannot be installed.
const NOT_INSTALLED: i32 = 75;
const COMMANDS: &str = include_str!("../../../tests/mcp-clients/policy.toml");

#[test]
fn official_clients_are_served_as_by_the_host_itself() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let policy = Options::default().policy + COMMANDS;
    let daemon = Daemon::start(Options {
        policy: policy.replace("#64001", "somebody"),
        ..Options::default()
    });
    let stage = Stage::new(&["web1"]);
    stage.set_real("web1", &daemon);
    let user = user();
    let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
    let mut clients = Command::new(format!("{here}/tests/mcp-clients/run"));
    // Clients are installed below target; the server runs as the unprivileged user.
    clients
        .arg("--fleet")
        .arg(format!("{here}/target/mcp-clients"))
        .arg("setpriv")
        .args(["--groups", &groups.join(",")])
        .args(["--reuid", &user.uid.to_string()])
        .args(["--regid", &user.gid.to_string()])
        .arg("env")
        .arg(format!("HOME={}", stage.path().join("home").display()))
        .arg(format!(
            "XDG_RUNTIME_DIR={}",
            stage.path().join("r").display()
        ))
        .arg(env!("CARGO_BIN_EXE_remit-fleet"));
    let output = clients.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let is_required = std::env::var("REMIT_TESTS_MUST_RUN").as_deref() == Ok("1");
    if output.status.code() == Some(NOT_INSTALLED) && !is_required {
        eprintln!("left out: {said}");
        return;
    }
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches(", content").count(), 3, "{said}");
    assert!(daemon.records("intent").len() >= 5);
}
