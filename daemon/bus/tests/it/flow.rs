//! Connections: what passes, what does not, limits, and deaths at each step.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use remit_bus::header;
use remit_bus::message::Call;

use crate::client::{Client, DRIVER, MANAGER, bytes, call, hello};
use crate::fake::{FakeBus, GUID, accept, reply};
use crate::stage::{ACCOUNTS, PATIENCE, Proxy, connect, connect_with};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

fn get(serial: u32) -> Call<'static> {
    Call {
        signature: "s",
        body: b"\x03\0\0\0a.b\0",
        ..call(serial, PROPERTIES, "GetAll")
    }
}

/// As nss-systemd asks.
#[test]
fn a_job_finds_its_own_account_and_no_other() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    let own = nix::unistd::geteuid().as_raw();
    let ask = |stream: &mut UnixStream, uid: u32| {
        let question = format!(
            "{{\"method\":\"io.systemd.UserDatabase.GetUserRecord\",\"parameters\":{{\"uid\":{uid},\"service\":\"x\"}}}}\0"
        );
        stream.write_all(question.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\0") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        String::from_utf8(answer).unwrap()
    };
    proxy.job(|| {
        let mut stream = connect_with(ACCOUNTS).unwrap();
        let answer = ask(&mut stream, own);
        assert!(answer.contains("\"userName\":\"remit-job\""), "{answer}");
        let answer = ask(&mut stream, own + 1);
        assert!(answer.contains("NoRecordFound"), "{answer}");
        // A job has eight; more are refused until one is closed.
        let more: Vec<UnixStream> = (1..8).map(|_| connect_with(ACCOUNTS).unwrap()).collect();
        let refused = connect_with(ACCOUNTS).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        drop(more);
        // What has no end, and what is not text, end the connection or have no record.
        stream.write_all(&[b'x'; 5000]).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
        let mut client = Client::new();
        let passed = client.call(&get(2));
        assert_eq!((passed.kind, passed.answers()), (2, 2));
    });
    // Hello and one look: what asks for accounts is no call of the bus.
    assert_eq!(proxy.end(), (2, 0, Vec::new()));
}

#[test]
fn looks_pass_and_acts_are_refused() {
    let bus = FakeBus::start();
    let proxy = Proxy::with(&bus.path, PATIENCE, &["org.example.Foo.GetState"]);
    proxy.job(|| {
        let mut client = Client::new();
        let refused = client.call(&Call {
            signature: "ss",
            body: b"\x09\0\0\0a.service\0\0\0\x04\0\0\0fail\0",
            ..call(2, MANAGER, "RestartUnit")
        });
        assert_eq!((refused.kind, refused.answers()), (3, 2));
        let sentence = format!(
            "Refused by remit: {MANAGER}.RestartUnit is not a look; the bus is read-only here. \
             Use change service.restart a.service\0"
        );
        assert!(refused.text().ends_with(&sentence), "{}", refused.text());
        assert!(
            refused
                .text()
                .contains("org.freedesktop.DBus.Error.NotSupported")
        );
        for (serial, interface, member) in [(3, DRIVER, "AddMatch"), (4, MANAGER, "Subscribe")] {
            let empty = client.call(&call(serial, interface, member));
            assert_eq!((empty.kind, empty.answers()), (2, serial));
        }
        for call in [get(5), call(6, "org.example.Foo", "GetState")] {
            let passed = client.call(&call);
            assert_eq!((passed.kind, passed.answers()), (2, call.serial));
        }
        // Nobody expects these replies, so none comes.
        let silent = ["StopUnit", "Unsubscribe"].map(|member| {
            bytes(&Call {
                wants_reply: false,
                ..call(7, MANAGER, member)
            })
        });
        client.send(&silent.concat());
        assert_eq!(client.call(&get(8)).answers(), 8);
    });
    let seen = bus.seen();
    let members: Vec<bool> = seen
        .iter()
        .map(|one| one.text().contains("GetAll"))
        .collect();
    assert_eq!(members, [false, true, false, true]);
    // NO_AUTO_START on all: none of them is for a service that a look may start.
    assert!(seen.iter().all(|one| one.bytes[2] == 2), "{seen:?}");
    let first = ["RestartUnit", "StopUnit"].map(|name| format!("{MANAGER}.{name}"));
    assert_eq!(proxy.end(), (9, 2, first.to_vec()));
}

