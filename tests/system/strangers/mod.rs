//! Clients leave descriptors in their sockets that block on close. Nobody else waits for it.
//!
//! Each blocks for an hour, on a kernel that passes descriptors on every socket, as before Linux 6.16. So any
//! answer proves that no serving process waited.

#![allow(unsafe_code)]

mod bus;
mod pipes;

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::MsgFlags;
use nix::unistd::Pid;
use remit_common::caps;
use remit_tests::blocking::Lingering;
use remit_tests::daemon::{BROKER, Daemon, Options, admin, user_a};
use remit_tests::process::{Identity, Process, descendants, ends_within};

fn old_kernel() -> Daemon {
    Daemon::start(Options {
        without: Some("passrights"),
        ..Options::default()
    })
}

/// Opens connections with a blocking descriptor in each, before the warden accepts them. Stops only the warden,
/// because a signal would end a close that already blocks.
fn before_accepted(daemon: &Daemon, count: usize) -> Vec<TcpListener> {
    daemon.signal(Signal::SIGSTOP);
    let streams = (0..count).map(|_| daemon.connect(&user_a()).unwrap());
    let streams: Vec<UnixStream> = streams.collect();
    let sent = streams.iter().map(|stream| send(stream, MsgFlags::empty()));
    let held = sent.collect();
    daemon.signal(Signal::SIGCONT);
    held
}

/// Runs `act` while warden, broker and their closing helpers are stopped.
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

/// Unix sockets as ss(8) lists them: u_seq ESTAB RECEIVED SENT ADDRESS INODE PEER PEER-INODE HOLDERS.
fn unix_sockets() -> Vec<Vec<String>> {
    let all = Command::new("ss").args(["-x", "-a", "-H", "-p"]).output();
    let all = String::from_utf8_lossy(&all.unwrap().stdout).into_owned();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    all.lines().map(words).collect()
}

/// Returns true if a sink has no descriptor but its own socket, and nothing is in flight to that one.
fn has_closed_all(sink: &Process) -> bool {
    let own = std::fs::read_dir(format!("/proc/{}/fd", sink.pid)).unwrap();
    let own = own.flatten().filter_map(|fd| fd.path().read_link().ok());
    let own = own.filter_map(|to| {
        let inode = to.to_str()?.strip_prefix("socket:[")?;
        Some(inode.strip_suffix(']')?.to_owned())
    });
    let own: Vec<String> = own.collect();
    let [inode] = own.as_slice() else {
        return false;
    };
    let is_it = |words: &Vec<String>| words.get(5) == Some(inode);
    let socket = unix_sockets().into_iter().find(is_it);
    let is_drained = socket.is_some_and(|words| words.get(2).is_some_and(|length| length == "0"));
    is_drained && sockets_and_pidfds(sink.pid).0 == 1
}

/// Returns true if the warden has no accepted connection to the socket of clients open.
fn has_passed_all_on(daemon: &Daemon) -> bool {
    let path = daemon.runtime().socket().display().to_string();
    let holder = format!("pid={},", daemon.pid());
    unix_sockets().iter().all(|words| {
        let is_connection =
            words.contains(&path) && words.get(1).is_some_and(|state| state != "LISTEN");
        !is_connection || !words.iter().any(|word| word.contains(&holder))
    })
}

fn sockets_and_pidfds(pid: i32) -> (usize, usize) {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = all.flatten().filter_map(|fd| fd.path().read_link().ok());
    let targets: Vec<_> = targets
        .map(|to| to.to_string_lossy().into_owned())
        .collect();
    let count = |is: &dyn Fn(&str) -> bool| targets.iter().filter(|to| is(to)).count();
    (
        count(&|to| to.starts_with("socket:")),
        count(&|to| to.contains("pidfd")),
    )
}

fn connect(user: &Identity, socket: PathBuf) -> UnixStream {
    let user = user.clone();
    let connect = move || {
        user.adopt().unwrap();
        UnixStream::connect(socket).unwrap()
    };
    std::thread::spawn(connect).join().unwrap()
}

