//! Builds the network of a sandbox that has its own: an empty namespace, one with loopback, or one with addresses. Such an
//! address is on the job's own loopback interface, where a relay listens on the one port that the profile names and forwards
//! to the real address, from the host's network. So a job never holds a socket of the host's, and needs no route, no name
//! server and no filter. Only TCP is forwarded. For `ThisHost` the relay listens on one port, where the job names address
//! and port. It binds each connection to the address that it goes to: the kernel lets a socket bind to the host's own
//! addresses only. For `Names` a proxy listens there in place of the relay (`proxy/`). Everything is made before the fork; a
//! child allocates nothing, but for the proxy.

mod netlink;
mod pair;
mod proxy;
mod relay;
mod slot;
mod socks;
mod tcp;
#[cfg(test)]
mod tests;

use crate::steps::seccomp::{self, Program, RelayKind};
use crate::sys::{self, ForkCall, Handled};
use crate::{Kernel, steps::landlock::fence, steps::report::EnabledLayers};
use netlink::Message;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, bind, socket};
use remit_spawn::{Destination, Network};
use remit_sys::{Doing, Error, Result};
use std::{
    ffi::CStr,
    fmt::Write,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    ops::Range,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

pub(crate) use relay::Relay;

const MOST: usize = 64;

#[derive(Debug)]
pub(crate) struct Net {
    loopback: bool,
    addresses: Vec<Message>,
    targets: Vec<Target>,
    duty: Duty,
    handled: Option<Handled>,
    filter: Program,
}

/// How the process between a job's network and the host's is asked for connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Each target stands for itself.
    Listed,
    /// At the one target a job names an address of this host.
    ThisHost,
    /// At the one target a job names a host and port of this list.
    Names(Vec<(String, u16)>),
}

impl Duty {
    fn kind(&self) -> RelayKind {
        match self {
            Duty::Listed => RelayKind::Listed,
            Duty::ThisHost => RelayKind::ThisHost,
            Duty::Names(_) => RelayKind::Proxy,
        }
    }
}

#[derive(Clone, Debug)]
struct Target {
    address: SocketAddr,
    /// If false, it is refused while the host has it: any host can get an address later, as that of a failover.
    may_be_own: bool,
    /// The targets of its destination, itself among them.
    kin: Range<usize>,
}

#[derive(Debug)]
#[must_use]
pub(crate) struct Entered {
    host: Option<OwnedFd>,
}

impl Net {
    /// Prepares everything. `None`: jobs stay in the host's network. Errors: An address that nobody can listen on, port
    /// 0, a destination without an address, only IPv6 without it, or more than 64 pairs of address and port.
    pub(crate) fn new(network: &Network, kernel: &Kernel) -> Result<Option<Net>> {
        let none: &[Destination] = &[];
        let (loopback, destinations, duty) = match network {
            Network::ThisHost => (true, none, Duty::ThisHost),
            Network::None => (false, none, Duty::Listed),
            Network::Loopback => (true, none, Duty::Listed),
            Network::Connect(destinations) => (true, destinations.as_slice(), Duty::Listed),
            Network::Names(names) => (true, none, Duty::Names(names.clone())),
            Network::Host => return Ok(None),
        };
        let at = |port| Target {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            may_be_own: true,
            kin: 0..1,
        };
        let targets = match duty {
            Duty::ThisHost => vec![at(socks::PORT)],
            Duty::Names(_) => vec![at(proxy::PORT)],
            Duty::Listed => targets(destinations, has_ipv6()?)?,
        };
        let mut addresses: Vec<IpAddr> = targets.iter().map(|t| t.address.ip()).collect();
        addresses.retain(|address| !address.is_loopback());
        addresses.sort_unstable();
        addresses.dedup();
        Ok(Some(Net {
            loopback,
            addresses: addresses.into_iter().flat_map(messages).collect(),
            targets,
            filter: seccomp::relay(duty.kind())?,
            duty,
            handled: fence(kernel.landlock_abi, EnabledLayers::ALL).map(|fence| fence.handled),
        }))
    }

    pub(crate) fn has_relay(&self) -> bool {
        !self.targets.is_empty()
    }

    pub(crate) fn hosts(network: &Network) -> String {
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        let Network::Connect(destinations) = network else {
            return text;
        };
        for destination in destinations {
            if destination.host.parse::<IpAddr>().is_ok() {
                continue;
            }
            for address in &destination.addresses {
                let _ = writeln!(text, "{} {}", address.ip.to_canonical(), destination.host);
            }
        }
        text
    }

    /// Enters its own network and sets up all but the relay. Any port may be bound: there they are nobody's privilege.
    pub(crate) fn enter(&self) -> io::Result<Entered> {
        let own = || sys::open(c"/proc/thread-self/ns/net", libc::O_RDONLY);
        let host = (!self.targets.is_empty()).then(own).transpose()?;
        sys::own_network()?;
        tune(self.loopback)?;
        if self.loopback {
            let netlink = netlink::open()?;
            netlink::ask(netlink.as_fd(), &Message::loopback_up())?;
            for message in &self.addresses {
                netlink::ask(netlink.as_fd(), message)?;
            }
        }
        Ok(Entered { host })
    }

