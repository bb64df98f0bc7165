//! Tests in threads: a network namespace belongs to a thread, so one plays the host and another the job.

use super::*;
use remit_spawn::FarAddress;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::mpsc,
    thread,
    time::Duration,
};

pub(super) const V4: &str = "192.0.2.7";
pub(super) const V6: &str = "2001:db8::7";
const NOBODYS: &str = "192.0.2.9";
const UID: u32 = 1_879_099_990;

/// Its addresses may be the host's own, as those of the servers here are.
fn destination(host: &str, addresses: &[&str], port: u16) -> Destination {
    let far = |address: &&str| FarAddress {
        ip: address.parse().unwrap(),
        may_be_own: true,
    };
    Destination {
        host: host.into(),
        addresses: addresses.iter().map(far).collect(),
        port,
    }
}

/// As a name server answers.
fn answered(host: &str, addresses: &[&str], port: u16) -> Destination {
    let mut answered = destination(host, addresses, port);
    let each = answered.addresses.iter_mut();
    each.for_each(|far| far.may_be_own = false);
    answered
}

fn net(network: &Network) -> Net {
    Net::new(network, &crate::probe().unwrap())
        .unwrap()
        .unwrap()
}

pub(super) fn on_host<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let host = net(&Network::Connect(vec![destination("host", &[V4, V6], 1)]));
    let play = || {
        let _ = host.enter().unwrap();
        body()
    };
    thread::scope(|scope| scope.spawn(play).join().unwrap())
}

pub(super) fn in_job<T: Send>(network: Network, body: impl FnOnce(Option<Relay>) -> T + Send) -> T {
    let net = net(&network);
    let play = || {
        let entered = net.enter().unwrap();
        let call = crate::spec::kernel::fork_call().unwrap();
        body(net.relay(entered, call, UID, UID).unwrap())
    };
    thread::scope(|scope| scope.spawn(play).join().unwrap())
}

fn reach(addresses: &[&str], port: u16) -> Network {
    Network::Connect(vec![destination("there.example", addresses, port)])
}

pub(super) fn server(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let first = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    for listener in [first, TcpListener::bind((V6, port)).unwrap()] {
        let serve = serve.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let serve = serve.clone();
                thread::spawn(move || serve(connection.unwrap()));
            }
        });
    }
    port
}

/// A listener whose queue is full: the kernel drops what comes. What fills it is returned, too.
pub(super) fn deaf(at: (&'static str, u16)) -> ((&'static str, u16), impl Sized) {
    let listener = TcpListener::bind(at).unwrap();
    let backlog = nix::sys::socket::Backlog::new(0).unwrap();
    nix::sys::socket::listen(&listener, backlog).unwrap();
    let port = listener.local_addr().unwrap().port();
    let first = TcpStream::connect((at.0, port)).unwrap();
    ((at.0, port), (listener, first))
}

pub(super) fn echo(mut connection: TcpStream) {
    let mut copy = connection.try_clone().unwrap();
    let _ = io::copy(&mut connection, &mut copy);
    let _ = copy.shutdown(Shutdown::Write);
}

fn keep(connection: TcpStream) {
    std::mem::forget(connection);
}

pub(super) fn talks(to: (&str, u16)) -> io::Result<()> {
    let mut connection = TcpStream::connect(to)?;
    connection.write_all(b"hello")?;
    connection.shutdown(Shutdown::Write)?;
    let mut heard = Vec::new();
    connection.read_to_end(&mut heard)?;
    assert_eq!(heard, b"hello");
    Ok(())
}

fn refused(to: (&str, u16)) -> i32 {
    talks(to).unwrap_err().raw_os_error().unwrap()
}

#[test]
fn exactly_what_is_listed_is_reached() {
    on_host(|| {
        let port = server(echo);
        let other = server(echo);
        assert!(talks((V4, port)).is_ok() && talks((V4, other)).is_ok());
        in_job(reach(&[V4, V6, "127.0.0.1"], port), |relay| {
            let _relay = relay.unwrap();
            for address in [V4, V6, "127.0.0.1"] {
                talks((address, port)).unwrap_or_else(|error| panic!("{address}: {error}"));
                assert_eq!(refused((address, other)), libc::ECONNREFUSED, "{address}");
            }
            // An address of the job's own, where nobody listens, and one that it does not have.
            assert_eq!(refused(("127.0.0.2", port)), libc::ECONNREFUSED);
            assert_eq!(refused((NOBODYS, port)), libc::ENETUNREACH);
        });
    });
}

