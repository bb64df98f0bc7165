//! Clients and approvers that disconnect at each step or send partial messages, and a daemon that is killed at each
//! step: nothing runs twice, and no request waits afterwards.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_common::{caps, frame};
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_tests::process::ends_within;
use remit_wire::client;
use remit_wire::outcome::State;
use remit_wire::{JobQuery, Reply, Request};

use super::scene::{approve, approve_as, asked, code, events, listed, options, started, until};

fn admin_stream(daemon: &Daemon) -> UnixStream {
    let socket = daemon.runtime().admin_socket();
    std::thread::spawn(move || {
        admin().adopt().expect("the tests run as root");
        UnixStream::connect(socket).expect("an administrator may connect")
    })
    .join()
    .expect("no panic")
}

fn approval(job: JobId, digest: [u8; 32]) -> Vec<u8> {
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request: AdminRequest::Approve {
            job,
            digest,
            signature: None,
        },
    };
    frame::encode(&call, caps::ADMIN_FRAME).expect("it is small")
}

#[test]
fn half_an_approval_is_none() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let bytes = approval(job, listed(&daemon, job).digest);
    for length in 0..bytes.len() {
        let mut stream = admin_stream(&daemon);
        stream.write_all(&bytes[..length]).expect("it is accepted");
        drop(stream);
    }
    assert_eq!(events(&daemon, job), ["asked"]);
    assert_eq!(
        caller.job(job, 0).expect("it is theirs").state,
        State::AwaitingApproval
    );
    approve(&daemon, job).expect("the approver can");
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

#[test]
fn approver_closing_after_full_frame_approved_once() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let bytes = approval(job, listed(&daemon, job).digest);
    let mut stream = admin_stream(&daemon);
    // Twice in one write: one of them comes too late.
    stream
        .write_all(&[bytes.clone(), bytes].concat())
        .expect("it is accepted");
    let mut first = [0; 4];
    stream.read_exact(&mut first).expect("an answer comes");
    drop(stream);
    assert_eq!(caller.end_of(job).state, State::Exited);
    assert_eq!(events(&daemon, job), ["asked", "approved", "intent", "end"]);
    daemon.stop();
}

#[test]
fn client_disconnect_leaves_complete_request_or_none() {
    let daemon = started();
    let mut decided = 0;
    // In two parts, because of the limit of waiting requests per user.
    for steps in [0..10, 10..20] {
        for step in steps {
            let mut command = Command::new(daemon.program("remit"));
            command.arg("--runtime").arg(daemon.runtime().dir());
            command.args(["change", "site.switch", "to=blue", "-m", "a test"]);
            user_a().runs(&mut command);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut client = command.spawn().expect("remit starts");
            std::thread::sleep(Duration::from_millis(step));
            client.kill().expect("it is ours");
            let _ = client.wait();
        }
        // A later request: all earlier ones are processed by then.
        let (last, job, _) = asked(&daemon);
        drop(last);
        until("it is lost", || {
            daemon.pending(&admin()).iter().any(|view| view.job == job)
        });
        let all = daemon.pending(&admin());
        decided += all.len();
        assert_eq!(decided, daemon.records("asked").len());
        for view in all {
            approve(&daemon, view.job).expect("it waits as any");
            let mut caller = Caller::new(&daemon, &user_a());
            assert_eq!(caller.end_of(view.job).state, State::Exited);
        }
    }
    daemon.is_well();
    daemon.stop();
}

fn dies_at(fault: &str) -> Option<Daemon> {
    with_fault("REMIT_FAULT", fault)
}

fn with_fault(variable: &str, fault: &str) -> Option<Daemon> {
    let mutated = Options::mutated(variable, fault)?;
    Some(Daemon::start(Options {
        binaries: mutated.binaries,
        env: mutated.env,
        ..options()
    }))
}

