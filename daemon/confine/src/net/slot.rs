//! One connection of the relay, from the first byte to a pair of sockets, to a listed or own address. Never waits.

use super::netlink::Routes;
use super::pair::{self, CHUNK, Pair, Wish};
use super::socks::{Dialogue, NO_AUTHENTICATION, Next, Reply};
use super::tcp::{CALL, bind_to, connect_to, far_socket};
use super::{Target, unusable};
use crate::sys;
use nix::sys::socket::{
    MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, getsockname, getsockopt, recv, send,
    sockopt,
};
use std::{
    ffi::CStr,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Instant,
};

pub(super) enum FarSide<'a> {
    Listed(&'a [Target], Routes),
    Own(OwnAddresses),
}

/// Families in which a socket binds to this host's own addresses only. With `ip_nonlocal_bind` it binds to any.
pub(super) struct OwnAddresses {
    v4: bool,
    v6: bool,
}

impl OwnAddresses {
    pub(super) fn of_this_network() -> Self {
        let is_off = |name: &CStr| {
            let mut value = [0; 1];
            let read = sys::open(name, libc::O_RDONLY)
                .and_then(|file| sys::read(file.as_fd(), &mut value));
            matches!(read, Ok(1)) && value == *b"0"
        };
        OwnAddresses {
            v4: is_off(c"/proc/sys/net/ipv4/ip_nonlocal_bind"),
            v6: is_off(c"/proc/sys/net/ipv6/ip_nonlocal_bind"),
        }
    }

    fn dial(&self, to: SocketAddr) -> Result<OwnedFd, Reply> {
        let proves = if to.is_ipv4() { self.v4 } else { self.v6 };
        if to.port() == 0 || unusable(to.ip()).is_some() {
            return Err(Reply::NotAllowed);
        }
        if !proves && !to.ip().is_loopback() {
            return Err(Reply::Unreachable);
        }
        let far = far_socket(to).map_err(|_| Reply::Failed)?;
        bind_to(&far, SocketAddr::new(to.ip(), 0)).map_err(|error| match error {
            nix::Error::EADDRNOTAVAIL => Reply::NotAllowed,
            _ => Reply::Failed,
        })?;
        let own: SockaddrStorage = getsockname(far.as_raw_fd()).map_err(|_| Reply::Failed)?;
        let port = (own.as_sockaddr_in().map(SockaddrIn::port))
            .or_else(|| own.as_sockaddr_in6().map(SockaddrIn6::port));
        // Nobody listens on a port that was free, and TCP would connect the socket to itself.
        if port.is_none_or(|port| port == to.port()) {
            return Err(Reply::Refused);
        }
        connect_to(&far, to).map_err(refusal)?;
        Ok(far)
    }
}

fn refusal(error: nix::Error) -> Reply {
    match error {
        nix::Error::ECONNREFUSED => Reply::Refused,
        _ => Reply::Failed,
    }
}

pub(super) enum Slot {
    Asking {
        near: OwnedFd,
        dialogue: Dialogue,
    },
    Dialing {
        near: OwnedFd,
        far: OwnedFd,
        until: Instant,
    },
    Calling {
        near: OwnedFd,
        far: OwnedFd,
        asked: usize,
        tried: usize,
        until: Instant,
    },
    Open(Pair),
}

impl Slot {
    pub(super) fn begin(
        far_side: &mut FarSide<'_>,
        near: OwnedFd,
        at: usize,
        now: Instant,
    ) -> Option<Self> {
        match far_side {
            FarSide::Listed(targets, routes) => Self::call(targets, routes, near, [at, at], now),
            FarSide::Own(_) => Some(Slot::Asking {
                near,
                dialogue: Dialogue::default(),
            }),
        }
    }

    /// Connects to the first target from `at` on that may be connected to now, in turn until `asked`.
    fn call(
        targets: &[Target],
        routes: &mut Routes,
        near: OwnedFd,
        [asked, at]: [usize; 2],
        now: Instant,
    ) -> Option<Self> {
        let target = targets.get(at)?;
        let to = target.address;
        let connected = match target.may_be_own || routes.refused(to).is_none() {
            true => far_socket(to).and_then(|far| connect_to(&far, to).map(|()| far)),
            false => Err(nix::Error::EACCES),
        };
        match connected {
            Ok(far) => Some(Slot::Calling {
                near,
                far,
                asked,
                tried: at,
                until: now + CALL,
            }),
            Err(_) => Self::call_next(targets, routes, near, [asked, at], now),
        }
    }

