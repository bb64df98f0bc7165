use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use remit_bus::{Server, Settings};
use remit_common::bus::{Order, Report, VERSION};

use crate::client::{Client, DRIVER, MANAGER, call};
use crate::fake::FakeBus;
use crate::stage::{PATIENCE, Proxy, begin, connect, send_bytes, warden_pair};

/// Returns the end of a server that gets these bytes as its first order.
fn begin_with(bytes: &[u8]) -> Result<bool, String> {
    let (warden, its) = warden_pair();
    send_bytes(&warden, bytes, &[]);
    Server::begin(its, Settings::default()).map(|server| server.is_some())
}

#[test]
fn first_order_must_begin() {
    assert_eq!(begin_with(&begin(&["a.b.C"]).encode().unwrap()), Ok(true));
    let end = Order::End { uid: 1 }.encode().unwrap();
    let old = Order::Begin {
        version: VERSION + 1,
        calls: Vec::new(),
    };
    for (bytes, why) in [
        (&b"\xff\xff"[..], "cannot read an order"),
        (&end, "does not begin"),
        (&old.encode().unwrap(), "systemctl restart remitd"),
    ] {
        let found = begin_with(bytes).unwrap_err();
        assert!(found.contains(why), "{found}");
    }
    let (_, its) = warden_pair();
    assert!(Server::begin(its, Settings::default()).unwrap().is_none());
}

#[test]
fn bad_datagrams_end_the_server() {
    let (file, other) = warden_pair();
    let fds = [file.as_fd(), other.as_fd()];
    let listener = Order::Listener.encode().unwrap();
    let end = Order::End { uid: 1 }.encode().unwrap();
    let again = begin(&[]).encode().unwrap();
    for (bytes, fds, why) in [
        (&b"\x09"[..], &fds[..0], "cannot read an order"),
        (
            &[&end[..], b"\0"].concat(),
            &fds[..0],
            "cannot read an order",
        ),
        (&vec![1; 70_000], &fds[..0], "too long"),
        (&listener, &fds[..0], "number of descriptors"),
        (&listener, &fds[..2], "number of descriptors"),
        (&end, &fds[..1], "number of descriptors"),
        (&again, &fds[..0], "second order to begin"),
    ] {
        let proxy = Proxy::start(Path::new("/nowhere"));
        send_bytes(&proxy.warden, bytes, fds);
        let found = proxy.stop().unwrap_err();
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn closed_socket_ends_the_server_well() {
    let proxy = Proxy::start(Path::new("/nowhere"));
    assert_eq!(proxy.stop(), Ok(()));
    // A report is unread.
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| drop(Client::new()));
    assert_eq!(proxy.stop(), Ok(()));
}

#[test]
fn descriptor_that_is_no_listener_is_closed() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    let (mut own_end, its) = UnixStream::pair().unwrap();
    own_end.set_read_timeout(Some(PATIENCE)).unwrap();
    proxy.add_listener(&its.into());
    own_end.write_all(b"x").unwrap();
    let closed = own_end.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(
        closed,
        Err(ErrorKind::ConnectionReset),
        "with a byte unread"
    );
    proxy.job(|| drop(Client::new()));
}

#[test]
fn job_is_reported_before_it_is_connected_and_after_its_end() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    let uid = nix::unistd::geteuid().as_raw();
    proxy.send(&Order::End { uid });
    let none = Report::Ended {
        uid,
        calls: 0,
        refused: 0,
        first: Vec::new(),
    };
    assert_eq!(proxy.report(), none);
    proxy.job(|| {
        let _first = connect().unwrap();
        // It is there already, or this fails.
        let patience = nix::sys::time::TimeVal::new(0, 1);
        let option = nix::sys::socket::sockopt::ReceiveTimeout;
        nix::sys::socket::setsockopt(&proxy.warden, option, &patience).unwrap();
        assert_eq!(proxy.report(), Report::Connected { uid });
        let patience = nix::sys::time::TimeVal::new(120, 0);
        nix::sys::socket::setsockopt(&proxy.warden, option, &patience).unwrap();
        let mut second = Client::new();
        for member in ["StopUnit", "StopUnit", "KillUnit", "Reload"] {
            assert_eq!(second.call(&call(2, MANAGER, member)).kind, 3);
        }
        // What the job says last counts, too: nobody reads the answer.
        second.send(&crate::client::bytes(&call(9, DRIVER, "RequestName")));
        let names = ["StopUnit", "KillUnit", "Reload"].map(|name| format!("{MANAGER}.{name}"));
        let names = [&names[..], &[format!("{DRIVER}.RequestName")]].concat();
        assert_eq!(proxy.end(), (6, 5, names));
        assert!(second.is_ended());
        drop(Client::new());
        assert_eq!(proxy.report(), Report::Connected { uid });
        assert_eq!(proxy.end(), (1, 0, Vec::new()));
    });
}

#[test]
fn listeners_of_many_workers_serve_at_once() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| proxy.job(|| drop(Client::new())));
        }
    });
    assert_eq!(proxy.end().0, 6);
}
