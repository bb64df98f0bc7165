//! Who approves is looked up when they do.

use std::io::Read;
use std::os::unix::net::UnixStream;

use remit_common::refusal::Code;
use remit_tests::daemon::Daemon;
use remit_tests::process::Identity;

use super::scene::{
    ann, approve, asked, bob, newest, pending, reload, started, until, without, without_ann_in_ops,
};

#[test]
fn w07_an_old_login_approves_nothing() {
    let mut daemon = started();
    let view = asked(&daemon);
    daemon.set_accounts(without_ann_in_ops());
    // ann's process still has both groups, and reaches admin.sock.
    let refusal = approve(&daemon, &ann(), &view).expect_err("ann has lost the groups");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(refusal.message.contains("no longer"), "{refusal:?}");
    assert_eq!(newest(&daemon, "refusal")["REMIT_USER"], "ann");
    assert!(pending(&daemon, view.job).is_some(), "it waits for others");
    assert!(approve(&daemon, &bob(), &view).is_ok());
    daemon.stop();
}

#[test]
fn w07_a_removed_account_approves_nothing() {
    let mut daemon = started();
    let view = asked(&daemon);
    for next in [None, Some("eve")] {
        daemon.set_accounts(without("ann", next));
        let refusal = approve(&daemon, &ann(), &view).expect_err("that is not ann");
        assert_eq!(refusal.code, Code::DeniedRule, "{next:?} {refusal:?}");
    }
    // The same policy, since no name in it stands for something else.
    assert!(pending(&daemon, view.job).is_some());
    daemon.set_accounts(super::scene::accounts());
    assert!(approve(&daemon, &ann(), &view).is_ok());
    daemon.stop();
}

/// A connection that was made with the groups ends when they are lost, at the next load.
#[test]
fn w07_connections_of_administrators_end_with_their_groups() {
    let mut daemon = started();
    let (mut of_ann, mut of_bob) = (connects(&daemon, ann()), connects(&daemon, bob()));
    reload(&daemon);
    assert!(is_open(&mut of_ann) && is_open(&mut of_bob));
    daemon.set_accounts(without_ann_in_ops());
    reload(&daemon);
    until("ann's connection ends", || !is_open(&mut of_ann));
    assert!(is_open(&mut of_bob));
    daemon.stop();
}

/// A connection to admin.sock.
fn connects(daemon: &Daemon, who: Identity) -> UnixStream {
    let socket = daemon.runtime().admin_socket();
    let connect = move || {
        who.adopt().expect("the tests run as root");
        UnixStream::connect(socket).expect("they administer")
    };
    let connected = std::thread::spawn(connect).join();
    connected.expect("connecting does not panic")
}

fn is_open(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).expect("it is a socket");
    let read = stream.read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
