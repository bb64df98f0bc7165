//! A daemon that is missing, goes away, or comes back; and the command line, which asks for it with `--check`.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};
use remit_wire::outcome::State;
use remit_wire::{Reply, Request, ToClient};
use serde_json::json;

use crate::calls::{call, session};
use crate::daemon::{Daemon, React, Seen, answer, ended, report};
use crate::pipe::command;

const GONE: Duration = Duration::from_secs(5);

#[test]
fn absent_daemon_is_reported_and_found_later() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    let socket = daemon.socket();
    let hidden = format!("{socket}.hidden");
    std::fs::rename(&socket, &hidden).unwrap();
    let mut shim = session(&daemon);
    let start = Instant::now();
    let result = call(&mut shim, "run", json!({"argv": ["a"]}));
    assert!(start.elapsed() < GONE, "it was never there to come back");
    assert_eq!(result["isError"], true);
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], "daemon_unavailable");
    assert!(error["message"].as_str().unwrap().contains(&socket));
    assert!(error["next"].is_string() && error["lift"].is_string());
    std::fs::rename(&hidden, &socket).unwrap();
    let result = call(&mut shim, "run", json!({"argv": ["a"]}));
    assert_eq!(result["isError"], false);
}

#[test]
fn restarted_daemon_is_found_by_next_call() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    let mut shim = session(&daemon);
    for _ in 0..3 {
        let result = call(&mut shim, "run", json!({"argv": ["a"]}));
        assert_eq!(result["isError"], false);
        daemon.break_connections();
    }
}

#[test]
fn run_with_broken_connection_is_repeated_with_id() {
    let mut first = true;
    let daemon = Daemon::start(move |_| match std::mem::take(&mut first) {
        true => React::Close,
        false => answer(ended(b"found")),
    });
    let mut shim = session(&daemon);
    let result = call(&mut shim, "run", json!({"argv": ["a"], "wait_ms": 50000}));
    assert_eq!(result["structuredContent"]["stdout"], "found");
    let (_, Request::Run(first)) = daemon.next_call() else {
        panic!("no run")
    };
    let (_, Request::Run(second)) = daemon.next_call() else {
        panic!("no run")
    };
    assert_eq!(first.request_id, second.request_id);
    assert_eq!(first.what, second.what);
    assert!(second.wait_ms.unwrap() <= 50_000);
}

/// The pause is longer than one attempt to connect.
fn restart(daemon: &Daemon) {
    daemon.unlink();
    daemon.break_connections();
    thread::sleep(Duration::from_millis(300));
    daemon.listen();
}

#[test]
fn run_in_flight_keeps_job_across_restart() {
    let mut first = true;
    let daemon = Daemon::start(move |_| match std::mem::take(&mut first) {
        true => React::Hold,
        false => {
            let mut interrupted = report(b"so far");
            interrupted.state = State::Interrupted;
            answer(Ok(Reply::Job {
                report: Box::new(interrupted),
                part: None,
            }))
        }
    });
    let mut shim = session(&daemon);
    shim.call(1, "run", json!({"argv": ["a"], "wait_ms": 30_000}));
    let (_, Request::Run(asked)) = daemon.next_call() else {
        panic!("no run")
    };
    restart(&daemon);
    let (_, Request::Run(again)) = daemon.next_call() else {
        panic!("no run")
    };
    assert_eq!(again.request_id, asked.request_id);
    assert_eq!(again.what, asked.what);
    let left = again.wait_ms.unwrap();
    assert!((20_000..=29_700).contains(&left), "{left}");
    let result = shim.next()["result"].clone();
    assert_eq!(result["isError"], false, "{result}");
    let job = &result["structuredContent"];
    assert_eq!(
        (&job["state"], &job["stdout"]),
        (&json!("interrupted"), &json!("so far"))
    );
}

#[test]
fn call_during_restart_is_delayed() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    let mut shim = session(&daemon);
    call(&mut shim, "run", json!({"argv": ["a"]}));
    daemon.unlink();
    daemon.break_connections();
    for id in 0..3 {
        shim.call(id, "run", json!({"argv": ["a"]}));
    }
    thread::sleep(Duration::from_millis(300));
    daemon.listen();
    for _ in 0..3 {
        let answer = shim.next();
        assert_eq!(answer["result"]["isError"], false, "{answer}");
    }
}

#[test]
fn lost_run_says_how_to_find_it() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    shim.call(
        1,
        "run",
        json!({"argv": ["a"], "request_id": "mine", "wait_ms": 0}),
    );
    daemon.next_call();
    daemon.unlink();
    daemon.break_connections();
    let start = Instant::now();
    let result = shim.next()["result"].clone();
    assert!(start.elapsed() < 2 * GONE, "{:?}", start.elapsed());
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], "daemon_unavailable");
    assert!(
        error["next"].as_str().unwrap().contains("'mine'"),
        "{error}"
    );
}

#[test]
fn breaking_daemon_is_asked_twice_only() {
    let daemon = Daemon::start(|_| React::Close);
    let mut shim = session(&daemon);
    let result = call(&mut shim, "host", json!({}));
    assert_eq!(
        result["structuredContent"]["error"]["code"],
        "daemon_unavailable"
    );
    daemon.next_call();
    daemon.next_call();
    shim.nothing_more();
    let rest = std::iter::from_fn(|| daemon.next_within(Duration::ZERO));
    assert_eq!(
        rest.filter(|seen| matches!(seen, Seen::Call(..))).count(),
        0
    );
}

