//! Clients that do everything wrong.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::frame;
use remit_common::refusal::Code;
use remit_common::wire::{FromClient, Hello, PROTOCOL, Reply, Request, ToClient};
use remit_link::{ToBroker, ToWarden};

use crate::stage::{Broker, Client, Dir, run};

fn bytes(message: &FromClient) -> Vec<u8> {
    frame::encode(message, caps::FRAME).unwrap()
}

fn hello() -> Vec<u8> {
    bytes(&FromClient::Hello(Hello {
        protocol: PROTOCOL,
        client: "test".into(),
    }))
}

fn jobs(id: u32) -> FromClient {
    FromClient::Call {
        id,
        request: Request::Jobs { limit: 1 },
    }
}

/// Another client is served within a second.
fn alive(broker: &mut Broker) {
    let start = Instant::now();
    let mut client = broker.client(4242);
    assert_eq!(
        client.ask(Request::Jobs { limit: 1 }),
        Ok(Reply::Jobs(Vec::new()))
    );
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

/// The reason for which a client that sends `bytes` is sent away.
fn goodbye(broker: &mut Broker, bytes: &[u8]) -> Option<Code> {
    let (_, mut socket) = broker.connect(1000);
    // The broker may close before it has read all.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    let _ = socket.read_to_end(&mut all);
    let mut from = all.as_slice();
    let mut last = None;
    while let Ok(message) = frame::read::<ToClient>(&mut from, caps::FRAME) {
        last = Some(message);
    }
    match last {
        Some(ToClient::Goodbye(refusal)) => Some(refusal.code),
        Some(_) | None => None,
    }
}

#[test]
fn wrong_order_wrong_version_and_wrong_bytes_are_told_and_closed() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let old = bytes(&FromClient::Hello(Hello {
        protocol: 0,
        client: "x".into(),
    }));
    let twice = [hello(), hello()].concat();
    let long = u32::try_from(caps::FRAME + 1).unwrap().to_le_bytes();
    let huge = [hello(), u32::MAX.to_le_bytes().to_vec()].concat();
    let noise = [hello(), vec![3, 0, 0, 0, 9, 9, 9]].concat();
    let trailing = [hello(), vec![4, 0, 0, 0, 2, 1, 0, 0]].concat();
    let mut same = run(&["sleep", "9"]);
    same.wait_ms = Some(1000);
    let call = bytes(&FromClient::Call {
        id: 5,
        request: Request::Run(same),
    });
    let reused = [hello(), call.clone(), call].concat();
    let cases = [
        (&bytes(&jobs(1)), Code::InvalidArgs),
        (&old, Code::InvalidArgs),
        (&twice, Code::InvalidArgs),
        (&long.to_vec(), Code::TooLarge),
        (&huge, Code::TooLarge),
        (&noise, Code::InvalidArgs),
        (&trailing, Code::InvalidArgs),
        (&vec![0; 8], Code::InvalidArgs),
        (&reused, Code::InvalidArgs),
    ];
    for (number, (bytes, code)) in cases.into_iter().enumerate() {
        assert_eq!(goodbye(&mut broker, bytes), Some(code), "case {number}");
    }
    alive(&mut broker);
}

#[test]
fn frames_byte_by_byte_are_frames_and_cut_ones_are_nothing() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    for byte in bytes(&jobs(77)) {
        client.socket.write_all(&[byte]).unwrap();
        std::thread::yield_now();
    }
    assert!(matches!(
        client.receive(),
        ToClient::Reply {
            id: 77,
            reply: Ok(_)
        }
    ));
    let whole = [
        hello(),
        bytes(&FromClient::Call {
            id: 1,
            request: Request::Run(run(&["true"])),
        }),
    ]
    .concat();
    for cut in 0..whole.len() {
        assert_eq!(goodbye(&mut broker, &whole[..cut]), None, "cut at {cut}");
    }
    alive(&mut broker);
    // Not one of them started anything.
    drop(client);
    while !broker.hears_nothing(Duration::from_millis(100)) {
        assert!(matches!(broker.hear(), ToWarden::Closed { .. }));
    }
}

