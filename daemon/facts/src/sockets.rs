//! Lists listening TCP and UDP sockets by sock_diag(7), or from /proc/net without owners if the kernel lacks it. The
//! kernel reports the control group of a socket to any user, and its path names the unit.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use nix::sys::socket::SockProtocol;
use remit_wire::host::{List, Owner, Port, Ports};

use crate::cgroup::Tree;
use crate::netlink::{attributes, byte, dump, long, uint};
use crate::read::{self, Gaps, Kernel, Sources, Why};
use crate::{network, users};

const SOCKETS: usize = 8192;
const BY_FAMILY: u16 = 20;
const CGROUP_ID: u16 = 21;
const UNIX: u8 = 1;
const INET: u8 = 2;
const INET6: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// TCP_LISTEN, or for UDP TCP_CLOSE: bound without a peer.
    fn state(self) -> u8 {
        match self {
            Self::Tcp => 10,
            Self::Udp => 7,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Socket {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    /// Index of the bound interface, or 0 for any.
    pub(crate) dev: u32,
    pub(crate) uid: u32,
    /// Id of the control group that created it.
    pub(crate) cgroup: Option<u64>,
}

/// The sockets of a protocol. If control groups are unknown, `ownerless` has the reason.
#[derive(Default)]
pub(crate) struct FoundSockets {
    pub(crate) sockets: Vec<Socket>,
    pub(crate) over: u64,
    pub(crate) ownerless: Option<Why>,
}

impl FoundSockets {
    fn add(&mut self, socket: Socket) {
        if self.sockets.len() < SOCKETS {
            self.sockets.push(socket);
        } else {
            self.over += 1;
        }
    }
}

pub(crate) fn listening(protocol: Protocol, at: &Sources) -> Result<FoundSockets, Why> {
    let asked = match at.kernel {
        Kernel::Asked => ask(protocol),
        Kernel::NotAsked => Err("the kernel was not asked".into()),
    };
    let mut found = asked.or_else(|why| listed(protocol, at, why))?;
    found.sockets.sort();
    // Several workers may listen on the same port, each with its own socket.
    found.sockets.dedup();
    Ok(found)
}

fn ask(protocol: Protocol) -> Result<FoundSockets, Why> {
    let mut found = FoundSockets::default();
    for family in [INET, INET6] {
        dump(
            SockProtocol::NetlinkSockDiag,
            BY_FAMILY,
            &question(family, protocol),
            |kind, payload| {
                if let Some(socket) = socket(payload).filter(|_| kind == BY_FAMILY) {
                    found.add(socket);
                }
            },
        )?;
    }
    Ok(found)
}

/// Builds `struct inet_diag_req_v2`: sockets of any address in the protocol's listening state.
fn question(family: u8, protocol: Protocol) -> Vec<u8> {
    let mut bytes = vec![family, protocol.number(), 0, 0];
    bytes.extend((1_u32 << protocol.state()).to_ne_bytes());
    bytes.resize(56, 0);
    bytes
}

fn socket(payload: &[u8]) -> Option<Socket> {
    let addr = |length: usize| payload.get(8..8 + length);
    let addr = match byte(payload, 0)? {
        INET => IpAddr::from(<[u8; 4]>::try_from(addr(4)?).ok()?),
        INET6 => IpAddr::from(<[u8; 16]>::try_from(addr(16)?).ok()?),
        _ => return None,
    };
    let attrs = attributes(payload.get(72..)?);
    Some(Socket {
        addr,
        port: u16::from_be_bytes([byte(payload, 4)?, byte(payload, 5)?]),
        dev: uint(payload, 40)?,
        uid: uint(payload, 64)?,
        cgroup: attrs
            .filter(|(kind, _)| *kind == CGROUP_ID)
            .find_map(|(_, value)| long(value, 0)),
    })
}

/// Reads /proc/net/tcp, tcp6, udp and udp6 (proc_pid_net(5)). `why` says why the kernel could not be asked.
fn listed(protocol: Protocol, at: &Sources, why: Why) -> Result<FoundSockets, Why> {
    let mut found = FoundSockets {
        ownerless: Some(why),
        ..FoundSockets::default()
    };
    for version in ["", "6"] {
        let path = at
            .proc
            .join("net")
            .join(format!("{}{version}", protocol.name()));
        // A machine without IPv6 does not have this file.
        if version == "6" && !path.exists() {
            continue;
        }
        read::lines(&path, 256 << 20, |line| {
            if let Some((_, socket)) = row(line).filter(|(state, _)| *state == protocol.state()) {
                found.add(socket);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

/// Parses `0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 …`.
fn row(line: &str) -> Option<(u8, Socket)> {
    let mut words = line.split_ascii_whitespace();
    let (addr, port) = words.nth(1)?.split_once(':')?;
    let state = u8::from_str_radix(words.nth(1)?, 16).ok()?;
    let uid = words.nth(3)?.parse().ok()?;
    // Each group of 8 digits is a number in native byte order.
    let number = |index: usize| {
        let digits = addr.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let addr = match addr.len() {
        8 => Ipv4Addr::from(number(0)?).into(),
        32 => {
            let bytes = [number(0)?, number(1)?, number(2)?, number(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((
        state,
        Socket {
            addr,
            port,
            dev: 0,
            uid,
            cgroup: None,
        },
    ))
}

const PORTS: usize = 512;

pub(crate) fn gather(at: &Sources, tree: Option<&Tree>, gaps: &mut Gaps) -> Ports {
    let mut naming = Naming {
        users: users::names(&at.etc),
        devs: match at.kernel {
            Kernel::Asked => network::names_now(),
            Kernel::NotAsked => BTreeMap::new(),
        },
        tree,
        owners: BTreeMap::new(),
    };
    let mut ports = |protocol| {
        let mut found = listening(protocol, at)?;
        // Sockets reachable from other machines come first.
        found
            .sockets
            .sort_by_key(|socket| (socket.addr.is_loopback(), socket.port));
        let sockets = List::cut(found.sockets, PORTS);
        let items = sockets
            .items
            .iter()
            .map(|socket| naming.port(socket, found.ownerless.as_ref()))
            .collect();
        Ok(List {
            items,
            more: sockets.more.saturating_add(found.over),
        })
    };
    Ports {
        tcp: gaps.known("ports.tcp", ports(Protocol::Tcp)),
        udp: gaps.known("ports.udp", ports(Protocol::Udp)),
        unix: gaps.known("ports.unix", unix(at)),
        established: gaps.known("ports.established", established(at)),
    }
}

type OwnerAnswer = Result<(Owner, Option<Why>), Why>;

struct Naming<'a> {
    users: BTreeMap<u64, String>,
    devs: BTreeMap<u32, String>,
    tree: Option<&'a Tree>,
    /// Cache by cgroup id: many sockets share one.
    owners: BTreeMap<u64, OwnerAnswer>,
}

impl Naming<'_> {
    fn port(&mut self, socket: &Socket, ownerless: Option<&Why>) -> Port {
        let (owner, why) = match self.owner(socket, ownerless) {
            Ok((owner, caution)) => (Some(owner), caution),
            Err(why) => (None, Some(why)),
        };
        let dev = |index: u32| {
            self.devs
                .get(&index)
                .cloned()
                .unwrap_or_else(|| format!("#{index}"))
        };
        Port {
            addr: socket.addr.to_string(),
            port: socket.port,
            dev: (socket.dev != 0).then(|| dev(socket.dev)),
            user: self
                .users
                .get(&socket.uid.into())
                .cloned()
                .unwrap_or_else(|| socket.uid.to_string()),
            owner,
            why,
        }
    }

    fn owner(&mut self, socket: &Socket, ownerless: Option<&Why>) -> OwnerAnswer {
        if let Some(why) = ownerless {
            return Err(format!(
                "sockets were read from /proc/net, which has no owner: {why}"
            ));
        }
        let id = socket
            .cgroup
            .ok_or("this kernel does not report the control group of a socket (Linux 5.8 does)")?;
        let tree = self.tree.ok_or("control groups were not examined")?;
        self.owners
            .entry(id)
            .or_insert_with(|| tree.owner(id))
            .clone()
    }
}

/// Counts listening Unix sockets by sock_diag(7). In /proc/net/unix a name with a line feed looks like another socket.
fn unix(at: &Sources) -> Result<u64, Why> {
    if at.kernel == Kernel::NotAsked {
        return Err("the kernel was not asked".into());
    }
    let mut count = 0;
    let each = |kind, _: &[u8]| count += u64::from(kind == BY_FAMILY);
    dump(
        SockProtocol::NetlinkSockDiag,
        BY_FAMILY,
        &unix_question(),
        each,
    )?;
    Ok(count)
}

/// Builds `struct unix_diag_req`: listening sockets, and no attributes.
fn unix_question() -> Vec<u8> {
    let mut bytes = vec![UNIX, 0, 0, 0];
    bytes.extend((1_u32 << Protocol::Tcp.state()).to_ne_bytes());
    bytes.resize(24, 0);
    bytes
}

/// Counts established TCP connections (proc_pid_net(5), snmp).
fn established(at: &Sources) -> Result<u64, Why> {
    let path = at.proc.join("net/snmp");
    let text = read::text(&path, 64 << 10)?;
    counter(&text, "Tcp:", "CurrEstab")
        .ok_or_else(|| format!("'{}' has no CurrEstab", path.display()))
}

/// Returns the counter `name`. Two lines begin with `start`: the first has names, the second numbers.
fn counter(text: &str, start: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(start))
        .map(str::split_ascii_whitespace);
    let index = lines.next()?.position(|word| word == name)?;
    lines.next()?.nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::attribute;

    #[test]
    fn socket_of_the_kernel_is_read() {
        let mut bytes = vec![0; 72];
        bytes[0] = INET;
        bytes[4..6].copy_from_slice(&8080_u16.to_be_bytes());
        bytes[8..12].copy_from_slice(&[127, 0, 0, 1]);
        bytes[40] = 3;
        bytes[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        let mut expect = Socket {
            addr: Ipv4Addr::LOCALHOST.into(),
            port: 8080,
            dev: 3,
            uid: 1000,
            cgroup: None,
        };
        assert_eq!(socket(&bytes), Some(expect.clone()));
        bytes.extend(attribute(14, &[]));
        bytes.extend(attribute(CGROUP_ID, &(1_u64 << 40).to_ne_bytes()));
        expect.cgroup = Some(1 << 40);
        assert_eq!(socket(&bytes), Some(expect));
        assert_eq!(socket(&bytes[..71]), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_of_proc_are_read() {
        let v4 = "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0";
        let v6 = "  1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1";
        let (state, socket) = row(v4).unwrap();
        assert_eq!(
            (state, socket.addr, socket.port, socket.uid),
            (10, Ipv4Addr::LOCALHOST.into(), 3306, 1000)
        );
        let (state, socket) = row(v6).unwrap();
        assert_eq!(
            (state, socket.addr, socket.port, socket.uid),
            (7, Ipv6Addr::LOCALHOST.into(), 80, 0)
        );
        for odd in [
            "",
            "  sl  local_address rem_address   st tx_queue",
            "0: 0100007F 0 0A",
            "0: é100007F:1 x 0A a b c 0",
        ] {
            assert_eq!(row(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn odd_input_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), line in "[0-9A-Fa-f: é]{0,100}") {
            let _ = (socket(&bytes), row(&line));
        }
    }

    #[test]
    fn names_with_line_feeds_are_no_unix_sockets() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

        let count = || unix(&Sources::host()).unwrap();
        let named = |number: usize, name: String| {
            SocketAddr::from_abstract_name(format!("{}.{number}{name}", std::process::id()))
                .unwrap()
        };
        let before = count();
        let forged = "\n0 0 0 00010000".repeat(5);
        let datagrams: Vec<_> = (0..200)
            .map(|number| UnixDatagram::bind_addr(&named(number, forged.clone())).unwrap())
            .collect();
        let listeners: Vec<_> = (0..300)
            .map(|number| UnixListener::bind_addr(&named(number, String::new())).unwrap())
            .collect();
        // Other tests have sockets, too.
        let more = count() - before;
        assert!((200..400).contains(&more), "{more}");
        drop((datagrams, listeners));
    }

    #[test]
    fn counter_is_found_by_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: RtoMin CurrEstab InSegs\nTcp: 200 7 9\n";
        assert_eq!(counter(text, "Tcp:", "CurrEstab"), Some(7));
        assert_eq!(counter(text, "Tcp:", "None"), None);
        assert_eq!(counter("Tcp: A\n", "Tcp:", "A"), None);
    }

    #[test]
    fn socket_without_owner_says_why() {
        let socket = Socket {
            addr: "::".parse().unwrap(),
            port: 1,
            dev: 4,
            uid: 77,
            cgroup: None,
        };
        let mut naming = Naming {
            users: BTreeMap::new(),
            devs: BTreeMap::new(),
            tree: None,
            owners: BTreeMap::new(),
        };
        let old = naming.port(&socket, None);
        assert_eq!(
            (old.owner, old.user.as_str(), old.dev.as_deref()),
            (None, "77", Some("#4"))
        );
        assert!(old.why.is_some_and(|why| why.contains("Linux 5.8")));
        let listed = naming.port(&socket, Some(&"no module".into()));
        assert!(
            listed.owner.is_none()
                && listed
                    .why
                    .is_some_and(|why| why.ends_with("no owner: no module"))
        );
    }
}
