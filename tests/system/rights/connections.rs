//! Records about a client that connects and exits at once.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use remit_tests::process::Identity;

use super::scene::{started, until};

#[test]
fn w16_refusal_of_ended_process_names_uid() {
    const UID: u32 = 64_777;
    let daemon = started();
    let socket = daemon.runtime().socket();
    // A stopped daemon accepts no connection.
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

/// Helper that the test above executes; does nothing by itself.
#[test]
fn connects_and_ends() {
    if let Ok(socket) = std::env::var("REMIT_TEST_CONNECTS") {
        drop(UnixStream::connect(socket).expect("it listens"));
    }
}