    /// Forks the relay, if needed, as `uid` and `gid`, not 0. Returns when it listens and has given up all else.
    pub(crate) fn relay(
        &self,
        entered: Entered,
        call: ForkCall,
        uid: u32,
        gid: u32,
    ) -> io::Result<Option<Relay>> {
        entered
            .host
            .map(|host| relay::start(self, host, call, uid, gid))
            .transpose()
    }
}

fn messages(address: IpAddr) -> impl Iterator<Item = Message> {
    let route = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(Message::local_route(address)),
    };
    std::iter::once(Message::address(address)).chain(route)
}

/// Bytes of one TCP socket in each direction: minimum, initial, maximum. All networks share `net.ipv4.tcp_mem`.
const BUFFERS: &[u8] = b"4096 65536 65536";
/// Connections to one listener that nobody has accepted: they use memory, but no descriptor.
const BACKLOG: &[u8] = b"128";

/// A job takes ports as a service does, `nginx -t` for one.
const EACH: &[(&CStr, &[u8])] = &[(c"ipv4/ip_unprivileged_port_start", b"0")];
const CONNECTED: &[(&CStr, &[u8])] = &[
    (c"ipv4/tcp_rmem", BUFFERS),
    (c"ipv4/tcp_wmem", BUFFERS),
    (c"core/somaxconn", BACKLOG),
];

/// In a container `/proc/sys` is often read-only: then this uses a `/proc` that is mounted only for it.
fn tune(loopback: bool) -> io::Result<()> {
    let connected = if loopback { CONNECTED } else { &[] };
    let all = || EACH.iter().chain(connected);
    let put = |net: &OwnedFd| {
        all().try_for_each(|(name, value)| {
            let file = sys::open_at(Some(net.as_fd()), name, libc::O_WRONLY)?;
            sys::write(file.as_fd(), value).map(drop)
        })
    };
    let directory = libc::O_PATH | libc::O_DIRECTORY;
    put(&sys::open(c"/proc/sys/net", directory)?).or_else(|_| {
        let proc = sys::detached_proc()?;
        put(&sys::open_at(Some(proc.as_fd()), c"sys/net", directory)?)
    })
}

fn has_ipv6() -> Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let localhost = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));
    let tried = socket(AddressFamily::Inet6, SockType::Stream, flags, None)
        .and_then(|socket| bind(socket.as_raw_fd(), &localhost));
    match tried {
        Ok(()) => Ok(true),
        Err(nix::Error::EAFNOSUPPORT | nix::Error::EADDRNOTAVAIL) => Ok(false),
        Err(e) => Err(e).doing(|| "cannot ask for IPv6".into()),
    }
}

/// Returns where to listen. Each address and port occurs once, for the first destination that has it.
fn targets(destinations: &[Destination], ipv6: bool) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    for destination in destinations {
        let Destination { host, port, .. } = destination;
        let refused = |why: &str| Error::refused(format!("cannot connect jobs to '{host}'"), why);
        if *port == 0 {
            return Err(refused("port 0 is not valid"));
        }
        let first = targets.len();
        let usable = destination.addresses.iter();
        let usable = usable.map(|far| (far.ip.to_canonical(), far.may_be_own));
        for (ip, may_be_own) in usable.filter(|(ip, _)| ipv6 || ip.is_ipv4()) {
            if let Some(why) = unusable(ip) {
                return Err(refused(&format!("{ip} is {why}")));
            }
            let address = SocketAddr::new(ip, *port);
            match targets.iter_mut().find(|one| one.address == address) {
                Some(target) => target.may_be_own |= may_be_own,
                None => targets.push(Target {
                    address,
                    may_be_own,
                    kin: 0..0,
                }),
            }
        }
        let of_others = destination
            .addresses
            .iter()
            .any(|far| ipv6 || far.ip.to_canonical().is_ipv4());
        if !of_others {
            return Err(refused("it has no address that this machine can reach"));
        }
        let kin = first..targets.len();
        for target in targets.iter_mut().skip(first) {
            target.kin = kin.clone();
        }
    }
    if targets.len() > MOST {
        let why = format!("{} addresses and ports; at most {MOST}", targets.len());
        return Err(Error::refused("cannot connect jobs", why));
    }
    Ok(targets)
}

fn unusable(ip: IpAddr) -> Option<&'static str> {
    match ip {
        _ if ip.is_unspecified() => Some("no address"),
        _ if ip.is_multicast() => Some("a multicast address"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("not an address of a host"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            Some("a link-local address, which needs an interface")
        }
        _ => None,
    }
}