#[test]
fn signals_and_calls_of_the_bus_do_not_reach_the_job() {
    let bus = FakeBus::with(|stream, call| {
        for kind in [4, 1, 9] {
            let mut other = reply(call);
            other[1] = kind;
            stream.write_all(&other)?;
        }
        stream.write_all(&reply(call))
    });
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut client = Client::new();
        for serial in 2..9 {
            let reply = client.call(&get(serial));
            assert_eq!((reply.kind, reply.answers()), (2, serial));
        }
    });
}

#[test]
fn own_replies_wait_for_the_end_of_a_passing_one() {
    let (whole, gate) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (half_sent, go_on) = (Arc::clone(&whole), Arc::clone(&gate));
    let bus = FakeBus::with(move |stream, call| {
        let reply = reply(call);
        if !call.text().contains("GetAll") {
            return stream.write_all(&reply);
        }
        stream.write_all(&reply[..20])?;
        half_sent.wait();
        go_on.wait();
        stream.write_all(&reply[20..])
    });
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut client = Client::new();
        client.send(&bytes(&get(2)));
        whole.wait();
        // The start of the reply has passed, and the proxy answers meanwhile.
        let mut start = [0; 20];
        client.0.read_exact(&mut start).unwrap();
        client.send(&bytes(&call(3, MANAGER, "StopUnit")));
        // A second connection is answered after that call was read.
        assert_eq!(Client::new().call(&call(2, MANAGER, "Halt")).kind, 3);
        gate.wait();
        let mut rest = vec![0; crate::client::length(&start) - 20];
        client.0.read_exact(&mut rest).unwrap();
        assert_eq!(rest[..4], 2_u32.to_le_bytes());
        let refused = client.reply();
        assert_eq!((refused.kind, refused.answers()), (3, 3));
    });
}

#[test]
fn what_is_no_call_ends_the_connection() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    let changed = |at: usize, byte: u8| {
        let mut message = bytes(&get(2));
        message[at] = byte;
        message
    };
    let long = [&bytes(&get(2))[..4], &[0, 0, 1, 0], &[0; 8]].concat();
    proxy.job(|| {
        for (why, message) in [
            ("big-endian", changed(0, b'B')),
            ("a reply", changed(1, 2)),
            ("an error", changed(1, 3)),
            ("a signal", changed(1, 4)),
            ("a version", changed(3, 2)),
            ("serial 0", changed(8, 0)),
            ("a length", changed(7, 0xff)),
            ("a long message", long.clone()),
            ("a second Hello", bytes(&hello())),
        ] {
            let mut client = Client::new();
            client.send(&message);
            assert!(client.is_ended(), "{why}");
        }
        let mut early = connect().unwrap();
        let greeting = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        early
            .write_all(&[&greeting[..], &bytes(&get(2))].concat())
            .unwrap();
        assert!(Client(early).is_ended(), "no Hello");
    });
    let others = bus
        .seen()
        .into_iter()
        .filter(|one| !one.text().contains("Hello"));
    assert_eq!(others.count(), 0);
}

/// Since Linux 6.16 the kernel refuses them. tests/system/strangers asks older ones.
#[test]
fn descriptor_of_a_job_is_refused_or_ends_the_connection() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        for stream in [Client::new().0, connect_with(ACCOUNTS).unwrap()] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let raw = [writer.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&raw)];
            let (slices, flags) = ([IoSlice::new(b"x")], MsgFlags::empty());
            let sent = sendmsg::<()>(stream.as_raw_fd(), &slices, &rights, flags, None);
            drop(writer);
            match sent {
                Err(error) => assert_eq!(error, nix::errno::Errno::EPERM),
                Ok(_) => assert!(Client(stream).is_ended()),
            }
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nobody has it");
        }
    });
}

fn large(call: &crate::client::Reply) -> Vec<u8> {
    let serial = u32::from_le_bytes(call.bytes[8..12].try_into().unwrap());
    let mut bytes = Vec::new();
    header::error(&mut bytes, 1, serial, "a.B", &"x".repeat(30 << 20));
    bytes
}