/// The kernel itself adds the route to an IPv6 address only some time after it has acknowledged the address.
#[test]
fn an_address_is_reached_at_once() {
    for round in 0..200 {
        on_host(|| {
            let own = TcpListener::bind((V6, 0)).unwrap();
            let port = own.local_addr().unwrap().port();
            let reached = TcpStream::connect((V6, port));
            reached.unwrap_or_else(|error| panic!("{round}: {error}"));
        });
    }
}

#[test]
fn without_a_destination_nothing_is_reached() {
    on_host(|| {
        let port = server(echo);
        in_job(Network::None, |relay| {
            assert!(relay.is_none());
            for address in [V4, V6, "127.0.0.1", "::1"] {
                let errno = refused((address, port));
                assert!(
                    [libc::ENETUNREACH, libc::EADDRNOTAVAIL].contains(&errno),
                    "{address}: {errno}"
                );
            }
        });
        // An empty list means nothing, not everything.
        in_job(Network::Connect(Vec::new()), |relay| {
            assert!(relay.is_none());
            assert_eq!(refused((V4, port)), libc::ENETUNREACH);
            assert_eq!(refused(("127.0.0.1", port)), libc::ECONNREFUSED);
        });
        in_job(Network::Loopback, |relay| {
            assert!(relay.is_none());
            assert_eq!(refused((V4, port)), libc::ENETUNREACH);
            assert_eq!(refused(("127.0.0.1", port)), libc::ECONNREFUSED);
            let own = TcpListener::bind(("::1", 80)).unwrap();
            thread::spawn(move || echo(own.accept().unwrap().0));
            talks(("::1", 80)).unwrap();
        });
    });
}

#[test]
fn failed_address_falls_back_to_next_of_name() {
    on_host(|| {
        let port = server(echo);
        for addresses in [[NOBODYS, V4], [V6, NOBODYS]] {
            in_job(reach(&addresses, port), |relay| {
                let _relay = relay.unwrap();
                addresses.iter().for_each(|a| talks((a, port)).unwrap());
            });
        }
        let two_names = Network::Connect(vec![
            destination("one.example", &[NOBODYS], port),
            destination("two.example", &[V4], port),
        ]);
        in_job(two_names, |relay| {
            let _relay = relay.unwrap();
            talks((V4, port)).unwrap();
            assert_eq!(refused((NOBODYS, port)), libc::ECONNRESET);
        });
    });
}

#[test]
fn answer_of_a_name_server_that_the_host_has_is_refused() {
    on_host(|| {
        let port = server(echo);
        let mixed = {
            let mut mixed = destination("there.example", &[V4, V6], port);
            mixed.addresses[0].may_be_own = false;
            mixed
        };
        let one = || destination("one.example", &[V4], port);
        let other = || answered("other.example", &[V4], port);
        for (destinations, to, is_reached) in [
            (vec![other()], V4, false),
            (vec![answered("other.example", &[V6], port)], V6, false),
            (vec![one()], V4, true),
            // By the other address of its name.
            (vec![mixed], V4, true),
            // Whatever permits an address does so for each name that has it.
            (vec![one(), other()], V4, true),
            (vec![other(), one()], V4, true),
        ] {
            in_job(Network::Connect(destinations.clone()), |relay| {
                let _relay = relay.unwrap();
                let talked = talks((to, port)).map_err(|e| e.raw_os_error().unwrap());
                let expect = if is_reached {
                    Ok(())
                } else {
                    Err(libc::ECONNRESET)
                };
                assert_eq!(talked, expect, "{to} {destinations:?}");
            });
        }
    });
}

/// Returns byte `at` of stream `seed`: a byte lost, doubled or moved shows.
fn byte(at: usize, seed: u8) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8 ^ seed
}

