//! Many connections, slow ones, those of other users, and unexpected descriptors.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use remit_common::caps;
use remit_common::frame::{self, encode};
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, script};
use remit_tests::daemon::{
    Daemon, Options, descriptors_left, open_descriptors, stranger, user_a, user_m,
};
use remit_tests::process::{Identity, status_field};
use remit_wire::client::ClientError;
use remit_wire::outcome::Stream;
use remit_wire::{FromClient, Hello, JobQuery, PROTOCOL, PageQuery, PartQuery, Request, ToClient};

fn hello() -> Vec<u8> {
    let hello = FromClient::Hello(Hello {
        protocol: PROTOCOL,
        client: "bad input".into(),
    });
    encode(&hello, caps::FRAME).expect("a hello is short")
}

fn is_closed(stream: &mut UnixStream, within: Duration) -> bool {
    stream
        .set_read_timeout(Some(within))
        .expect("it is a socket");
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn unauthorized_users_cannot_connect() {
    let daemon = Daemon::start(Options::default());
    let error = daemon
        .client(&stranger())
        .expect_err("a stranger is let in");
    assert!(matches!(error, ClientError::NotAllowed { .. }), "{error}");
    // The kernel reports this uid for every user it cannot map, so it identifies nobody.
    let overflow_user = Identity {
        uid: 65_534,
        ..user_a()
    };
    let error = daemon
        .client(&overflow_user)
        .expect_err("the overflow uid is let in");
    assert!(
        matches!(error, ClientError::Refused(_) | ClientError::Broken(_)),
        "{error}"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn those_without_a_grant_may_run_nothing() {
    let daemon = Daemon::start(Options::default());
    let refusal = Caller::new(&daemon, &user_m())
        .run(argv(&["true"]))
        .expect_err("user M may run");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal}");
    let records = daemon.records("refusal");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["REMIT_UID"], user_m().uid.to_string());
    assert_eq!(daemon.records("intent").len(), 0);
    daemon.stop();
}

#[test]
fn connection_flood_of_user_does_not_block_others() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a soft limit may be raised");
    let count = usize::try_from(most)
        .unwrap_or(usize::MAX)
        .saturating_sub(200)
        .min(5000);
    let daemon = Daemon::start(Options::default());
    let socket = daemon.runtime().socket();
    let open = move || {
        user_a().adopt().expect("the tests run as root");
        (0..count)
            .map_while(|_| UnixStream::connect(&socket).ok())
            .collect::<Vec<_>>()
    };
    let mut held = std::thread::spawn(open)
        .join()
        .expect("connecting does not panic");
    assert_eq!(held.len(), count);
    daemon.is_well();
    let mut welcome = 0;
    for stream in &mut held {
        let _ = stream.write_all(&hello());
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("it is a socket");
        welcome += usize::from(matches!(
            frame::read(stream, caps::FRAME),
            Ok(ToClient::Welcome { .. })
        ));
    }
    assert!(
        (1..=caps::SESSIONS_PER_UID).contains(&welcome),
        "{welcome} sessions of one user"
    );
    daemon.is_well();
    drop(held);
    daemon.stop();
}