#[test]
fn large_reply_costs_bounded_memory_until_it_is_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let bus = FakeBus::with(move |stream, call| {
        if !call.text().contains("GetAll") {
            return stream.write_all(&reply(call));
        }
        for piece in large(call).chunks(4096) {
            stream.write_all(piece)?;
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
        Ok(())
    });
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut slow = Client::new();
        slow.send(&bytes(&get(2)));
        // Others are answered meanwhile; and so often that the reply could have passed.
        let mut other = Client::new();
        for serial in 2..900 {
            assert_eq!(
                other.call(&call(serial, DRIVER, "AddMatch")).answers(),
                serial
            );
        }
        // What the proxy keeps, and two sockets.
        assert!(sent.load(Ordering::SeqCst) < 2 << 20);
        let reply = slow.reply();
        assert_eq!((reply.kind, reply.answers()), (3, 2));
        assert!(reply.bytes.len() > 30 << 20 && reply.bytes.ends_with(b"xxx\0"));
        assert_eq!(slow.call(&call(3, DRIVER, "AddMatch")).answers(), 3);
    });
}

#[test]
fn bus_has_few_calls_of_a_connection_to_answer() {
    let bus = FakeBus::with(|stream, call| match call.text().contains("GetAll") {
        true => Ok(()),
        false => stream.write_all(&reply(call)),
    });
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut client = Client::new();
        let silent = Call {
            wants_reply: false,
            ..get(2)
        };
        client.send(&bytes(&silent).repeat(10));
        client.send(&bytes(&get(2)).repeat(100));
        // Another connection shows that it goes on, and that all of that was read.
        let mut other = Client::new();
        for serial in 2..100 {
            let id = other.call(&call(serial, DRIVER, "GetId"));
            assert_eq!(id.answers(), serial);
        }
        let asked = bus.seen();
        let asked = asked.iter().filter(|one| one.text().contains("GetAll"));
        assert_eq!(asked.count(), 32);
    });
}

#[test]
fn unread_refusals_cost_bounded_memory() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut client = Client::new();
        let calls = bytes(&call(2, DRIVER, "AddMatch")).repeat(100);
        client.0.set_nonblocking(true).unwrap();
        let mut sent = 0;
        // The proxy stops reading: the socket gets full. Another connection shows that it goes on.
        for _ in 0..200 {
            match client.0.write(&calls) {
                Ok(length) => sent += length,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            drop(connect().unwrap());
        }
        assert!(sent < 2 << 20, "{sent}");
    });
}

#[test]
fn limits_hold_for_calls_and_for_connections() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut client = Client::new();
        let found = (2..4000).find_map(|serial| {
            let reply = client.call(&call(serial, DRIVER, "AddMatch"));
            (reply.kind == 3).then_some(reply)
        });
        let text = found.unwrap().text();
        assert!(
            text.contains("org.freedesktop.DBus.Error.LimitsExceeded"),
            "{text}"
        );
        drop(client);
    });
    assert!(proxy.end().1 > 0);
    // Fewer than other calls of a burst, however slow the machine is.
    proxy.job(|| {
        let mut client = Client::new();
        let refused = (2..500).find(|serial| {
            let list = call(*serial, "org.freedesktop.systemd1.Manager", "ListUnitFiles");
            client.call(&list).kind == 3
        });
        assert!(refused.is_some_and(|serial| serial > 50), "{refused:?}");
    });
    assert!(proxy.end().1 > 0);
    proxy.job(|| {
        let all = Barrier::new(200);
        let refused = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| {
                    let stream = connect();
                    all.wait();
                    if let Err(error) = stream {
                        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(refused.load(Ordering::SeqCst), 192);
        drop(Client::new());
    });
}

#[test]
fn flood_without_replies_ends_the_connection() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut client = Client::new();
        let silent = Call {
            wants_reply: false,
            ..call(2, DRIVER, "AddMatch")
        };
        let many = bytes(&silent).repeat(100);
        let sent = (0..2000).take_while(|_| client.0.write_all(&many).is_ok());
        assert!(sent.count() < 2000);
    });
}