fn pour(mut to: &TcpStream, seed: u8, size: usize, chunk: usize) {
    let mut at = 0;
    while at < size {
        let end = size.min(at + chunk);
        let bytes: Vec<u8> = (at..end).map(|at| byte(at, seed)).collect();
        to.write_all(&bytes).unwrap();
        at = end;
    }
    to.shutdown(Shutdown::Write).unwrap();
}

fn drink(mut from: &TcpStream, seed: u8, size: usize, chunk: usize) {
    let mut at = 0;
    let mut buffer = vec![0; chunk];
    loop {
        let n = from.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        let wrong = buffer[..n]
            .iter()
            .enumerate()
            .find(|(i, b)| **b != byte(at + i, seed));
        assert_eq!(wrong, None, "stream {seed}, after {at}");
        at += n;
    }
    assert_eq!(at, size, "stream {seed}");
}

#[test]
fn sixty_four_mebibytes_go_both_ways_at_once() {
    const SIZE: usize = 64 << 20;
    fn both(connection: &TcpStream, own: u8, other: u8) {
        thread::scope(|scope| {
            scope.spawn(|| pour(connection, own, SIZE, 1 << 16));
            drink(connection, other, SIZE, 100_000);
        });
    }
    on_host(|| {
        let port = server(|connection| both(&connection, 1, 2));
        in_job(reach(&[V4], port), |relay| {
            let _relay = relay.unwrap();
            both(&TcpStream::connect((V4, port)).unwrap(), 2, 1);
        });
    });
}

#[test]
fn many_at_once_are_not_mixed_up() {
    const STREAMS: u8 = 48;
    fn size(seed: u8) -> usize {
        usize::from(seed % 7) * 300_001 * usize::from(seed % 3)
    }
    fn chunk(seed: u8) -> usize {
        [1000, 4096, 65_537, 1 << 20][usize::from(seed % 4)]
    }
    fn talk(connection: &TcpStream, own: u8, other: u8) {
        thread::scope(|scope| {
            scope.spawn(|| pour(connection, own, size(own), chunk(own)));
            drink(connection, other, size(other), chunk(other));
        });
    }
    on_host(|| {
        let port = server(|mut connection| {
            let mut seed = [0];
            connection.read_exact(&mut seed).unwrap();
            talk(&connection, seed[0] + STREAMS, seed[0]);
        });
        in_job(reach(&[V4], port), |relay| {
            let _relay = relay.unwrap();
            thread::scope(|scope| {
                for seed in 0..STREAMS {
                    scope.spawn(move || {
                        let mut connection = TcpStream::connect((V4, port)).unwrap();
                        connection.write_all(&[seed]).unwrap();
                        talk(&connection, seed, seed + STREAMS);
                    });
                }
            });
        });
    });
}

#[test]
fn each_end_may_fall_silent_alone() {
    on_host(|| {
        let (sender, heard) = mpsc::channel();
        let port = server(move |mut connection| {
            connection.write_all(b"bye").unwrap();
            connection.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            connection.read_to_string(&mut text).unwrap();
            sender.send(text).unwrap();
        });
        in_job(reach(&[V4], port), move |relay| {
            let _relay = relay.unwrap();
            let mut connection = TcpStream::connect((V4, port)).unwrap();
            let mut text = String::new();
            connection.read_to_string(&mut text).unwrap();
            assert_eq!(text, "bye");
            connection.write_all(b"still here").unwrap();
            drop(connection);
            assert_eq!(heard.recv().unwrap(), "still here");
        });
    });
}

#[test]
fn sequential_and_excess_connections_are_served() {
    on_host(|| {
        let port = server(echo);
        in_job(reach(&[V4], port), move |relay| {
            let _relay = relay.unwrap();
            for _ in 0..200 {
                talks((V4, port)).unwrap();
            }
            // All slots of the relay, each proved to be in use.
            let mut idle: Vec<TcpStream> = Vec::new();
            for _ in 0..64 {
                let mut connection = TcpStream::connect((V4, port)).unwrap();
                connection.write_all(b"x").unwrap();
                connection.read_exact(&mut [0]).unwrap();
                idle.push(connection);
            }
            let mut waiting = TcpStream::connect((V4, port)).unwrap();
            waiting.write_all(b"y").unwrap();
            let short = Some(Duration::from_millis(200));
            waiting.set_read_timeout(short).unwrap();
            assert!(waiting.read(&mut [0]).is_err());
            waiting.set_read_timeout(None).unwrap();
            idle.pop();
            waiting.read_exact(&mut [0]).unwrap();
            for connection in &mut idle {
                connection.write_all(b"z").unwrap();
                connection.read_exact(&mut [0]).unwrap();
            }
        });
    });
}

