//! Runs the official MCP clients, over each transport they support, against a real daemon.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::Identity;

/// Exit status of the script if a client cannot be installed.
const NOT_INSTALLED: i32 = 75;

/// For the user 64001.
const COMMANDS: &str = include_str!("../mcp-clients/policy.toml");

/// What the shim writes to a client that is to wait.
const INPUT_REQUIRED: &str = "\"resultType\":\"input_required\"";

fn run_clients(daemon: &Daemon, transcript: &Path) -> Output {
    let here = env!("CARGO_MANIFEST_DIR");
    let user = user_a();
    let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
    // Clients are installed below target; their shim runs as the unprivileged user.
    let cache = format!("{here}/../target/mcp-clients");
    let mut clients = Command::new(format!("{here}/mcp-clients/run"));
    clients
        .arg(cache)
        .args(["sh", "-c", "log=$1; shift; \"$@\" | tee -a \"$log\"", "sh"])
        .arg(transcript)
        .arg("setpriv")
        .args(["--groups", &groups.join(",")])
        .args(["--reuid", &user.uid.to_string()])
        .args(["--regid", &user.gid.to_string()])
        .arg(daemon.program("mcp-shim"))
        .arg("--socket")
        .arg(daemon.runtime().socket())
        .env("APPROVES", "1");
    clients.output().expect("the script runs")
}

/// Approves what a client waits for, once the client waits.
fn approve(daemon: &Daemon, transcript: &Path, is_over: &AtomicBool) {
    let root = Identity::new(0, &[]);
    let mut before = 0;
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        let now = fs::read_to_string(transcript).unwrap_or_default();
        let now = now.matches(INPUT_REQUIRED).count();
        let mut requests = daemon.pending(&root).into_iter();
        let asked = requests.find(|view| view.command.ends_with("words=approve"));
        if let Some(view) = asked.filter(|_| now > before) {
            let approved = daemon.approve(&root, view.job, view.digest);
            approved.expect("root may");
            before = now;
        }
    }
}

#[test]
fn clients_initialize_list_run_change_and_get_errors() {
    let options = Options::default();
    let policy = options.policy.clone() + COMMANDS;
    let mut daemon = Daemon::start(Options {
        policy,
        waiting: 20,
        ..options
    });
    let transcript = daemon.path().join("transcript");
    let is_over = AtomicBool::new(false);
    let output = thread::scope(|scope| {
        scope.spawn(|| approve(&daemon, &transcript, &is_over));
        let output = run_clients(&daemon, &transcript);
        is_over.store(true, Ordering::Relaxed);
        output
    });
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let required = std::env::var("REMIT_TESTS_MUST_RUN").as_deref() == Ok("1");
    if output.status.code() == Some(NOT_INSTALLED) && !required {
        eprintln!("left out: {said}");
    } else {
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches(", content").count(), 7, "{said}");
        assert!(daemon.records("intent").len() >= 5);
        // The two clients of the newest revision.
        assert_eq!(daemon.records("approved").len(), 2);
        assert_eq!(daemon.records("asked").len(), 7, "no client asks twice");
    }
    daemon.restart_cleanly();
    daemon.stop();
}