#[test]
fn connect_fails_without_bus_or_proxy() {
    let dir = crate::stage::Dir::new();
    let proxy = Proxy::start(&dir.0.join("none"));
    proxy.job(|| {
        let refused = connect().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // A length that the filter does not ask about goes to the kernel.
        assert!(connect_with(12).is_err());
    });
    assert_eq!(proxy.end(), (0, 0, Vec::new()));
    let after = proxy.job(|| {
        let other = thread::scope(|scope| scope.spawn(connect).join().unwrap());
        assert!(other.is_err());
        proxy.send(&remit_common::bus::Order::Listener);
        loop {
            // The server ends, because a descriptor is missing; then nobody listens.
            let error = connect().unwrap_err();
            if error.raw_os_error() == Some(libc::ENOSYS) {
                return error;
            }
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    });
    assert_eq!(after.raw_os_error(), Some(libc::ENOSYS));
}

#[test]
fn greeting_that_takes_too_long_ends() {
    let bus = FakeBus::start();
    let proxy = Proxy::with(&bus.path, Duration::ZERO, &[]);
    proxy.job(|| assert!(Client(connect().unwrap()).is_ended()));
    let (sender, _streams) = std::sync::mpsc::channel();
    let (path, _dir) = FakeBus::listen(move |stream| sender.send(stream).unwrap());
    let proxy = Proxy::with(&path, Duration::from_millis(10), &[]);
    proxy.job(|| assert!(Client(connect().unwrap()).is_ended()));
}

#[test]
fn connection_is_complete_at_the_bus_before_the_job_says_anything() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        let mut silent = connect().unwrap();
        silent.write_all(b"\0AUTH EXTERNAL\r\n").unwrap();
        silent.read_exact(&mut [0; 6]).unwrap();
        assert_eq!(bus.seen().len(), 1, "Hello");
    });
    assert_eq!(proxy.end(), (0, 0, Vec::new()));
}

#[test]
fn bus_that_dies_at_any_step_ends_the_connection() {
    let steps: [fn(&mut UnixStream); 6] = [
        |_| {},
        |stream| drop(stream.read(&mut [0; 9])),
        |stream| drop(stream.write_all(b"REJECTED EXTERNAL\r\n")),
        |stream| drop(stream.write_all(format!("OK {GUID}\r\n").as_bytes())),
        |stream| assert!(accept(stream).is_some()),
        |stream| {
            accept(stream);
            crate::client::read(stream);
            let _ = stream.write_all(b"l\x02\x01\x01\xff\0\0\0\x01\0\0\0\0\0\0\0half");
        },
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let (path, _dir) = FakeBus::listen(move |mut stream| step(&mut stream));
        let proxy = Proxy::start(&path);
        proxy.job(|| {
            for _ in 0..20 {
                let Ok(mut stream) = connect() else { continue };
                let greeting = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
                let _ = stream.write_all(&[&greeting[..], &bytes(&hello())].concat());
                assert!(Client(stream).is_ended(), "{number}");
            }
        });
        assert_eq!(proxy.stop(), Ok(()), "{number}");
    }
}

#[test]
fn job_that_dies_at_any_step_leaves_nothing() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    let greeting = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
    let all = [&greeting[..], &bytes(&hello()), &bytes(&get(2))].concat();
    proxy.job(|| {
        for cut in 0..all.len() {
            let mut stream = connect().unwrap();
            stream.write_all(&all[..cut]).unwrap();
        }
        // All are over before the next is counted, or it would be refused.
        drop(Client::new());
    });
}

#[test]
fn processes_killed_while_they_connect_leave_nothing() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        for number in 0..300_u32 {
            let child = unsafe { libc::fork() };
            if child == 0 {
                loop {
                    drop(connect());
                }
            }
            // Different points of the call, without a clock.
            for _ in 0..number {
                std::hint::black_box(thread::current().id());
            }
            let pid = nix::unistd::Pid::from_raw(child);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            nix::sys::wait::waitpid(pid, None).unwrap();
            // As for a new job: otherwise most are refused.
            if number % 10 == 0 {
                proxy.end();
            }
        }
        proxy.end();
        drop(Client::new());
    });
    proxy.end();
    proxy.job(|| drop(Client::new()));
    assert_eq!(proxy.end().0, 1);
}
