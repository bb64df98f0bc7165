//! Misbehaving administrators.

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
use remit_common::admin::{AdminCall, AdminReply, AdminRequest};
use remit_common::hex::hex;
use remit_common::refusal::Code;
use remit_common::{caps, frame};
use remit_link::ToWarden;
use remit_tests::process::Identity;

use crate::warden::stage::{ADMIN_GROUP, ALICE, Stage, admin_frame, argv};

fn lock(why: &str, kill: bool) -> AdminRequest {
    let why = why.to_owned();
    AdminRequest::Lock { why, kill }
}

#[test]
fn fragmented_request_does_not_block_others() {
    let (stage, _broker) = Stage::start();
    let mut slow = stage.admin();
    for byte in admin_frame(AdminRequest::Status) {
        slow.write_all(&[byte]).unwrap();
        let _ = stage.status();
    }
    let reply: AdminReply = frame::read(&mut slow, caps::ADMIN_FRAME).unwrap();
    assert!(matches!(reply, AdminReply::Status(_)));
    drop(slow);
    stage.idle();
    stage.stop();
}

#[test]
fn every_half_request_is_dropped_with_its_connection() {
    let (stage, _broker) = Stage::start();
    let whole = admin_frame(lock("half", false));
    for cut in 0..whole.len() {
        stage.admin().write_all(&whole[..cut]).unwrap();
    }
    stage.idle();
    assert_eq!(stage.status().locked, None);
    stage.stop();
}

#[test]
fn invalid_request_is_refused_or_ends_connection() {
    let (stage, _broker) = Stage::start();
    let long = u32::try_from(caps::ADMIN_FRAME + 1).unwrap();
    let longer = [&long.to_le_bytes()[..], &[0; 1000]].concat();
    let trailing = {
        let mut bytes = admin_frame(AdminRequest::Status);
        bytes[0] += 1;
        bytes.push(0);
        bytes
    };
    let strange = frame::encode(
        &AdminCall {
            protocol: 77,
            request: AdminRequest::Unlock,
        },
        caps::ADMIN_FRAME,
    )
    .unwrap();
    for bytes in [
        &[0; 4][..],
        &[0xff; 64],
        b"GET / HTTP/1.1\r\n\r\n",
        &longer,
        &trailing,
        &[2, 0, 0, 0, 2, 99],
        &[1, 0, 0, 0, 1],
        &strange,
    ] {
        let mut stream = stage.admin();
        let _ = stream.write_all(bytes);
        let reply = frame::read::<AdminReply>(&mut stream, caps::ADMIN_FRAME);
        assert!(
            matches!(reply, Err(_) | Ok(AdminReply::Refused(_))),
            "{bytes:?}: {reply:?}"
        );
        stage.alive();
    }
    stage.idle();
    stage.stop();
}

#[test]
fn request_at_limit_is_accepted_with_truncated_reason() {
    let (stage, _broker) = Stage::start();
    let empty = admin_frame(lock("", false)).len() - frame::HEADER;
    // The longer text needs two more bytes for its length.
    let fits = "w".repeat(caps::ADMIN_FRAME - empty - 2);
    assert!(matches!(stage.ask(lock(&fits, false)), AdminReply::Done(_)));
    let why = stage.status().locked.unwrap();
    assert!(why.len() < 1100, "{}", why.len());
    stage.stop();
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    let (stage, _broker) = Stage::start();
    let mut open = std::collections::VecDeque::new();
    for at in 0..10_000 {
        open.push_back(stage.admin());
        if open.len() > 200 {
            open.pop_front();
        }
        if at % 2000 == 0 {
            stage.alive();
        }
    }
    drop(open);
    stage.idle();
    stage.sleeps();
    stage.stop();
}