#[test]
fn stalled_reader_blocks_none_and_uses_no_cpu() {
    on_host(|| {
        let deaf = server(keep);
        let port = server(echo);
        let network = Network::Connect(vec![
            destination("deaf.example", &[V4], deaf),
            destination("there.example", &[V4], port),
        ]);
        in_job(network, |relay| {
            let relay = relay.unwrap();
            let mut stuck = TcpStream::connect((V4, deaf)).unwrap();
            stuck.set_nonblocking(true).unwrap();
            let chunk = vec![7; 1 << 20];
            while is_ready(&stuck, libc::POLLOUT, Duration::from_millis(200)) {
                let _ = stuck.write(&chunk);
            }
            for half in [false, true] {
                if half {
                    stuck.shutdown(Shutdown::Write).unwrap();
                }
                talks((V4, port)).unwrap();
                let before = ticks(relay.pid);
                thread::sleep(Duration::from_millis(300));
                assert!(ticks(relay.pid) - before < 5, "it spins");
            }
        });
    });
}

fn is_ready(fd: &impl AsRawFd, events: i16, within: Duration) -> bool {
    let mut polled = [libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }];
    sys::poll(&mut polled, Some(within)).unwrap();
    polled[0].revents != 0
}

fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn what_is_reset_there_is_reset_here() {
    on_host(|| {
        let port = server(|mut connection| {
            connection.read_exact(&mut [0]).unwrap();
            pair::reset(&OwnedFd::from(connection));
        });
        let closed = {
            let gone = TcpListener::bind((V4, 0)).unwrap();
            gone.local_addr().unwrap().port()
        };
        let network = Network::Connect(vec![
            destination("resets.example", &[V4], port),
            destination("closed.example", &[V4], closed),
        ]);
        in_job(network, |relay| {
            let _relay = relay.unwrap();
            let mut connection = TcpStream::connect((V4, port)).unwrap();
            connection.write_all(b"x").unwrap();
            let error = connection.read(&mut [0]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
            assert_eq!(refused((V4, closed)), libc::ECONNRESET);
        });
    });
}

#[test]
fn what_a_job_said_last_still_arrives() {
    const SIZE: usize = 1 << 20;
    on_host(|| {
        let (sender, heard) = mpsc::channel();
        let port = server(move |mut connection| {
            let mut all = Vec::new();
            connection.read_to_end(&mut all).unwrap();
            sender.send(all.len()).unwrap();
        });
        in_job(reach(&[V4], port), move |relay| {
            let mut connection = TcpStream::connect((V4, port)).unwrap();
            connection.write_all(&vec![1; SIZE]).unwrap();
            drop(connection);
            relay.unwrap().finish().unwrap();
            assert_eq!(heard.recv().unwrap(), SIZE);
        });
    });
}

#[test]
fn its_end_is_not_put_off_for_ever() {
    on_host(|| {
        let port = server(keep);
        in_job(reach(&[V4], port), move |relay| {
            let relay = relay.unwrap();
            let pid = relay.pid;
            let connection = TcpStream::connect((V4, port)).unwrap();
            let started = std::time::Instant::now();
            relay.finish().unwrap();
            assert!(started.elapsed() < Duration::from_secs(20));
            assert!(sys::wait(pid, libc::WNOHANG).is_err());
            drop(connection);
        });
    });
}

#[test]
fn killed_relay_closes_connections_and_listeners() {
    on_host(|| {
        let port = server(echo);
        in_job(reach(&[V4], port), move |relay| {
            let relay = relay.unwrap();
            let mut connection = TcpStream::connect((V4, port)).unwrap();
            connection.write_all(b"x").unwrap();
            connection.read_exact(&mut [0]).unwrap();
            sys::kill(relay.pid, libc::SIGKILL).unwrap();
            sys::wait(relay.pid, 0).unwrap();
            assert!(matches!(connection.read(&mut [0]), Ok(0) | Err(_)));
            assert_eq!(refused((V4, port)), libc::ECONNREFUSED);
        });
    });
}

#[test]
fn relay_dies_with_parent_and_has_only_sockets() {
    on_host(|| {
        let port = server(echo);
        let pidfd = in_job(reach(&[V4, V6], port), |relay| {
            let pid = relay.unwrap().pid;
            talks((V4, port)).unwrap();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            for line in [
                format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}"),
                format!("Gid:\t{UID}\t{UID}\t{UID}\t{UID}"),
                "Groups:\t ".into(),
                "CapEff:\t0000000000000000".into(),
                "CapBnd:\t0000000000000000".into(),
                "NoNewPrivs:\t1".into(),
                "Seccomp:\t2".into(),
                "Seccomp_filters:\t1".into(),
            ] {
                assert!(status.lines().any(|l| l == line), "{line} in {status}");
            }
            for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
                let to = std::fs::read_link(entry.unwrap().path()).unwrap();
                let to = to.to_string_lossy().into_owned();
                let harmless = to.starts_with("socket:") || to == "anon_inode:[signalfd]";
                assert!(harmless, "{to}");
            }
            sys::pidfd_open(pid).unwrap()
        });
        // The thread that started it has ended.
        assert!(is_ready(&pidfd, libc::POLLIN, Duration::from_secs(10)));
    });
}

