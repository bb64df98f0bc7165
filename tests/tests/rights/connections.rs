//! What is known of who connects and is gone at once.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use remit_tests::process::Identity;

use super::scene::{started, until};

/// The process that connects has ended before anybody asks who it was.
#[test]
fn w16_a_refusal_of_one_who_is_gone_names_the_uid() {
    const UID: u32 = 64_777;
    let daemon = started();
    let socket = daemon.runtime().socket();
    // It takes no connection while it is stopped.
    daemon.signal(nix::sys::signal::Signal::SIGSTOP);
    let me = std::env::current_exe().expect("it has a path");
    for _ in 0..3 {
        let mut command = Command::new(&me);
        command
            .args(["--exact", "rights::connections::connects_and_ends"])
            .env("REMIT_TEST_CONNECTS", &socket)
            .stdout(Stdio::null());
        Identity::new(UID, &[remit_tests::daemon::SOCKET_GROUP]).runs(&mut command);
        assert!(command.status().expect("it starts").success());
    }
    daemon.signal(nix::sys::signal::Signal::SIGCONT);
    until("three are refused", || daemon.records("refusal").len() >= 3);
    for record in daemon.records("refusal") {
        assert_eq!(record["REMIT_UID"], UID.to_string(), "{record}");
        assert_eq!(record["REMIT_PEER"], "gone", "{record}");
        assert!(record["MESSAGE"].to_string().contains("#64777"), "{record}");
    }
    daemon.stop();
}

/// What the test above executes; by itself it has nothing to do.
#[test]
fn connects_and_ends() {
    if let Ok(socket) = std::env::var("REMIT_TEST_CONNECTS") {
        drop(UnixStream::connect(socket).expect("it listens"));
    }
}