#[test]
fn idle_connections_do_not_block_others() {
    let (stage, _broker) = Stage::start();
    let mut idle: Vec<UnixStream> = (0..caps::ADMIN_SESSIONS * 2)
        .map(|_| stage.admin())
        .collect();
    for uid in 64_005..64_012 {
        let socket = stage.runtime().admin_socket();
        let connect = move || {
            Identity::new(uid, &[ADMIN_GROUP]).adopt().unwrap();
            (0..8)
                .map(|_| UnixStream::connect(&socket).unwrap())
                .collect::<Vec<_>>()
        };
        idle.extend(std::thread::spawn(connect).join().unwrap());
    }
    stage.alive();
    let fds = stage.descriptors();
    drop(idle);
    stage.idle();
    let held = fds - stage.descriptors();
    // New connections may still send a request.
    assert!(held <= 2 * caps::ADMIN_CONNECTIONS, "{held}");
    stage.stop();
}

#[test]
fn client_that_never_reads_is_dropped() {
    let (stage, _broker) = Stage::start();
    let row = admin_frame(AdminRequest::Status).repeat(10_000);
    let silent: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = stage.admin();
            stream
                .set_write_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            while stream.write_all(&row).is_ok() {}
            stream
        })
        .collect();
    stage.alive();
    drop(silent);
    stage.idle();
    stage.stop();
}

#[test]
fn many_slow_requests_do_not_delay_others() {
    let (stage, _broker) = Stage::start();
    let locks = admin_frame(lock("", false)).repeat(5000);
    let reloads = admin_frame(AdminRequest::Reload).repeat(5000);
    let rows: Vec<_> = [locks, reloads]
        .into_iter()
        .map(|row| {
            let mut stream = stage.admin();
            let reader = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut reader = reader;
                let mut replies = 0;
                while frame::read::<AdminReply>(&mut reader, caps::ADMIN_FRAME).is_ok() {
                    replies += 1;
                }
                replies
            });
            std::thread::spawn(move || {
                let _ = stream.write_all(&row);
            })
        })
        .collect();
    stage.alive();
    for row in rows {
        row.join().unwrap();
    }
    stage.alive();
    stage.stop();
}

#[test]
fn only_root_and_the_group_are_heard() {
    let (stage, _broker) = Stage::start();
    let socket = stage.runtime().admin_socket();
    let connect = |socket: std::path::PathBuf| {
        std::thread::spawn(move || {
            Identity::new(ALICE, &[64_000]).adopt().unwrap();
            UnixStream::connect(socket)
        })
        .join()
        .unwrap()
    };
    assert!(connect(socket.clone()).is_err());
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let mut stream = connect(socket).unwrap();
    let _ = stream.write_all(&admin_frame(lock("mine", true)));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("for root and its group"), "{answer}");
    assert_eq!(stage.status().locked, None);
    let refused = stage.records("refusal");
    let alice = ALICE.to_string();
    assert!(
        refused.iter().any(|r| r["REMIT_UID"] == alice.as_str()),
        "{refused:?}"
    );
    stage.stop();
}

#[test]
fn connection_ends_with_creating_process() {
    let (stage, _broker) = Stage::start();
    // The child inherits the socket, and the process that connected exits.
    const INHERIT: &str = "$SIG{PIPE} = 'IGNORE'; socket(S, PF_UNIX, SOCK_STREAM, 0); \
        connect(S, sockaddr_un($ARGV[0])) or die; exit 0 if $ARGV[2] and fork; <STDIN>; \
        syswrite S, pack('H*', $ARGV[1]); my $n = sysread S, my $b, 100; print $n ? 'heard' : 'not'";
    let frame = hex(&admin_frame(AdminRequest::Status));
    for (leaves, expect) in [("0", "heard"), ("1", "not")] {
        let mut perl = Command::new("perl")
            .args(["-MSocket", "-e", INHERIT])
            .arg(stage.runtime().admin_socket())
            .args([&frame, leaves])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = perl.stdin.take().unwrap();
        let mut stdout = perl.stdout.take().unwrap();
        if leaves == "1" {
            assert!(perl.wait().unwrap().success());
        }
        stdin.write_all(b"\n").unwrap();
        let mut said = String::new();
        stdout.read_to_string(&mut said).unwrap();
        let _ = perl.wait();
        assert_eq!(said, expect);
    }
    stage.stop();
}