#[test]
fn random_bytes_disturb_nobody() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let noise: Vec<u8> = (0..random() % 300).map(|_| random() as u8).collect();
        let length = u32::try_from(noise.len()).unwrap().to_le_bytes();
        let framed = [hello(), length.to_vec(), noise.clone()].concat();
        goodbye(&mut broker, if round % 2 == 0 { &noise } else { &framed });
        // Refusals go to the audit; the link must not fill up meanwhile.
        while !broker.hears_nothing(Duration::ZERO) {
            broker.hear();
        }
    }
    alive(&mut broker);
}

#[test]
fn a_length_without_bytes_costs_no_memory_and_holds_nobody_up() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    alive(&mut broker);
    let before = broker.memory();
    let sockets: Vec<_> = (0..7)
        .map(|_| {
            let (_, mut socket) = broker.connect(1000);
            socket.write_all(&hello()).unwrap();
            socket
                .write_all(&u32::try_from(caps::FRAME).unwrap().to_le_bytes())
                .unwrap();
            socket.write_all(&[1]).unwrap();
            socket
        })
        .collect();
    alive(&mut broker);
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 1 << 10, "{grown} KiB");
    // Of one uid, only so much: more is sent away, a little less is not.
    let large = |length: usize| {
        [
            hello(),
            u32::try_from(length).unwrap().to_le_bytes().to_vec(),
            vec![1],
        ]
        .concat()
    };
    assert!(caps::BUFFERS_PER_UID / caps::FRAME == sockets.len() + 1);
    assert_eq!(goodbye(&mut broker, &large(caps::FRAME / 2)), None);
    let (_, mut last) = broker.connect(1000);
    last.write_all(&large(caps::FRAME / 2)).unwrap();
    alive(&mut broker);
    assert_eq!(goodbye(&mut broker, &large(caps::FRAME)), Some(Code::Busy));
}

#[test]
fn a_frame_that_is_never_finished_has_a_deadline() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let (_, mut silent) = broker.connect(1000);
    let (_, mut slow) = broker.connect(1001);
    slow.write_all(&hello()[..3]).unwrap();
    let idle = broker.client(1002);
    for socket in [&mut silent, &mut slow] {
        let reason: ToClient = frame::read(socket, caps::FRAME).unwrap();
        assert!(matches!(reason, ToClient::Goodbye(_)), "{reason:?}");
    }
    // A client between two frames may be idle for ever.
    let mut idle = idle;
    assert!(idle.ask(Request::Jobs { limit: 1 }).is_ok());
}

#[test]
fn thousands_of_tiny_frames_are_answered_or_refused_one_by_one() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let socket = client.socket.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut socket = socket;
        for id in 0..5000 {
            socket.write_all(&bytes(&jobs(id))).unwrap();
        }
    });
    let (mut served, mut refused) = (0, 0);
    for expect in 0..5000 {
        match client.receive() {
            ToClient::Reply { id, reply: Ok(_) } if id == expect => served += 1,
            ToClient::Reply {
                id,
                reply: Err(refusal),
            } if id == expect => {
                assert_eq!(refusal.code, Code::RateLimited);
                assert!(refusal.next.unwrap().starts_with("try again in"));
                refused += 1;
            }
            // A refusal may overtake the answer to the call before it.
            ToClient::Reply { reply: Ok(_), .. } => served += 1,
            ToClient::Reply { reply: Err(_), .. } => refused += 1,
            other => panic!("{other:?}"),
        }
        if expect == 2500 {
            alive(&mut broker);
        }
    }
    sender.join().unwrap();
    assert!(
        served >= caps::REQUEST_BURST && refused > 1000,
        "{served} served, {refused} refused"
    );
    // The audit heard of some, not of thousands.
    let mut told = 0;
    while !broker.hears_nothing(Duration::from_millis(50)) {
        told += u32::from(matches!(broker.hear(), ToWarden::Refused { .. }));
    }
    assert!((1..60).contains(&told), "{told}");
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_others_are_served() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let call = client.call(Request::Run(run(&["true"])));
    let mut job = broker.start_job(1, 1000);
    job.write(&vec![b'x'; 30_000], b"");
    let id = job.id;
    drop(job);
    broker.drained(id);
    broker.end(id);
    client.reply(call).0.unwrap();
    let query = remit_common::wire::JobQuery {
        job: id,
        wait_ms: 0,
        part: None,
    };
    let before = broker.memory();
    let mut number = 1000;
    let dropped = loop {
        number += 1;
        let call = bytes(&FromClient::Call {
            id: number,
            request: Request::Job(query.clone()),
        });
        if client.socket.write_all(&call).is_err() {
            break true;
        }
        if number % 100 == 0 {
            alive(&mut broker);
            while !broker.hears_nothing(Duration::ZERO) {
                broker.hear();
            }
        }
        if number > 100_000 {
            break false;
        }
    };
    assert!(dropped);
    alive(&mut broker);
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 3 * (caps::WRITE_BUFFER as u64 >> 10), "{grown} KiB");
}