#[test]
fn run_with_goodbye_is_repeated_with_id() {
    let mut first = true;
    let daemon = Daemon::start(move |_| match std::mem::take(&mut first) {
        true => React::Goodbye(Refusal::new(Code::Busy, "busy")),
        false => answer(ended(b"found")),
    });
    let mut shim = session(&daemon);
    let arguments = json!({"name": "a.b", "reason": "why"});
    let result = call(&mut shim, "change", arguments);
    assert_eq!(result["structuredContent"]["stdout"], "found");
    let [first, second] = [(); 2].map(|()| match daemon.next_call() {
        (_, Request::Run(run)) => run,
        other => panic!("{other:?}"),
    });
    assert_eq!(first.request_id.as_ref().map(String::len), Some(32));
    assert_eq!(first.request_id, second.request_id);
    assert_eq!(first.what, second.what);
}

#[test]
fn second_goodbye_is_reason_with_hint() {
    let refusal = Refusal::new(Code::Locked, "locked").next("wait");
    let daemon = Daemon::start(move |_| React::Goodbye(refusal.clone()));
    let mut shim = session(&daemon);
    let arguments = json!({"argv": ["a"], "request_id": "mine"});
    let result = call(&mut shim, "run", arguments);
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], "locked");
    let next = error["next"].as_str().unwrap();
    assert!(
        next.starts_with("wait; ") && next.contains("'mine'"),
        "{error}"
    );
}

#[test]
fn goodbye_of_lost_daemon_is_reason_with_hint() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    let arguments = json!({"argv": ["a"], "request_id": "mine"});
    shim.call(1, "run", arguments);
    daemon.next_call();
    daemon.unlink();
    daemon.send(&ToClient::Goodbye(Refusal::new(Code::Locked, "locked")));
    let result = shim.next()["result"].clone();
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], "locked");
    assert!(
        error["next"].as_str().unwrap().contains("'mine'"),
        "{error}"
    );
}

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
fn upload_that_is_there_is_not_read_again() {
    let daemon = Daemon::start(|_| answer(Ok(Reply::Uploaded(7))));
    let id = format!("{}-7", "0".repeat(64));
    let mut child = command(&["--put", &id, "--socket", &daemon.socket()])
        .spawn()
        .unwrap();
    let open = child.stdin.take();
    let (status, _, stderr) = parts_of(child.wait_with_output().unwrap());
    assert_eq!((status, stderr), (Some(0), format!("{id}\n")));
    drop(open);
}

#[test]
fn refusal_of_a_file_says_what_to_do() {
    let refusal = Refusal::new(Code::Busy, "4 uploads are not finished").next("finish one");
    let denied = refusal.clone().lift("a rule");
    let daemon = Daemon::start(move |request| match request {
        Request::Upload(_) => answer(Err(refusal.clone())),
        _ => answer(Err(denied.clone())),
    });
    let id = format!("{}-7", "0".repeat(64));
    for (option, value) in [("--put", id.as_str()), ("--get", "/srv/x")] {
        let (status, _, stderr) = run(&[option, value, "--socket", &daemon.socket()]);
        assert_eq!(status, Some(77), "{stderr}");
        assert!(stderr.contains("to go on: finish one"), "{stderr}");
        assert_eq!(stderr.contains("a rule"), option == "--get", "{stderr}");
    }
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
    // Another user reads the group of the socket.
    let socket = std::path::PathBuf::from(daemon.socket());
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(socket.parent().unwrap(), mode).unwrap();
    let group = Group::from_gid(Gid::from_raw(1)).unwrap().unwrap();
    std::os::unix::fs::chown(daemon.socket(), None, Some(1)).unwrap();
    let program = env!("CARGO_BIN_EXE_mcp-shim");
    let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("mcp-shim-bin-XXXXXX")).unwrap();
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
        stderr.contains("may not connect")
            && stderr.contains(&format!("usermod -aG {} USER", group.name))
            && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn n26_interactive_login_gets_explanation() {
    let said = |ssh: bool, asked: Option<&str>, is_silent: bool| {
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
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let mut first = String::new();
        if is_silent {
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            stderr.read_line(&mut first).unwrap();
        }
        drop(stdin);
        let (status, stdout, rest) = parts_of(child.wait_with_output().unwrap());
        (status, stdout, first + &rest)
    };
    let (status, stdout, stderr) = said(true, None, true);
    assert_eq!(
        (status, stdout.as_str()),
        (Some(0), ""),
        "standard output is the client's"
    );
    for part in ["an MCP server speaks here", "Ctrl-C", "mcp-shim --check"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    // A client names the program, with a forced command or without, or starts it itself. It gets no message.
    for (ssh, asked) in [(true, None), (true, Some("mcp-shim")), (false, None)] {
        let (_, _, stderr) = said(ssh, asked, false);
        assert_eq!(stderr, "", "{ssh} {asked:?}");
    }
}
