//! Approvers are looked up at the moment of the approval.

use std::io::Read;
use std::os::unix::net::UnixStream;

use remit_common::outcome::State;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, at_once, cause, change};
use remit_tests::daemon::{Daemon, Options};
use remit_tests::process::Identity;

use super::scene::{
    POLICY, accounts, ann, approve, asked, bob, bot, newest, options, pending, reload, started,
    until, without, without_ann_in_ops,
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
    // The policy is unchanged, because all its names still mean the same.
    assert!(pending(&daemon, view.job).is_some());
    daemon.set_accounts(accounts());
    assert!(approve(&daemon, &ann(), &view).is_ok());
    daemon.stop();
}

/// An approved job that waits for a slot runs only while its approver could still approve it.
#[test]
fn w14_approver_rights_are_rechecked_at_start() {
    let mut daemon = Daemon::start(Options {
        jobs: 1,
        policy: format!("{POLICY}\n{HOLDS}"),
        ..options()
    });
    let mut not_in_ops = accounts();
    for (name, _, members) in &mut not_in_ops.groups {
        members.retain(|member| *name != "ops" || *member != "ann");
    }
    for (now, why) in [
        (accounts(), None),
        (without_ann_in_ops(), Some("no longer in the group")),
        (not_in_ops, Some("no longer one of %ops, bob")),
        (without("ann", Some("eve")), Some("is 'eve' now")),
    ] {
        daemon.set_accounts(accounts());
        let mut other = Caller::new(&daemon, &bob());
        let holder = other.run(at_once(change("slot.hold", &[])));
        let holder = holder.expect("bob may").job;
        let view = asked(&daemon);
        let _ = approve(&daemon, &ann(), &view).expect("ann can");
        daemon.set_accounts(now);
        let _ = other.stop(holder).expect("it is bob's");
        let end = Caller::new(&daemon, &bot()).end_of(view.job);
        match why {
            None => assert_eq!(end.state, State::Exited, "{end:?}"),
            Some(why) => {
                assert_eq!(end.state, State::Denied, "{end:?}");
                let cause = cause(&end);
                assert!(cause.contains("its approver could no longer"), "{cause}");
                assert!(cause.contains(why), "{cause}");
            }
        }
    }
    daemon.stop();
}

const HOLDS: &str = r##"
[[command]]
name = "slot.hold"
summary = "waits"
argv = ["/usr/bin/sleep", "60"]
effect = "change"
profile = "strict"

[[grant]]
to = ["bob"]
allow = ["slot.hold"]
"##;

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

fn connects(daemon: &Daemon, user: Identity) -> UnixStream {
    let socket = daemon.runtime().admin_socket();
    let connect = move || {
        user.adopt().expect("the tests run as root");
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
