//! Bytes on `remit.sock` that are not the protocol.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use remit_common::caps;
use remit_common::frame::{self, encode};
use remit_common::refusal::Code;
use remit_tests::caller::{argv, at_once};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a};
use remit_tests::process::status_field;
use remit_wire::{FromClient, Hello, PROTOCOL, Request, ToClient};

fn hello(protocol: u16) -> Vec<u8> {
    let hello = FromClient::Hello(Hello {
        protocol,
        client: "bad input".into(),
    });
    encode(&hello, caps::FRAME).expect("a hello is short")
}

fn call(id: u32, words: &[&str]) -> Vec<u8> {
    let request = Request::Run(at_once(argv(words)));
    encode(&FromClient::Call { id, request }, caps::FRAME).expect("the call is short")
}

fn connection(daemon: &Daemon) -> UnixStream {
    let stream = daemon.connect(&user_a()).expect("user A may connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("it is a socket");
    stream
}

fn next(stream: &mut UnixStream) -> Option<ToClient> {
    frame::read(stream, caps::FRAME).ok()
}

fn last_word(daemon: &Daemon, bytes: &[u8]) -> Option<ToClient> {
    let mut stream = connection(daemon);
    // The daemon may close the connection while the test still writes.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut last = None;
    while let Some(message) = next(&mut stream) {
        last = Some(message);
    }
    last
}

fn is_sent_away(word: &Option<ToClient>) -> bool {
    matches!(word, Some(ToClient::Goodbye(_)))
}

/// Returns the private memory of a process in KiB. Pages of its program come in with the first use of their code.
fn resident(pid: i32) -> u64 {
    let text = status_field(pid, "RssAnon").expect("it runs");
    let number = text.split_whitespace().next();
    number
        .and_then(|number| number.parse().ok())
        .expect("a number of KiB")
}

#[test]
fn invalid_message_gets_error_and_starts_nothing() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    let after_hello = |bytes: &[u8]| [hello(PROTOCOL), bytes.to_vec()].concat();
    let mut trailing = call(1, &["true"]);
    let length = u32::try_from(trailing.len() - frame::HEADER + 1).expect("it is short");
    trailing[..frame::HEADER].copy_from_slice(&length.to_le_bytes());
    trailing.push(0);
    let over = u32::try_from(caps::FRAME + 1).expect("the cap is small");
    let all = [
        (
            "the longest length there is",
            u32::MAX.to_le_bytes().to_vec(),
        ),
        ("one byte too long", over.to_le_bytes().to_vec()),
        ("no bytes at all", 0_u32.to_le_bytes().to_vec()),
        ("a call before the hello", call(1, &["true"])),
        ("version 0", hello(0)),
        ("version 999", hello(999)),
        ("JSON", b"{\"jsonrpc\":\"2.0\",\"id\":1}\n".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a second hello", after_hello(&hello(PROTOCOL))),
        (
            "a length too long after the hello",
            after_hello(&u32::MAX.to_le_bytes()),
        ),
        (
            "a message of an unknown kind",
            after_hello(&[1, 0, 0, 0, 0x7f]),
        ),
        ("bytes after a message", after_hello(&trailing)),
    ];
    let send_all = || {
        for (name, bytes) in &all {
            let word = last_word(&daemon, bytes);
            assert!(is_sent_away(&word), "{name}: {word:?}");
        }
    };
    // The first round brings in what the broker keeps for reuse.
    send_all();
    let before = resident(broker);
    send_all();
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    assert!(
        resident(broker) < before + 1024,
        "grew from {before} to {} KiB",
        resident(broker)
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_frame_at_the_cap_is_read() {
    let daemon = Daemon::start(Options::default());
    let mut bytes = hello(PROTOCOL);
    bytes.extend(
        u32::try_from(caps::FRAME)
            .expect("the cap is small")
            .to_le_bytes(),
    );
    bytes.resize(bytes.len() + caps::FRAME, 0xff);
    let Some(ToClient::Goodbye(refusal)) = last_word(&daemon, &bytes) else {
        panic!("no goodbye");
    };
    assert_ne!(refusal.code, Code::TooLarge, "{refusal}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_conversation_cut_anywhere_starts_nothing() {
    let daemon = Daemon::start(Options::default());
    let whole = [hello(PROTOCOL), call(1, &["true"])].concat();
    for cut in 0..whole.len() {
        let word = last_word(&daemon, &whole[..cut]);
        assert!(
            !matches!(word, Some(ToClient::Reply { .. })),
            "cut at {cut}: {word:?}"
        );
    }
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    daemon.is_well();
    daemon.stop();
}

fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some((state >> 32) as u8)
    })
}

#[test]
fn random_bytes_start_nothing() {
    let daemon = Daemon::start(Options::default());
    let (warden, broker) = (daemon.pid(), daemon.broker().expect("there is a broker"));
    for seed in 1..200 {
        let body: Vec<u8> = noise(seed).take(1 + seed as usize).collect();
        let length = u32::try_from(body.len())
            .expect("it is short")
            .to_le_bytes();
        let framed = [&length[..], &body].concat();
        let bytes = match seed % 3 {
            0 => body,
            1 => framed,
            _ => [hello(PROTOCOL), framed].concat(),
        };
        let word = last_word(&daemon, &bytes);
        assert!(
            !matches!(word, Some(ToClient::Reply { .. })),
            "seed {seed}: {word:?}"
        );
    }
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    daemon.is_well();
    assert_eq!(
        (daemon.pid(), daemon.broker()),
        (warden, Some(broker)),
        "somebody died"
    );
    daemon.stop();
}

#[test]
fn an_id_in_flight_cannot_be_used_again() {
    let daemon = Daemon::start(Options::default());
    let mut stream = connection(&daemon);
    let wait_frame = |id| {
        let run = argv(&["sleep", "2"]);
        encode(
            &FromClient::Call {
                id,
                request: Request::Run(run),
            },
            caps::FRAME,
        )
        .expect("the call is short")
    };
    stream
        .write_all(&[hello(PROTOCOL), wait_frame(7), wait_frame(7)].concat())
        .expect("the daemon reads");
    let answer = std::iter::from_fn(|| next(&mut stream)).find(|message| {
        !matches!(
            message,
            ToClient::Welcome { .. } | ToClient::Progress { .. }
        )
    });
    match answer {
        Some(ToClient::Goodbye(_) | ToClient::Reply { reply: Err(_), .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(stream);
    assert!(daemon.records("intent").len() <= 1);
    daemon.stop();
}

#[test]
fn a_thousand_empty_connections_leave_no_descriptor() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    daemon.is_well();
    let before = (open_descriptors(daemon.pid()), open_descriptors(broker));
    for _ in 0..1000 {
        drop(connection(&daemon));
    }
    let mut rest = Vec::new();
    let _ = connection(&daemon).shutdown(Shutdown::Write);
    let mut last = connection(&daemon);
    let _ = last.shutdown(Shutdown::Write);
    let _ = last.read_to_end(&mut rest);
    daemon.is_well();
    let after = (
        descriptors_left(daemon.pid(), before.0 + 2),
        descriptors_left(broker, before.1 + 2),
    );
    assert!(
        after.0 <= before.0 + 2 && after.1 <= before.1 + 2,
        "from {before:?} to {after:?}"
    );
    daemon.stop();
}

/// Far above one user's rate, in one write: each request is answered or refused, and others are served meanwhile.
#[test]
fn request_flood_is_throttled_with_reason() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    let mut stream = connection(&daemon);
    let mut reader = stream.try_clone().expect("it is a socket");
    let flood: Vec<u8> = (0..20_000_u32)
        .flat_map(|id| {
            let call = FromClient::Call {
                id,
                request: Request::Jobs { limit: 1 },
            };
            encode(&call, caps::FRAME).expect("the call is short")
        })
        .collect();
    stream
        .write_all(&hello(PROTOCOL))
        .expect("the daemon reads");
    let writer = std::thread::spawn(move || {
        let _ = stream.write_all(&flood);
        let _ = stream.shutdown(Shutdown::Write);
    });
    daemon.is_well();
    let mut refused = 0;
    while let Some(message) = next(&mut reader) {
        match message {
            ToClient::Reply {
                reply: Err(refusal),
                ..
            }
            | ToClient::Goodbye(refusal) => {
                assert!(
                    matches!(refusal.code, Code::RateLimited | Code::Busy),
                    "{refusal}"
                );
                refused += 1;
                if refused > 500 {
                    break; // Deliberately slow.
                }
            }
            ToClient::Reply { reply: Ok(_), .. }
            | ToClient::Welcome { .. }
            | ToClient::Progress { .. } => {}
        }
    }
    assert!(refused > 0, "nothing was refused");
    drop(reader);
    daemon.is_well();
    let _ = writer.join();
    assert!(resident(broker) < 48 << 10, "{} KiB", resident(broker));
    daemon.stop();
}