#[test]
fn calls_in_flight_end_at_the_cap_and_go_with_the_session() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    for _ in 0..caps::CALLS_PER_SESSION {
        client.call(Request::Run(run(&["true"])));
    }
    let over = client.call(Request::Jobs { limit: 1 });
    assert_eq!(client.reply(over).0.unwrap_err().code, Code::Busy);
    let session = client.session;
    drop(client);
    // As many as one uid may ask at once, then the refusal, then the end.
    let heard: Vec<_> = (0..caps::ASKS_PER_UID + 2).map(|_| broker.hear()).collect();
    assert_eq!(heard.last(), Some(&ToWarden::Closed { session }));
    // Answers to calls that are gone hurt nobody.
    for message in heard {
        if let ToWarden::Run { ticket, .. } = message {
            let refusal = remit_common::refusal::Refusal::new(Code::Busy, "late");
            broker.tell(
                &ToBroker::Answer {
                    ticket,
                    answer: Err(refusal),
                },
                &[],
            );
        }
    }
    alive(&mut broker);
}

#[test]
fn a_session_whose_process_is_gone_is_closed_at_once() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    client.call(Request::Run(run(&["true"])));
    let ToWarden::Run { .. } = broker.hear() else {
        panic!()
    };
    broker.tell(
        &ToBroker::SessionGone {
            session: client.session,
        },
        &[],
    );
    assert_eq!(
        broker.hear(),
        ToWarden::Closed {
            session: client.session
        }
    );
    assert!(Client::rest(client).is_empty());
}

#[test]
fn descriptors_from_clients_are_not_received_and_end_the_connection() {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut other = broker.client(1000);
    other.ask(Request::Jobs { limit: 1 }).unwrap();
    let before = broker.descriptors();
    let null = std::fs::File::open("/dev/null").unwrap();
    let many = [null.as_raw_fd(); 200];
    for number in 0..50 {
        let client = broker.client(1000);
        let session = client.session;
        let frame = bytes(&jobs(100 + number));
        let slices = [std::io::IoSlice::new(&frame)];
        let rights = [ControlMessage::ScmRights(&many)];
        sendmsg::<()>(
            client.socket.as_raw_fd(),
            &slices,
            &rights,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        assert!(client.rest().is_empty());
        // Said when the socket is closed, with all that lay in it.
        assert_eq!(broker.hear(), ToWarden::Closed { session });
    }
    assert_eq!(broker.descriptors(), before);
    other.ask(Request::Jobs { limit: 1 }).unwrap();
}

#[test]
fn a_frame_of_empty_elements_is_refused_and_costs_no_more_than_its_size() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    client.ask(Request::Jobs { limit: 1 }).unwrap();
    let peak = |broker: &Broker| -> u64 {
        broker
            .status("VmHWM")
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    };
    let before = peak(&broker);
    let argv = Some(vec![remit_common::wire::Bytes::new(); 4_000_000]);
    let profile = None;
    let refused = client
        .ask(Request::Access(remit_common::wire::Access {
            argv,
            profile,
            name: None,
            query: None,
        }))
        .unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgs, "{refused}");
    let grown = peak(&broker).saturating_sub(before);
    assert!(grown < 12 << 10, "{grown} KiB");
}
