//! A broker, clients and administrators that try to block the only loop, or to lock others out.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::{caps, frame};
use remit_link::{ToBroker, ToWarden};
use remit_tests::blocking::Lingering;
use remit_tests::test_dir::built;

use crate::warden::stage::{
    ALICE, Broker, SOON, Stage, Way, admin_frame, readable, script, sealed,
};

/// The kernel as it is, and one that passes descriptors on every socket, as before Linux 6.16.
fn kernels() -> [Way; 2] {
    let launcher = built().join("without");
    let shell = Some(format!("exec '{}' passrights \"$@\"", launcher.display()));
    let old = Way {
        shell,
        ..Way::default()
    };
    [Way::default(), old]
}

fn datagram(message: &ToWarden) -> Vec<u8> {
    let frame = frame::encode(message, caps::LINK_MESSAGE).unwrap();
    [&[0], &frame[frame::HEADER..]].concat()
}

fn send_fd(broker: &Broker, message: &ToWarden, fd: BorrowedFd<'_>) -> nix::Result<()> {
    let raw = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let bytes = datagram(message);
    let slices = [std::io::IoSlice::new(&bytes)];
    let link = broker.link.as_fd().as_raw_fd();
    sendmsg::<()>(link, &slices, &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

fn refused_or_ended(stage: &Stage, broker: &Broker, sent: nix::Result<()>) {
    assert!(matches!(
        stage.ask(AdminRequest::Status),
        AdminReply::Status(_)
    ));
    match sent {
        Err(Errno::EPERM) => broker.say(&ToWarden::Closed { session: 999 }),
        sent => {
            sent.unwrap();
            broker.is_killed();
            let _ = stage.next_broker();
        }
    }
    stage.alive();
}

/// fcntl(2): sets the signal for a lease break.
const F_SETSIG: i32 = 10;

/// A lease on a memory file blocks each open(2) of it, 45 s by default.
#[test]
fn w02_leased_file_with_request_delays_no_user() {
    for way in kernels() {
        let (stage, broker) = Stage::start_as(&way);
        let _alice = stage.connect(ALICE);
        let session = broker.session();
        let text = sealed(b"true");
        let path = format!("/proc/self/fd/{}", text.as_raw_fd());
        let leased = std::fs::File::open(path).unwrap();
        drop(text);
        // A lease break sends a signal to this test, so it is set to one that is ignored.
        for (what, value) in [(libc::F_SETLEASE, libc::F_WRLCK), (F_SETSIG, libc::SIGURG)] {
            // SAFETY: integer arguments.
            let done = unsafe { libc::fcntl(leased.as_raw_fd(), what, value) };
            assert_eq!(done, 0);
        }
        let run = ToWarden::Run {
            session,
            ticket: 1,
            spec: Box::new(script()),
        };
        let sent = send_fd(&broker, &run, leased.as_fd());
        refused_or_ended(&stage, &broker, sent);
        assert!(stage.records("intent").is_empty());
        stage.stop();
    }
}

#[test]
fn w03_hanging_descriptor_on_link_delays_no_user() {
    for way in kernels() {
        let (stage, broker) = Stage::start_as(&way);
        stage.signal(Signal::SIGSTOP);
        let message = datagram(&ToWarden::Closed { session: 999 });
        let sent = Lingering::new().send(broker.link.as_fd(), &message, MsgFlags::empty());
        stage.signal(Signal::SIGCONT);
        refused_or_ended(&stage, &broker, sent.map(drop));
        stage.stop();
    }
}

/// The broker or the daemon may also end before the message is read.
#[test]
fn w03_hanging_descriptor_of_ended_broker_delays_no_user() {
    let [_, way] = kernels();
    let (stage, broker) = Stage::start_as(&way);
    stage.signal(Signal::SIGSTOP);
    let nothing = datagram(&ToWarden::Closed { session: 999 });
    // The message that ends the broker comes first, so the blocking one is never read.
    broker.raw(b"\x03");
    let _held = Lingering::new()
        .send(broker.link.as_fd(), &nothing, MsgFlags::empty())
        .unwrap();
    stage.signal(Signal::SIGCONT);
    broker.is_killed();
    let _ = stage.next_broker();
    stage.alive();
    stage.stop();
}

#[test]
fn w03_no_descriptor_of_the_brokers_is_ever_held() {
    for way in kernels() {
        let (stage, broker) = Stage::start_as(&way);
        let (reader, writer) = std::io::pipe().unwrap();
        let unknown = ToWarden::Closed { session: 999 };
        let sent = send_fd(&broker, &unknown, writer.as_fd());
        drop(writer);
        refused_or_ended(&stage, &broker, sent);
        assert!(readable(reader.as_fd(), SOON), "somebody holds the pipe");
        stage.stop();
    }
}

#[test]
fn w18_ready_twice_breaks_the_protocol() {
    let (stage, broker) = Stage::start();
    broker.say(&ToWarden::Ready);
    broker.is_killed();
    let (broker, _) = stage.next_broker();
    let _alice = stage.connect(ALICE);
    let _ = broker.session();
    stage.stop();
}

fn crowd(stage: &Stage, broker: &Broker) -> Vec<UnixStream> {
    let mut crowd = Vec::new();
    for uid in 64_001..64_010 {
        for _ in 0..caps::SESSIONS_PER_UID {
            crowd.push(stage.connect(uid));
        }
    }
    let taken = caps::SESSIONS + 9;
    for _ in 0..taken {
        let _ = broker.session();
    }
    assert_eq!(stage.status().sessions, u32::try_from(taken).unwrap());
    crowd
}

#[test]
fn w10_first_connection_of_user_is_accepted() {
    let (stage, broker) = Stage::start();
    let crowd = crowd(&stage, &broker);
    let first = stage.connect(0);
    let _ = broker.session_of(|uid| uid == 0);
    // The same user's second connection is still refused.
    let mut second = stage.connect(0);
    let mut said = Vec::new();
    second.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("not counting the first of each user"),
        "{said}"
    );
    drop((crowd, first));
    stage.stop();
}

/// A connection whose socket is not yet closed counts, because its user may make the close block.
#[test]
fn w10_a_connection_counts_until_its_socket_is_closed() {
    let (stage, broker) = Stage::start();
    let socket = stage.runtime().socket();
    let mut sessions = Vec::new();
    for _ in 0..caps::SESSIONS_PER_UID {
        // SAFETY: the child connects and exits; it takes no lock that another thread could hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let connected = remit_tests::process::Identity::new(ALICE, &[64_000])
                .adopt()
                .and_then(|()| UnixStream::connect(&socket))
                .and_then(|mut stream| stream.read(&mut [0]));
            // SAFETY: it exits at once.
            unsafe { libc::_exit(i32::from(connected.is_err())) };
        }
        let session = broker.session();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGKILL).unwrap();
        broker.until(|message, fds| match message {
            ToBroker::SessionGone { session: gone } if *gone == session => Ok(()),
            _ => Err(fds),
        });
        // SAFETY: no status is requested.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        sessions.push(session);
    }
    assert_eq!(stage.status().sessions, 0);
    let mut said = Vec::new();
    stage.connect(ALICE).read_to_end(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said).contains("of one user"));
    let session = sessions[0];
    broker.say(&ToWarden::Closed { session });
    stage.alive();
    let _alice = stage.connect(ALICE);
    let _ = broker.session();
    stage.stop();
}