    pub(super) fn wishes(&self) -> [Wish; 2] {
        match self {
            Slot::Asking { near, .. } => [(near.as_raw_fd(), libc::POLLIN), (-1, 0)],
            Slot::Calling { near, far, .. } | Slot::Dialing { near, far, .. } => {
                [(near.as_raw_fd(), 0), (far.as_raw_fd(), libc::POLLOUT)]
            }
            Slot::Open(pair) => pair.wishes(),
        }
    }

    /// Returns when its far side has not accepted in time. `None`: it has, or is not asked.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Slot::Calling { until, .. } | Slot::Dialing { until, .. } => Some(*until),
            Slot::Asking { .. } | Slot::Open(_) => None,
        }
    }

    /// Returns true if the job has sent nothing and sends nothing more, and the far side has not accepted.
    pub(super) fn is_abandoned(&self) -> bool {
        let (Slot::Calling { near, .. } | Slot::Dialing { near, .. }) = self else {
            return false;
        };
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(near.as_raw_fd(), &mut [0], peek) == Ok(0)
    }

    pub(super) fn carry(
        self,
        far_side: &mut FarSide<'_>,
        seen: [i16; 2],
        buffer: &mut [u8; CHUNK],
        now: Instant,
    ) -> Option<Self> {
        let is_late = self.until().is_some_and(|until| now >= until);
        match self {
            slot if seen == [0, 0] && !is_late => Some(slot),
            Slot::Open(pair) => pair.carry(seen, buffer).map(Slot::Open),
            Slot::Asking { near, dialogue } => match far_side {
                FarSide::Own(own) => Self::ask(own, near, dialogue, now),
                FarSide::Listed(..) => None,
            },
            Slot::Calling { .. } | Slot::Dialing { .. } if seen[0] != 0 => None,
            Slot::Dialing { near, far, .. } => {
                let failed = match getsockopt(&far, sockopt::SocketError) {
                    Ok(0) if seen[1] == 0 => Some(Reply::Failed),
                    Ok(0) => None,
                    Ok(errno) => Some(refusal(nix::Error::from_raw(errno))),
                    Err(_) => Some(Reply::Failed),
                };
                say(&near, &failed.unwrap_or(Reply::Connected).bytes())?;
                match failed {
                    None => Pair::new(near, far).ok().map(Slot::Open),
                    Some(_) => None,
                }
            }
            Slot::Calling {
                near,
                far,
                asked,
                tried,
                ..
            } => match getsockopt(&far, sockopt::SocketError) {
                Ok(0) if seen[1] != 0 => Pair::new(near, far).ok().map(Slot::Open),
                _ => match far_side {
                    FarSide::Listed(targets, routes) => {
                        Self::call_next(targets, routes, near, [asked, tried], now)
                    }
                    FarSide::Own(_) => None,
                },
            },
        }
    }

    fn ask(
        own: &OwnAddresses,
        near: OwnedFd,
        mut dialogue: Dialogue,
        now: Instant,
    ) -> Option<Self> {
        loop {
            match dialogue.next() {
                Next::Read(count) => {
                    let space = dialogue.space(count);
                    match recv(near.as_raw_fd(), space, MsgFlags::MSG_DONTWAIT) {
                        Ok(read @ 1..) => dialogue.add(read),
                        Err(nix::Error::EAGAIN) => return Some(Slot::Asking { near, dialogue }),
                        Err(nix::Error::EINTR) => {}
                        Ok(0) | Err(_) => return None,
                    }
                }
                Next::Greeted => {
                    say(&near, &NO_AUTHENTICATION)?;
                    dialogue.greeted();
                }
                Next::Connect(to) => match own.dial(to) {
                    Ok(far) => {
                        let until = now + CALL;
                        return Some(Slot::Dialing { near, far, until });
                    }
                    Err(reply) => return say(&near, &reply.bytes()).and(None),
                },
                Next::Refuse(reply) => return say(&near, &reply.bytes()).and(None),
                Next::NotSocks => {
                    pair::reset(&near);
                    return None;
                }
            }
        }
    }

    fn call_next(
        targets: &[Target],
        routes: &mut Routes,
        near: OwnedFd,
        [asked, tried]: [usize; 2],
        now: Instant,
    ) -> Option<Self> {
        match after(targets.get(tried)?, asked, tried) {
            Some(next) => Self::call(targets, routes, near, [asked, next], now),
            None => {
                pair::reset(&near);
                None
            }
        }
    }

    /// Makes the close of the job's end a reset.
    pub(super) fn reset(&self) {
        match self {
            Slot::Asking { near, .. } | Slot::Dialing { near, .. } | Slot::Calling { near, .. } => {
                pair::reset(near);
            }
            Slot::Open(pair) => pair.reset(),
        }
    }

    pub(super) fn forsake(&mut self) {
        if let Slot::Open(pair) = self {
            pair.forsake();
        }
    }
}