#[test]
fn daemon_killed_at_any_step_never_runs_request() {
    for (point, kinds) in [
        ("after-ask", &["asked", "interrupted"][..]),
        ("after-approval", &["asked", "approved", "interrupted"]),
        ("before-begin", &["asked", "approved", "interrupted"]),
        (
            "after-record",
            &["asked", "approved", "intent", "interrupted"],
        ),
        (
            "before-end",
            &["asked", "approved", "intent", "interrupted"],
        ),
    ] {
        let Some(mut daemon) = dies_at(&format!("warden@{point}")) else {
            return;
        };
        let mut caller = Caller::new(&daemon, &user_a());
        let run = at_once(change("site.switch", &[("to", "blue")]));
        // It may die before it answers.
        let _ = caller.0.call(Request::Run(run), |_| {});
        let digest = match ends_within(daemon.pid(), 0) {
            true => None,
            false => {
                let socket = daemon.runtime().admin_socket();
                let ask = move || {
                    admin().adopt().expect("the tests run as root");
                    let seen = None;
                    let Ok(AdminReply::Pending { requests, .. }) =
                        client::admin(&socket, AdminRequest::Pending { seen })
                    else {
                        return None;
                    };
                    let (job, digest) = requests.first().map(|view| (view.job, view.digest))?;
                    let _ = client::admin(
                        &socket,
                        AdminRequest::Approve {
                            job,
                            digest,
                            signature: None,
                        },
                    );
                    Some((job, digest))
                };
                std::thread::spawn(ask).join().expect("no panic")
            }
        };
        assert!(ends_within(daemon.pid(), 20_000), "{point}: it lives");
        daemon.forget_faults();
        daemon.restart_insistently();
        assert_eq!(
            (daemon.status().pending, daemon.pending(&admin()).len()),
            (0, 0)
        );
        if let Some((job, digest)) = digest {
            let again = approve_as(&daemon, &admin(), job, digest);
            assert!(again.is_err(), "{point}: {again:?}");
            assert_eq!(events(&daemon, job), kinds, "{point}");
            let report = Caller::new(&daemon, &user_a()).end_of(job);
            if !kinds.contains(&"intent") {
                assert_eq!(code(&report), "approval_void", "{point}: {report:?}");
            }
        }
        assert_eq!(daemon.records("end").len(), 0, "{point}");
        daemon.stop();
    }
}

#[test]
fn broker_killed_at_any_step_loses_no_request() {
    for point in [
        "after-ask",
        "after-approval",
        "before-begin",
        "after-fork",
        "after-end",
    ] {
        let Some(daemon) = dies_at(&format!("broker@{point}")) else {
            return;
        };
        let mut caller = Caller::new(&daemon, &user_a());
        let run = at_once(change("site.switch", &[("to", "blue")]));
        let _ = caller.0.call(Request::Run(run), |_| {});
        until("nobody is asked", || daemon.status().pending == 1);
        let view = daemon.pending(&admin()).remove(0);
        approve_as(&daemon, &admin(), view.job, view.digest).expect("the approver can");
        // The daemon dies at this point, so one connection may be lost.
        until("it does not end", || {
            let Ok(mut client) = daemon.client(&user_a()) else {
                return false;
            };
            let (job, wait_ms, part) = (view.job, 100, None);
            let query = Request::Job(JobQuery { job, wait_ms, part });
            match client.call(query, |_| {}) {
                Ok(Reply::Job { report, .. }) => report.state == State::Exited,
                _ => false,
            }
        });
        let kinds = events(&daemon, view.job);
        let kinds: Vec<_> = kinds.iter().filter(|kind| *kind != "refusal").collect();
        assert_eq!(kinds, ["asked", "approved", "intent", "end"], "{point}");
        daemon.stop();
    }
}

#[test]
fn missing_line_of_the_table_neither_asks_nor_approves() {
    for line in ["New NeedsApproval", "Examined Asked"] {
        let Some(daemon) = with_fault("REMIT_MUTATE_LIFE", line) else {
            return;
        };
        let mut caller = Caller::new(&daemon, &user_a());
        let run = || at_once(change("site.switch", &[("to", "blue")]));
        let refusal = caller.run(run()).expect_err(line);
        assert_eq!(refusal.code, Code::NotStarted, "{line}: {refusal:?}");
        assert_eq!(daemon.status().pending, 0, "{line}");
        caller.run(run()).expect("the table is whole");
        assert_eq!(daemon.status().pending, 1, "{line}");
        daemon.stop();
    }
    for line in ["Asked Approve", "Approving Approved"] {
        let Some(daemon) = with_fault("REMIT_MUTATE_LIFE", line) else {
            return;
        };
        let (mut caller, job, _) = asked(&daemon);
        let refusal = approve(&daemon, job).expect_err(line);
        assert_eq!(refusal.code, Code::NotStarted, "{line}: {refusal:?}");
        assert_eq!(events(&daemon, job), ["asked"], "{line}");
        approve(&daemon, job).expect("it still waits");
        assert_eq!(caller.end_of(job).state, State::Exited, "{line}");
        daemon.stop();
    }
    let Some(daemon) = with_fault("REMIT_MUTATE_LIFE", "Queued(Compared) Turn") else {
        return;
    };
    let (mut caller, job, _) = asked(&daemon);
    approve(&daemon, job).expect_err("it cannot start");
    assert_eq!(caller.end_of(job).state, State::NotStarted);
    assert_eq!(events(&daemon, job), ["asked", "approved", "end"]);
    daemon.stop();
}