/// A user with a subordinate uid range is many uids, none of which has an account.
#[test]
fn w10_users_without_account_do_not_block_accounts() {
    let (stage, broker) = Stage::start();
    let mut crowd = Vec::new();
    let users = u32::try_from(caps::SESSION_USERS).unwrap();
    for uid in 200_000..200_000 + users {
        crowd.push(stage.connect(uid));
    }
    let sessions: Vec<u64> = crowd.iter().map(|_| broker.session()).collect();
    let _root = stage.connect(0);
    let gone = broker.until(|message, fds| match message {
        ToBroker::SessionGone { session } => Ok(*session),
        _ => Err(fds),
    });
    assert_eq!(gone, sessions[0]);
    let _ = broker.session_of(|uid| uid == 0);
    let mut said = Vec::new();
    stage.connect(199_999).read_to_end(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said).contains("of as many users"));
    stage.stop();
}

fn is_closed(mut stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    matches!(read, Ok(0))
}

#[test]
fn w10_waiting_connection_is_not_closed_for_newer() {
    let (stage, broker) = Stage::start();
    let AdminReply::Pending { state, .. } = stage.ask(AdminRequest::Pending { seen: None }) else {
        panic!("no list");
    };
    let watch = admin_frame(AdminRequest::Pending { seen: Some(state) });
    let watchers: Vec<UnixStream> = (0..40)
        .map(|_| {
            let mut stream = stage.admin();
            stream.write_all(&watch).unwrap();
            stream
        })
        .collect();
    let idle: Vec<UnixStream> = (0..caps::ADMIN_SESSIONS).map(|_| stage.admin()).collect();
    (0..20).for_each(|_| drop(stage.status()));
    let lost = watchers.iter().filter(|stream| is_closed(stream)).count();
    assert_eq!(lost, 0, "watchers were closed");
    drop((watchers, idle));
    stage.idle();
    drop(broker);
    stage.stop();
}

#[test]
fn w10_excess_administrator_connections_are_refused_with_reason() {
    let (stage, _broker) = Stage::start();
    let AdminReply::Pending { state, .. } = stage.ask(AdminRequest::Pending { seen: None }) else {
        panic!("no list");
    };
    let watch = admin_frame(AdminRequest::Pending { seen: Some(state) });
    let mut watchers = Vec::new();
    let refusal = loop {
        assert!(
            watchers.len() < caps::ADMIN_CONNECTIONS,
            "nobody is refused"
        );
        let mut stream = stage.admin();
        let _ = stream.write_all(&watch);
        if readable(stream.as_fd(), 100) {
            break frame::read::<AdminReply>(&mut stream, caps::ADMIN_FRAME).unwrap();
        }
        watchers.push(stream);
    };
    let AdminReply::Refused(refusal) = refusal else {
        panic!("{refusal:?}");
    };
    assert!(refusal.message.contains("of one user"), "{refusal:?}");
    assert!(watchers.len() > 40 && !watchers.iter().any(is_closed));
    let socket = stage.runtime().admin_socket();
    let other = std::thread::spawn(move || {
        remit_tests::process::Identity::new(64_005, &[64_200])
            .adopt()
            .unwrap();
        UnixStream::connect(socket).unwrap()
    });
    let mut other = other.join().unwrap();
    other.write_all(&admin_frame(AdminRequest::Status)).unwrap();
    let reply = frame::read::<AdminReply>(&mut other, caps::ADMIN_FRAME).unwrap();
    assert!(matches!(reply, AdminReply::Status(_)), "{reply:?}");
    stage.stop();
}
