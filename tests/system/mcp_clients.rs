//! Runs the official MCP clients, over each transport they support, against a real daemon.

use std::process::Command;

use remit_tests::daemon::{Daemon, Options, user_a};

/// Exit status of the script if a client cannot be installed.
const NOT_INSTALLED: i32 = 75;

/// For the user 64001.
const COMMANDS: &str = include_str!("../mcp-clients/policy.toml");

#[test]
fn clients_initialize_list_run_change_and_get_errors() {
    let here = env!("CARGO_MANIFEST_DIR");
    let options = Options::default();
    let policy = options.policy.clone() + COMMANDS;
    let mut daemon = Daemon::start(Options { policy, ..options });
    let user = user_a();
    let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
    // Clients are installed below target; their shim runs as the unprivileged user.
    let cache = format!("{here}/../target/mcp-clients");
    let mut clients = Command::new(format!("{here}/mcp-clients/run"));
    clients
        .arg(cache)
        .arg("setpriv")
        .args(["--groups", &groups.join(",")])
        .args(["--reuid", &user.uid.to_string()])
        .args(["--regid", &user.gid.to_string()])
        .arg(daemon.program("mcp-shim"))
        .arg("--socket")
        .arg(daemon.runtime().socket());
    let output = clients.output().expect("the script runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let required = std::env::var("REMIT_TESTS_MUST_RUN").as_deref() == Ok("1");
    if output.status.code() == Some(NOT_INSTALLED) && !required {
        eprintln!("left out: {said}");
    } else {
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches(", content").count(), 7, "{said}");
        assert!(daemon.records("intent").len() >= 5);
    }
    daemon.restart_cleanly();
    daemon.stop();
}
