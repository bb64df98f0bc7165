//! Tables of a real daemon on a terminal of 80 columns.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use remit_tests::caller::{Caller, argv, script};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_tests::process::Identity;

const COLUMNS: u16 = 80;

/// Returns what `remit` prints on a terminal.
fn shown(daemon: &Daemon, user: &Identity, arguments: &[&str]) -> String {
    let size = Winsize {
        ws_row: 24,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(&size, None).unwrap();
    let mut command = Command::new(daemon.program("remit"));
    command
        .arg("--runtime")
        .arg(daemon.runtime().dir())
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(pty.slave.try_clone().unwrap())
        .stderr(pty.slave);
    user.runs(&mut command);
    let mut child = command.spawn().unwrap();
    drop(command); // also closes our copies of the slave
    let mut text = Vec::new();
    // Linux returns EIO after the last slave is closed (pty(7)).
    let _ = File::from(pty.master).read_to_end(&mut text);
    let status = child.wait().unwrap();
    let text = String::from_utf8(text).unwrap().replace("\r\n", "\n");
    assert!(status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn tables_fit_the_terminal() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "word-of-a-long-command ".repeat(20);
    caller.run(argv(&["echo", long.as_str()])).unwrap();
    caller.run(script("exit 7")).unwrap();
    let _ = caller.run(argv(&[&"no-such-program-".repeat(12)]));
    let config = daemon.path().join("config");
    let config = config.to_str().unwrap();
    let state = daemon.path().join("state");
    let audit_log = state.join("audit.jsonl");
    let audit = ["audit", "show", "--config", config, "--file"];
    let audit = [&audit[..], &[audit_log.to_str().unwrap()]].concat();
    let cases: &[(Identity, &[&str], usize)] = &[
        (user_a(), &["jobs", "--mine"], 4),
        (admin(), &["jobs"], 4),
        (user_a(), &["access"], 4),
        (user_a(), &["access", "--query", "disk"], 1),
        (user_a(), &["history", "--mine"], 4),
        (admin(), &["history", "--all"], 4),
        (admin(), &["grants"], 1),
        (admin(), &["pending"], 1),
        (admin(), &["status"], 10),
        (user_a(), &["host"], 20),
        (Identity::new(0, &[]), &audit, 4),
        (user_a(), &["--help"], 40),
    ];
    for (user, arguments, least) in cases {
        let text = shown(&daemon, user, arguments);
        assert!(text.lines().count() >= *least, "{arguments:?}: {text}");
        for line in text.lines() {
            assert!(
                line.chars().count() <= usize::from(COLUMNS),
                "{arguments:?}: {line}"
            );
        }
    }
    daemon.stop();
}
