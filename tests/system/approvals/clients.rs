//! Clients and approvers that disconnect at each step or send partial messages.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminRequest};
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::{caps, frame};
use remit_tests::caller::Caller;
use remit_tests::daemon::{Daemon, admin, user_a};

use super::scene::{approve, asked, events, listed, pending, started, until};

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
        request: AdminRequest::Approve { job, digest },
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
            pending(&daemon, &admin())
                .iter()
                .any(|view| view.job == job)
        });
        let all = pending(&daemon, &admin());
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