#[test]
fn names_are_in_hosts() {
    let network = Network::Connect(vec![
        destination("api.example", &[V4, V6, "::ffff:192.0.2.8"], 443),
        destination("127.0.0.1", &["127.0.0.1"], 80),
    ]);
    let localhost = "127.0.0.1 localhost\n::1 localhost\n";
    let names = "192.0.2.7 api.example\n2001:db8::7 api.example\n192.0.2.8 api.example\n";
    assert_eq!(Net::hosts(&network), format!("{localhost}{names}"));
    assert_eq!(Net::hosts(&Network::None), localhost);
}

#[test]
fn what_cannot_be_listened_on_is_refused() {
    let refused = |addresses: &[&str], port| {
        let destinations = [destination("there.example", addresses, port)];
        targets(&destinations, false).err().map(|e| e.to_string())
    };
    assert_eq!(refused(&[V4, V6], 443), None);
    for (addresses, port, why) in [
        (&[V4][..], 0, "port 0 is not valid"),
        (
            &[][..],
            443,
            "it has no address that this machine can reach",
        ),
        (
            &[V6][..],
            443,
            "it has no address that this machine can reach",
        ),
        (&["0.0.0.0"][..], 443, "0.0.0.0 is no address"),
        (&["0.1.2.3"][..], 443, "0.1.2.3 is not an address of a host"),
        (&["224.0.0.1"][..], 443, "224.0.0.1 is a multicast address"),
        (
            &["255.255.255.255"][..],
            443,
            "255.255.255.255 is the broadcast address",
        ),
        (&["::ffff:0.0.0.0"][..], 443, "0.0.0.0 is no address"),
    ] {
        let want = format!("cannot connect jobs to 'there.example': {why}");
        assert_eq!(refused(addresses, port), Some(want));
    }
    let link_local = [destination("fe80::1", &["fe80::1"], 1)];
    assert!(
        targets(&link_local, true)
            .unwrap_err()
            .to_string()
            .contains("link-local")
    );
    let many: Vec<Destination> = (0..65)
        .map(|n| destination(V4, &[&format!("192.0.2.{n}")], 1))
        .collect();
    assert!(targets(&many, true).is_err());
    assert_eq!(targets(&many[..64], true).unwrap().len(), 64);
    let twice = [
        destination("a.example", &[V4], 1),
        destination("b.example", &[V4, V4], 1),
    ];
    assert_eq!(targets(&twice, true).unwrap().len(), 1);
}
