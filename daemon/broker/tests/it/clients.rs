use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::frame;
use remit_common::refusal::Code;
use remit_link::{ToBroker, ToWarden};
use remit_wire::{FromClient, Hello, PROTOCOL, Reply, Request, ToClient};

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

/// The best of three, because a busy machine can stall.
fn alive(broker: &mut Broker) {
    let took = [(); 3].map(|()| {
        let start = Instant::now();
        let mut client = broker.client(4242);
        assert_eq!(
            client.ask(Request::Jobs { limit: 1 }),
            Ok(Reply::Jobs(Vec::new()))
        );
        start.elapsed()
    });
    assert!(
        took.iter().min() < Some(&Duration::from_secs(1)),
        "{took:?}"
    );
}

fn goodbye(broker: &mut Broker, bytes: &[u8]) -> Option<Code> {
    let (_, mut socket) = broker.connect(1000);
    // The broker can close before it has read everything.
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
fn protocol_errors_get_goodbye_and_close() {
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
        (&old, Code::DaemonUnavailable),
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
fn frame_in_pieces_is_read_cut_frame_ignored() {
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
    drop(client);
    while !broker.hears_nothing(Duration::from_millis(100)) {
        assert!(matches!(broker.hear(), ToWarden::Closed { .. }));
    }
}

#[test]
fn random_bytes_leave_broker_serving() {
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
        while !broker.hears_nothing(Duration::ZERO) {
            broker.hear();
        }
    }
    alive(&mut broker);
}

#[test]
fn length_without_bytes_costs_no_memory() {
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
fn unfinished_frame_has_deadline() {
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
    let mut idle = idle;
    assert!(idle.ask(Request::Jobs { limit: 1 }).is_ok());
}

#[test]
fn frame_flood_is_answered_or_rate_limited() {
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
    let mut reported = 0;
    while !broker.hears_nothing(Duration::from_millis(50)) {
        reported += u32::from(matches!(broker.hear(), ToWarden::Refused { .. }));
    }
    assert!((1..60).contains(&reported), "{reported}");
}

/// Returns how many refusals are reported one by one, and how many by count, until there are `all`.
fn reported(broker: &Broker, all: u32) -> (u32, u32) {
    let (mut single, mut counted) = (0, 0);
    while single + counted < all {
        match broker.hear() {
            ToWarden::Refused { .. } => single += 1,
            ToWarden::MoreRefused { count, .. } => counted += count,
            other => panic!("{single} and {counted} of {all}: {other:?}"),
        }
    }
    (single, counted)
}

#[test]
fn each_refusal_of_the_broker_is_reported_once() {
    const CALLS: u32 = 500;
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let refuse = |client: &mut Client, count| {
        for _ in 0..count {
            assert!(client.ask(Request::Run(run(&[""]))).is_err());
        }
    };
    refuse(&mut client, CALLS);
    let (single, counted) = reported(&broker, CALLS);
    assert_eq!(single + counted, CALLS);
    assert!(single >= 5 && counted > CALLS / 2, "{single} {counted}");
    // Counts are complete before the session is closed.
    refuse(&mut client, 50);
    drop(client);
    let (single, counted) = reported(&broker, 50);
    assert_eq!(single + counted, 50);
    assert!(matches!(broker.hear(), ToWarden::Closed { .. }));
}

#[test]
fn refusals_of_the_broker_are_slowed() {
    const LATE: Duration = Duration::from_secs(2);
    let dir = Dir::new();
    let mut broker = Broker::fresh_with(&dir, "--slow-refusals 1 --slow-within 3600");
    let mut client = broker.client(1000);
    let mut refused = |words: &[&str]| {
        let start = Instant::now();
        let refusal = client.ask(Request::Run(run(words))).unwrap_err();
        (refusal.code, start.elapsed())
    };
    assert_eq!(refused(&[""]).0, Code::InvalidArgs);
    let (code, took) = refused(&[""]);
    assert!(code == Code::InvalidArgs && took >= LATE, "{took:?}");
}

#[test]
fn client_that_never_reads_is_dropped() {
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
    let query = remit_wire::JobQuery {
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
fn calls_in_flight_are_capped_and_dropped_with_session() {
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
    let heard: Vec<_> = (0..caps::ASKS_PER_UID + 2).map(|_| broker.hear()).collect();
    assert_eq!(heard.last(), Some(&ToWarden::Closed { session }));
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
fn session_of_dead_process_is_closed() {
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
fn descriptors_from_client_end_session() {
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
        // Sent only after the socket and the descriptors in it are closed.
        assert_eq!(broker.hear(), ToWarden::Closed { session });
    }
    assert_eq!(broker.descriptors(), before);
    other.ask(Request::Jobs { limit: 1 }).unwrap();
}

#[test]
fn frame_of_empty_elements_is_refused_cheaply() {
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
    let argv = Some(vec![remit_wire::Bytes::new(); 4_000_000]);
    let profile = None;
    let refused = client
        .ask(Request::Access(remit_wire::Access {
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