#[test]
fn unfinished_frame_is_dropped_at_deadline() {
    let daemon = Daemon::start(Options::default());
    let mut slow: Vec<UnixStream> = (0..20)
        .map(|_| daemon.connect(&user_a()).expect("user A may connect"))
        .collect();
    for (cut, stream) in slow.iter_mut().enumerate() {
        let bytes = [hello(), vec![200, 0, 0, 0, 1]].concat();
        let part = match cut % 3 {
            0 => &[][..],
            1 => &bytes[..3],
            _ => &bytes,
        };
        stream.write_all(part).expect("the daemon reads");
    }
    daemon.is_well();
    let deadline = Instant::now() + Duration::from_millis(caps::FRAME_DEADLINE_MS + 20_000);
    for mut stream in slow {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        assert!(
            is_closed(&mut stream, left),
            "a slow client is still connected"
        );
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn client_that_never_reads_costs_bounded_memory() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller
        .run(script("head -c 8M /dev/zero"))
        .expect("user A has a grant");
    assert_eq!(report.stdout.total, 8 << 20);
    let page = PageQuery {
        stream: Stream::Stdout,
        offset: 0,
        limit: u32::try_from(caps::PAGE).expect("a page is small"),
        tail: false,
        whole_characters: false,
    };
    let request = Request::Job(JobQuery {
        job: report.job,
        wait_ms: 0,
        part: Some(PartQuery::Page(page)),
    });
    let mut stream = daemon.connect(&user_a()).expect("user A may connect");
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("it is a socket");
    stream.write_all(&hello()).expect("the daemon reads");
    // 256 pages are 64 MiB. The daemon may stop reading or close.
    for id in 0..256 {
        let call = encode(
            &FromClient::Call {
                id,
                request: request.clone(),
            },
            caps::FRAME,
        )
        .expect("it is short");
        if stream.write_all(&call).is_err() {
            break;
        }
    }
    daemon.is_well();
    let resident = status_field(broker, "VmRSS").unwrap_or_default();
    let kib: u64 = resident
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .expect("the broker lives");
    assert!(kib < 48 << 10, "the broker holds {resident}");
    drop(stream);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn descriptors_that_a_client_sends_are_not_taken() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    daemon.is_well();
    let stream = daemon.connect(&user_a()).expect("user A may connect");
    let before = (open_descriptors(daemon.pid()), open_descriptors(broker));
    let null = File::open("/dev/null").expect("there is a /dev/null");
    let descriptors = [null.as_raw_fd(); 253];
    stream.set_nonblocking(true).expect("it is a socket");
    let hello = hello();
    let mut sent = 0;
    for part in hello.chunks(1).cycle().take(200) {
        // Newer kernels refuse the message if the receiver accepts no descriptors. Plain bytes must still arrive.
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let bytes = [IoSlice::new(part)];
        sent += usize::from(
            sendmsg::<()>(
                stream.as_raw_fd(),
                &bytes,
                &rights,
                MsgFlags::MSG_NOSIGNAL,
                None,
            )
            .is_ok(),
        );
    }
    daemon.is_well();
    let after = (
        descriptors_left(daemon.pid(), before.0 + 3),
        descriptors_left(broker, before.1 + 3),
    );
    assert!(
        after.0 <= before.0 + 3 && after.1 <= before.1 + 3,
        "{sent} messages: from {before:?} to {after:?}"
    );
    daemon.stop();
}

#[test]
fn connection_ends_with_its_creator() {
    let daemon = Daemon::start(Options::default());
    let (local, remote) = UnixStream::pair().expect("the kernel makes pairs");
    let mut command = Command::new(daemon.program("remit-attack"));
    command.arg("hand-over").arg(daemon.runtime().socket());
    command.stdin(Stdio::from(OwnedFd::from(remote)));
    user_a().runs(&mut command);
    assert!(command.status().expect("it starts").success());

    let mut stream = UnixStream::from(received(&local));
    let _ = stream.write_all(&hello());
    let run = FromClient::Call {
        id: 1,
        request: Request::Run(argv(&["true"])),
    };
    let _ = stream.write_all(&encode(&run, caps::FRAME).expect("the call is short"));
    assert!(
        is_closed(&mut stream, Duration::from_secs(20)),
        "the session goes on"
    );
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    daemon.is_well();
    daemon.stop();
}

#[allow(unsafe_code)]
fn received(from: &UnixStream) -> OwnedFd {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        from.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .expect("something was handed over");
    let fd = message
        .cmsgs()
        .expect("the space suffices")
        .find_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
    // SAFETY: the kernel just made this descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd.expect("a descriptor was handed over")) }
}