/// Tests for SO_PASSRIGHTS, Linux 6.16.
fn kernel_refuses_rights() -> bool {
    let (one, _other) = UnixStream::pair().unwrap();
    let off = 0_i32;
    let size = u32::try_from(size_of_val(&off)).unwrap();
    // SAFETY: one integer, valid for the call.
    let done = unsafe {
        libc::setsockopt(
            one.as_raw_fd(),
            libc::SOL_SOCKET,
            83,
            (&raw const off).cast(),
            size,
        )
    };
    done == 0
}

#[test]
fn descriptors_are_refused_before_and_after_the_accept() {
    let (stage, broker) = Stage::start();
    let (reader, writer) = std::io::pipe().unwrap();
    // A descriptor that blocks on close: unsent data, a peer that does not read, and SO_LINGER.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stuck = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 20,
    };
    setsockopt(&stuck, sockopt::Linger, &linger).unwrap();
    stuck.set_nonblocking(true).unwrap();
    while (&stuck).write(&[0; 65_536]).is_ok() {}
    let refuses = kernel_refuses_rights();
    let mut fds = vec![writer.as_raw_fd()];
    if refuses {
        fds.push(stuck.as_raw_fd());
    }
    for accepted in [false, true] {
        for stream in [
            stage.admin(),
            UnixStream::connect(stage.runtime().socket()).unwrap(),
        ] {
            if accepted {
                stage.alive();
            }
            let rights = [ControlMessage::ScmRights(&fds)];
            let slices = [IoSlice::new(&[7, 0, 0, 0])];
            let flags = MsgFlags::MSG_NOSIGNAL;
            let sent = sendmsg::<()>(stream.as_raw_fd(), &slices, &rights, flags, None);
            if refuses {
                assert_eq!(sent, Err(Errno::EPERM), "accepted: {accepted}");
            }
        }
    }
    drop(stuck);
    stage.alive();
    drop(writer);
    assert!(crate::warden::stage::readable(reader.as_fd(), 20_000));
    // The broker holds the clients' sockets.
    for _ in 0..2 {
        let session = broker.session();
        broker.say(&ToWarden::Closed { session });
    }
    stage.idle();
    stage.stop();
}

#[test]
fn lock_that_cannot_be_saved_holds_and_says_so() {
    let (stage, broker) = Stage::start();
    let in_the_way = stage.test_dir.path().join("state/warden/locked.new");
    fs::create_dir(&in_the_way).unwrap();
    let AdminReply::Refused(refusal) = stage.ask(lock("fire", false)) else {
        panic!("a lock that ends with the daemon is not all that was asked");
    };
    let message = &refusal.message;
    assert!(
        message.starts_with("locked, but not after a restart: ")
            && message.contains("no job is running"),
        "{message}"
    );
    assert_eq!(stage.status().locked.as_deref(), Some("fire"));
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["true"]), &[]);
    assert_eq!(broker.answer(1).unwrap_err().code, Code::Locked);
    fs::remove_dir(&in_the_way).unwrap();
    let locked = stage.ask(lock("fire", false));
    assert!(matches!(locked, AdminReply::Done(_)), "{locked:?}");
    stage.stop();
}

#[test]
fn lock_ends_jobs_and_survives_restart_and_stop() {
    let (mut stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (job, _pipes) = broker.started(1);
    assert!(matches!(stage.ask(lock("fire", true)), AdminReply::Done(_)));
    broker.exited(job);
    broker.run(session, 2, argv(&["true"]), &[]);
    assert_eq!(broker.answer(2).unwrap_err().code, Code::Locked);
    assert!(matches!(
        stage.ask(AdminRequest::Unlock),
        AdminReply::Done(_)
    ));
    // The daemon is stopping and waits for the job's output.
    stage.signal(nix::sys::signal::Signal::SIGTERM);
    let _ = stage.status();
    assert!(matches!(
        stage.ask(lock("still", false)),
        AdminReply::Done(_)
    ));
    broker.drained(job);
    broker.end(job);
    assert_eq!(stage.ended(), Some(0));
    let way = crate::warden::stage::Way::default();
    let broker = stage.raise(&way);
    broker.adopted();
    assert_eq!(stage.status().locked.as_deref(), Some("still"));
    stage.records_are_whole();
    stage.stop();
}