fn send(stream: &UnixStream, flags: MsgFlags) -> TcpListener {
    Lingering::new().send(stream.as_fd(), b"x", flags).unwrap()
}

fn all_are_served(daemon: &Daemon) {
    daemon.is_well();
    let _ = daemon.status();
}

#[test]
fn w01_hanging_descriptor_in_session_delays_no_user() {
    for flags in [MsgFlags::empty(), MsgFlags::MSG_OOB] {
        let daemon = old_kernel();
        let stream = daemon.connect(&user_a()).unwrap();
        all_are_served(&daemon);
        let _held = while_stopped(&daemon, || send(&stream, flags));
        all_are_served(&daemon);
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
fn w01_hanging_descriptor_counts_as_connection_of_sender() {
    let daemon = old_kernel();
    let broker = Pid::from_raw(daemon.broker().unwrap());
    kill(broker, Signal::SIGSTOP).unwrap();
    let _held = before_accepted(&daemon, caps::SESSIONS_PER_UID);
    // The last close blocks. It counts if it is the broker's: then the warden's copies are closed before.
    let are_passed_on = || {
        let below = descendants(daemon.pid()).into_iter();
        let sinks: Vec<_> = below.filter(Process::is_sink).collect();
        usize::try_from(daemon.status().sessions) == Ok(caps::SESSIONS_PER_UID)
            && has_passed_all_on(&daemon)
            && !sinks.is_empty()
            && sinks.iter().all(has_closed_all)
    };
    let end = Instant::now() + Duration::from_secs(60);
    while !are_passed_on() {
        assert!(Instant::now() < end, "the warden keeps its copies");
        std::thread::yield_now();
    }
    kill(broker, Signal::SIGCONT).unwrap();
    // All connections have ended but still block.
    let refused = daemon.client(&user_a()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("connections of one user"), "{refused}");
    all_are_served(&daemon);
    daemon.stop();
}

#[test]
fn w01_hanging_descriptor_in_refused_connection_delays_no_user() {
    let daemon = old_kernel();
    let _held = before_accepted(&daemon, 2 * caps::SESSIONS_PER_UID);
    all_are_served(&daemon);
    daemon.stop();
}

#[test]
fn w01_hanging_descriptor_of_ended_process_delays_no_user() {
    let daemon = old_kernel();
    let sockets = [
        (user_a(), daemon.runtime().socket()),
        (admin(), daemon.runtime().admin_socket()),
    ];
    for (user, socket) in sockets {
        let lingering = Lingering::new();
        let _held = while_stopped(&daemon, || {
            // SAFETY: the child connects, sends and exits; it takes no lock that another thread could hold.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let done = user.adopt().and_then(|()| {
                    let stream = UnixStream::connect(&socket)?;
                    Ok(lingering
                        .send(stream.as_fd(), b"x", MsgFlags::empty())
                        .map(drop)?)
                });
                // SAFETY: it exits at once.
                unsafe { libc::_exit(i32::from(done.is_err())) };
            }
            assert!(ends_within(child, 20_000));
            let mut status = 0;
            // SAFETY: one integer, valid for the call.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
            // The parent's copy must be closed before the warden closes its own.
            lingering.into_listener()
        });
        all_are_served(&daemon);
    }
    daemon.stop();
}

#[test]
fn w01_hanging_descriptor_on_admin_socket_delays_no_user() {
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

/// More descriptors block than the warden's helper has threads. The helper is ended, and all blocked closes with
/// it.
#[test]
fn w01_many_hanging_descriptors_delay_no_user() {
    let daemon = old_kernel();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.extend(before_accepted(&daemon, 100));
        all_are_served(&daemon);
    }
    daemon.stop();
}

/// On a current kernel no socket accepts descriptors.
#[test]
fn w01_passrights_off_refuses_descriptors_on_both_sockets() {
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
            remit_tests::test_dir::missing("SO_PASSRIGHTS (Linux 6.16)");
        }
    }
    all_are_served(&daemon);
    daemon.stop();
}
