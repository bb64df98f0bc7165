//! Clients that leave in their sockets what hangs when it is closed. Nobody else waits for it.
//!
//! Each hangs for an hour, on a kernel that takes descriptors everywhere, as before Linux 6.16: an answer at all says that
//! nobody who serves waited.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]
#![allow(unsafe_code)]

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::MsgFlags;
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::caps;
use remit_tests::daemon::{BROKER, Daemon, Options, admin, user_a};
use remit_tests::lingering::Lingering;
use remit_tests::process::{Identity, descendants, ends_within};

fn old_kernel() -> Daemon {
    Daemon::start(Options {
        launcher: Some("without-passrights"),
        ..Options::default()
    })
}

/// So many connections with something that hangs in each, before the warden has seen them. What hangs from before goes
/// on: a signal would end it.
fn before_accepted(daemon: &Daemon, count: usize) -> Vec<TcpListener> {
    daemon.signal(Signal::SIGSTOP);
    let streams = (0..count).map(|_| daemon.connect(&user_a()).unwrap());
    let streams: Vec<UnixStream> = streams.collect();
    let sent = streams.iter().map(|stream| send(stream, MsgFlags::empty()));
    let held = sent.collect();
    daemon.signal(Signal::SIGCONT);
    held
}

/// Warden, broker and what closes for them stand still while `act` is done.
fn while_stopped<T>(daemon: &Daemon, act: impl FnOnce() -> T) -> T {
    let brokers = descendants(daemon.pid()).into_iter();
    let brokers = brokers.filter(|process| process.uid == BROKER && process.state != 'Z');
    let all: Vec<i32> = brokers
        .map(|process| process.pid)
        .chain([daemon.pid()])
        .collect();
    let signal = |signal| {
        for pid in all.iter().copied() {
            kill(Pid::from_raw(pid), signal).unwrap();
        }
    };
    signal(Signal::SIGSTOP);
    let done = act();
    signal(Signal::SIGCONT);
    done
}

fn connect(who: &Identity, socket: PathBuf) -> UnixStream {
    let who = who.clone();
    let connect = move || {
        who.adopt().unwrap();
        UnixStream::connect(socket).unwrap()
    };
    std::thread::spawn(connect).join().unwrap()
}

fn send(stream: &UnixStream, flags: MsgFlags) -> TcpListener {
    Lingering::new().send(stream.as_fd(), b"x", flags).unwrap()
}

/// Clients and administrators are served.
fn all_are_served(daemon: &Daemon) {
    daemon.is_well();
    let status = daemon.administer(AdminRequest::Status).unwrap();
    assert!(matches!(status, AdminReply::Status(_)), "{status:?}");
}

#[test]
fn w01_what_hangs_in_a_session_delays_nobody() {
    for flags in [MsgFlags::empty(), MsgFlags::MSG_OOB] {
        let daemon = old_kernel();
        let stream = daemon.connect(&user_a()).unwrap();
        all_are_served(&daemon);
        let _held = while_stopped(&daemon, || send(&stream, flags));
        all_are_served(&daemon);
        // Of one that is closed before it was read, too.
        let stream = daemon.connect(&user_a()).unwrap();
        let _held = while_stopped(&daemon, || {
            let held = send(&stream, flags);
            drop(stream);
            held
        });
        all_are_served(&daemon);
        daemon.stop();
    }
}

#[test]
fn w01_what_hangs_counts_as_a_connection_of_its_user_alone() {
    let daemon = old_kernel();
    let _held = before_accepted(&daemon, caps::SESSIONS_PER_UID);
    // All of them have gone, and hang.
    let refused = daemon.client(&user_a()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("connections of one user"), "{refused}");
    all_are_served(&daemon);
    daemon.stop();
}

#[test]
fn w01_what_hangs_in_a_connection_that_is_refused_delays_nobody() {
    let daemon = old_kernel();
    let _held = before_accepted(&daemon, 2 * caps::SESSIONS_PER_UID);
    all_are_served(&daemon);
    daemon.stop();
}

#[test]
fn w01_what_hangs_in_a_connection_whose_process_has_ended_delays_nobody() {
    let daemon = old_kernel();
    let sockets = [
        (user_a(), daemon.runtime().socket()),
        (admin(), daemon.runtime().admin_socket()),
    ];
    for (who, socket) in sockets {
        let lingering = Lingering::new();
        let _held = while_stopped(&daemon, || {
            // SAFETY: the child connects, sends and ends; it takes no lock that another thread could hold.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let done = who.adopt().and_then(|()| {
                    let stream = UnixStream::connect(&socket)?;
                    Ok(lingering
                        .send(stream.as_fd(), b"x", MsgFlags::empty())
                        .map(drop)?)
                });
                // SAFETY: it ends at once.
                unsafe { libc::_exit(i32::from(done.is_err())) };
            }
            assert!(ends_within(child, 10_000));
            let mut status = 0;
            // SAFETY: one integer, valid for the call.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
            // The parent's copy goes before the warden closes its own.
            lingering.into_listener()
        });
        all_are_served(&daemon);
    }
    daemon.stop();
}

#[test]
fn w01_what_hangs_on_the_administrators_socket_delays_nobody() {
    let daemon = old_kernel();
    let connect = || connect(&admin(), daemon.runtime().admin_socket());
    let stream = connect();
    all_are_served(&daemon);
    let _read = while_stopped(&daemon, || send(&stream, MsgFlags::empty()));
    all_are_served(&daemon);
    let closed = connect();
    let _closed = while_stopped(&daemon, || {
        let held = send(&closed, MsgFlags::MSG_OOB);
        drop(closed);
        held
    });
    all_are_served(&daemon);
    daemon.stop();
}

/// More hang at once than the warden's helper has threads: it is ended, and what hung with it.
#[test]
fn w01_more_that_hang_than_can_be_closed_delay_nobody() {
    let daemon = old_kernel();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.extend(before_accepted(&daemon, 100));
        all_are_served(&daemon);
    }
    daemon.stop();
}

/// The same kernel as it is: nothing is taken from anybody.
#[test]
fn w01_a_kernel_that_refuses_descriptors_refuses_them_on_both_sockets() {
    let daemon = Daemon::start(Options::default());
    let streams = [
        daemon.connect(&user_a()).unwrap(),
        connect(&admin(), daemon.runtime().admin_socket()),
    ];
    for stream in streams {
        let sent = while_stopped(&daemon, || {
            Lingering::new()
                .send(stream.as_fd(), b"x", MsgFlags::empty())
                .map(drop)
        });
        if sent != Err(nix::errno::Errno::EPERM) {
            remit_tests::place::missing("SO_PASSRIGHTS (Linux 6.16)");
        }
    }
    all_are_served(&daemon);
    daemon.stop();
}
