use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Output, Stdio};

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::ToClient;
use remit_common::{caps, frame};

use crate::daemon::{Daemon, Seen};
use crate::pipe::command;

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    parts_of(command(args).output().unwrap())
}

fn parts_of(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn help_and_version_are_printed() {
    let (status, stdout, stderr) = run(&["--help"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    for part in [
        "--socket",
        "--check",
        "--print-tools",
        "--version",
        "69",
        "77",
    ] {
        assert!(stdout.contains(part), "{part}");
    }
    let (status, stdout, _) = run(&["--version"]);
    let expect = format!("mcp-shim {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((status, stdout), (Some(0), expect));
}

#[test]
fn wrong_usage_is_one_line_of_error() {
    for args in [&["--nope"][..], &["--socket"], &["--socket="], &["x"]] {
        let (status, stdout, stderr) = run(args);
        assert_eq!((status, stdout.as_str()), (Some(64), ""));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn check_tells_whether_the_daemon_answers() {
    let daemon = Daemon::silent();
    let (status, stdout, stderr) = run(&["--check", "--socket", &daemon.socket()]);
    assert_eq!(
        (status, stdout.as_str(), stderr.as_str()),
        (Some(0), "remitd answers\n", "")
    );
    assert!(matches!(daemon.next(), Seen::Hello(name) if name.starts_with("mcp-shim")));

    let (status, stdout, stderr) = run(&["--check", "--socket", "/nonexistent/remit.sock"]);
    assert_eq!((status, stdout.as_str()), (Some(69), ""));
    assert!(stderr.contains("/nonexistent/remit.sock") && stderr.lines().count() == 1);
}

#[test]
fn check_tells_that_the_daemon_refuses() {
    let daemon = Daemon::greeting(
        |_| unreachable!(),
        |stream| {
            let refusal = Refusal::new(Code::DeniedRule, "not you");
            frame::write(stream, &ToClient::Goodbye(refusal), caps::FRAME).unwrap();
            false
        },
    );
    let (status, _, stderr) = run(&["--check", "--socket", &daemon.socket()]);
    assert_eq!(status, Some(77));
    assert!(stderr.contains("not you"), "{stderr}");
}

#[test]
fn check_reports_refused_permission_of_socket() {
    // Only root can become another user for this test.
    let daemon = Daemon::silent();
    let mode = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(daemon.socket(), mode).unwrap();
    let program = env!("CARGO_BIN_EXE_mcp-shim");
    let dir = std::env::temp_dir().join(format!("mcp-shim-bin-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let copy = dir.join("mcp-shim");
    std::fs::copy(program, &copy).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&dir, mode).unwrap();
    let output = std::process::Command::new(&copy)
        .args(["--check", "--socket", &daemon.socket()])
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    let (status, _, stderr) = parts_of(output);
    assert_eq!(status, Some(77), "{stderr}");
    assert!(
        stderr.contains("may not connect") && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn n26_interactive_login_gets_explanation() {
    let said = |ssh: bool, asked: Option<&str>| {
        let mut command = command(&[]);
        for name in ["SSH_CONNECTION", "SSH_ORIGINAL_COMMAND"] {
            command.env_remove(name);
        }
        if ssh {
            command.env("SSH_CONNECTION", "192.0.2.1 5 192.0.2.2 22");
        }
        if let Some(asked) = asked {
            command.env("SSH_ORIGINAL_COMMAND", asked);
        }
        parts_of(command.stdin(Stdio::null()).output().unwrap())
    };
    let (status, stdout, stderr) = said(true, None);
    assert_eq!(
        (status, stdout.as_str()),
        (Some(0), ""),
        "standard output is the client's"
    );
    for part in ["an MCP server speaks here", "Ctrl-C", "mcp-shim --check"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    // A client names the program or starts it itself, and gets no message.
    for (ssh, asked) in [(true, Some("mcp-shim")), (false, None)] {
        let (_, _, stderr) = said(ssh, asked);
        assert!(!stderr.contains("speaks here"), "{stderr}");
    }
}