/// Sends a few bytes, for which a new connection has space. `None`: it has none, or is over.
fn say(near: &OwnedFd, bytes: &[u8]) -> Option<()> {
    let quietly = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let sent = send(near.as_raw_fd(), bytes, quietly);
    (sent == Ok(bytes.len())).then_some(())
}

/// Returns the target after `at`, if `asked` was tried first: each of its destination once.
fn after(target: &Target, asked: usize, at: usize) -> Option<usize> {
    let next = if at + 1 < target.kin.end {
        at + 1
    } else {
        target.kin.start
    };
    (next != asked && target.kin.contains(&next)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::super::socks::PORT;
    use super::super::tests::{V4, V6, deaf, echo, in_job, on_host, server, talks};
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use remit_spawn::Network;
    use std::{
        io::{self, Read, Write},
        net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
        process::Command,
        sync::mpsc,
        thread,
        time::Duration,
    };

    const HERE: &str = "10.99.0.1";
    const THERE: &str = "10.99.0.2";
    const NOT_ALLOWED: Result<(), u8> = Err(2);
    const UNREACHABLE: Result<(), u8> = Err(3);
    const REFUSED: Result<(), u8> = Err(5);

    fn ip(words: &str) {
        let ran = Command::new("ip").args(words.split(' ')).status();
        assert!(ran.expect("iproute2").success(), "{words}");
    }

    fn sysctl(name: &str, value: &str) {
        std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
    }

    /// Sends `hello` to an address by SOCKS. `Err`: the relay's reply.
    fn relayed(address: &str, port: u16) -> Result<(), u8> {
        let mut connection = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
        let mut request = vec![5, 1, 0, 5, 1, 0];
        match address.parse().unwrap() {
            IpAddr::V4(ip) => request.extend([&[1][..], &ip.octets()].concat()),
            IpAddr::V6(ip) => request.extend([&[4][..], &ip.octets()].concat()),
        }
        request.extend(port.to_be_bytes());
        // All at once: the connection's own bytes come right behind.
        connection.write_all(&request).unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..3], [5, 0, 5]);
        if answer[3] != 0 {
            return Err(answer[3]);
        }
        connection.write_all(b"hello").unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        connection.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
        Ok(())
    }

    /// Another machine on the host's link. Its listener reports who came, and the host reaches it.
    fn beside_another_machine(port: u16, body: impl FnOnce() + Send) -> Vec<IpAddr> {
        ip("link add here type veth peer name there");
        let (ready, is_ready) = mpsc::channel();
        let (moved, is_moved) = mpsc::channel::<()>();
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            // Dropped by a panic, too: the other thread then ends.
            let end = end;
            let other = scope.spawn(move || {
                sys::own_network().unwrap();
                let of_this = std::fs::read_link("/proc/thread-self").unwrap();
                ready.send(of_this).unwrap();
                is_moved.recv().unwrap();
                ip("link set lo up");
                ip(&format!("addr add {THERE}/24 dev there"));
                ip("link set there up");
                let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
                ready.send(std::path::PathBuf::new()).unwrap();
                let _ = ended.recv();
                listener.set_nonblocking(true).unwrap();
                let came = std::iter::from_fn(|| listener.accept().ok());
                came.map(|(_, from)| from.ip()).collect()
            });
            let of_other = is_ready.recv().unwrap();
            ip(&format!(
                "link set there netns /proc/{}/ns/net",
                of_other.display()
            ));
            ip(&format!("addr add {HERE}/24 dev here"));
            ip("link set here up");
            moved.send(()).unwrap();
            is_ready.recv().unwrap();
            TcpStream::connect((THERE, port)).expect("the host reaches it");
            body();
            end.send(()).unwrap();
            other.join().unwrap()
        })
    }

    #[test]
    fn own_addresses_are_reached_and_no_other() {
        on_host(|| {
            let port = server(echo);
            let closed = TcpListener::bind((V4, 0))
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let came = beside_another_machine(port, || {
                assert!(talks((HERE, port)).is_ok());
                in_job(Network::ThisHost, |relay| {
                    let _relay = relay.unwrap();
                    for own in ["127.0.0.1", "127.9.9.9", V4, V6, HERE, "::ffff:127.0.0.1"] {
                        assert_eq!(relayed(own, port), Ok(()), "{own}");
                    }
                    assert_eq!(relayed(HERE, closed), REFUSED);
                    for other in [THERE, "192.0.2.9", "2001:db8::9", "224.0.0.1"] {
                        assert_eq!(relayed(other, port), NOT_ALLOWED, "{other}");
                    }
                    // The kernel lets a socket bind to a broadcast address, but not connect.
                    assert_eq!(relayed("10.99.0.255", port), Err(1));
                    for none in ["0.0.0.0", "::", "fe80::1"] {
                        assert_eq!(relayed(none, port), NOT_ALLOWED, "{none}");
                    }
                    // Only by the dialogue: the job has no address but its loopback's.
                    let direct = TcpStream::connect((THERE, port)).map_err(|e| e.kind());
                    assert_eq!(direct.unwrap_err(), io::ErrorKind::NetworkUnreachable);
                });
            });
            assert_eq!(came, [HERE.parse::<IpAddr>().unwrap()], "the host itself");
        });
    }

    /// keepalived(8) and others set this: a bind then proves nothing.
    #[test]
    fn where_any_address_can_be_bound_only_loopback_is_reached() {
        on_host(|| {
            let port = server(echo);
            sysctl("ipv4/ip_nonlocal_bind", "1");
            let came = beside_another_machine(port, || {
                TcpListener::bind((THERE, 0)).expect("the kernel lets it bind");
                in_job(Network::ThisHost, |relay| {
                    let _relay = relay.unwrap();
                    assert_eq!(relayed(THERE, port), UNREACHABLE);
                    assert_eq!(relayed(HERE, port), UNREACHABLE);
                    assert_eq!(relayed("127.0.0.1", port), Ok(()));
                    assert_eq!(relayed(V6, port), Ok(()));
                });
            });
            assert_eq!(came.len(), 1, "the host itself");
        });
    }

    /// The kernel would try for two minutes.
    #[test]
    fn address_that_does_not_answer_is_left_in_time() {
        on_host(|| {
            let (deaf, queued) = deaf(("127.0.0.1", 0));
            let [deaf, live] = [deaf, (V4, server(echo))].map(|(ip, port)| Target {
                address: SocketAddr::new(ip.parse().unwrap(), port),
                may_be_own: true,
                kin: 0..2,
            });
            let both = [deaf.clone(), live];
            let alone = [Target { kin: 0..1, ..deaf }];
            let now = Instant::now();
            let mut buffer = [0; CHUNK];
            for (targets, has_next) in [(&both[..], true), (&alone[..], false)] {
                let (stream, none) = (SockType::Stream, SockFlag::empty());
                let (near, job) = socketpair(AddressFamily::Unix, stream, None, none).unwrap();
                let mut far_side = FarSide::Listed(targets, Routes::new().unwrap());
                let slot = Slot::begin(&mut far_side, near, 0, now).unwrap();
                assert_eq!(slot.until(), Some(now + CALL));
                let soon = now + CALL - Duration::from_millis(1);
                let slot = slot
                    .carry(&mut far_side, [0, 0], &mut buffer, soon)
                    .unwrap();
                let next = slot.carry(&mut far_side, [0, 0], &mut buffer, now + CALL);
                assert_eq!(next.is_some(), has_next);
                let Some(next) = next else {
                    let end = recv(job.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT);
                    assert_eq!(end, Ok(0));
                    continue;
                };
                assert!(matches!(next, Slot::Calling { tried: 1, .. }));
                assert_eq!(next.until(), Some(now + 2 * CALL));
            }
            drop(queued);
        });
    }

    #[test]
    fn sockets_of_the_host_have_bounded_buffers() {
        on_host(|| {
            // As on a host: the network of the tests is that of a job, whose sockets are small.
            for name in ["ipv4/tcp_rmem", "ipv4/tcp_wmem"] {
                sysctl(name, "4096 131072 6291456");
            }
            let to = SocketAddr::new(V4.parse().unwrap(), server(echo));
            let targets = [Target {
                address: to,
                may_be_own: true,
                kin: 0..1,
            }];
            let (stream, none) = (SockType::Stream, SockFlag::empty());
            let (near, _job) = socketpair(AddressFamily::Unix, stream, None, none).unwrap();
            let mut far_side = FarSide::Listed(&targets, Routes::new().unwrap());
            let Some(Slot::Calling { far, .. }) =
                Slot::begin(&mut far_side, near, 0, Instant::now())
            else {
                panic!("it does not call");
            };
            let own = OwnAddresses::of_this_network().dial(to);
            for far in [far, own.map_err(|_| "it does not dial").unwrap()] {
                assert_eq!(getsockopt(&far, sockopt::RcvBuf), Ok(64 << 10));
                assert_eq!(getsockopt(&far, sockopt::SndBuf), Ok(64 << 10));
            }
        });
    }

    /// The kernel is asked at each connection: an address comes and goes with a failover.
    #[test]
    fn far_address_is_refused_while_the_host_has_it() {
        on_host(|| {
            let port = server(echo);
            beside_another_machine(port, || {
                ip("-6 route add 64:ff9b::/96 dev here");
                let mut routes = Some(Routes::new().unwrap());
                let mut calls = |to: &str, may_be_own| {
                    let targets = [Target {
                        address: SocketAddr::new(to.parse().unwrap(), port),
                        may_be_own,
                        kin: 0..1,
                    }];
                    let (stream, none) = (SockType::Stream, SockFlag::empty());
                    let (near, _job) = socketpair(AddressFamily::Unix, stream, None, none).unwrap();
                    let mut far_side = FarSide::Listed(&targets, routes.take().unwrap());
                    let calls = Slot::begin(&mut far_side, near, 0, Instant::now()).is_some();
                    let FarSide::Listed(_, asked) = far_side else {
                        panic!("it is listed");
                    };
                    routes = Some(asked);
                    calls
                };
                for (to, expect) in [
                    (V4, false),
                    (V6, false),
                    (HERE, false),
                    ("127.0.0.1", false),
                    (THERE, true),
                    // The translator's notation of an own address, and of another one.
                    ("64:ff9b::192.0.2.7", false),
                    ("64:ff9b::192.0.2.9", true),
                ] {
                    assert_eq!(calls(to, false), expect, "{to}");
                    assert!(calls(to, true), "{to}");
                }
                ip("addr add 192.0.2.9/32 dev here");
                assert!(!calls("64:ff9b::192.0.2.9", false));
                ip("addr del 192.0.2.9/32 dev here");
                assert!(calls("64:ff9b::192.0.2.9", false));
            });
        });
    }

    #[test]
    fn job_that_does_not_finish_the_dialogue_blocks_none() {
        on_host(|| {
            let port = server(echo);
            in_job(Network::ThisHost, |relay| {
                let _relay = relay.unwrap();
                let slow: Vec<TcpStream> = (0..32)
                    .map(|_| {
                        let mut one = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
                        one.write_all(&[5]).unwrap();
                        one
                    })
                    .collect();
                assert_eq!(relayed("127.0.0.1", port), Ok(()));
                let mut odd = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
                odd.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                assert!(matches!(odd.read(&mut [0; 1]), Ok(0) | Err(_)));
                drop(slow);
            });
        });
    }
}
