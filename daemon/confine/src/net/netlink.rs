//! Builds the requests of rtnetlink(7) that a job's network needs, and asks for routes.

use crate::sys;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, socket,
};
use remit_proxy::address;
use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

const LOOPBACK: i32 = 1;
/// Upper bound of a request; the longest one here, for an IPv6 address, has 64 bytes.
const LONGEST: usize = 72;
const HEADER: usize = 16;
const SEQUENCE: Range<usize> = 8..12;
/// `linux/rtnetlink.h`, since Linux 4.17; older kernels, whose rules have neither, pass over them.
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;

#[derive(Debug)]
pub(super) struct Message {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Message {
    fn new(kind: u16, flags: i32) -> Self {
        let mut message = Message {
            bytes: [0; LONGEST],
            len: 0,
        };
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        message.push(&[0; 4]);
        message.push(&kind.to_ne_bytes());
        message.push(&flags.to_ne_bytes());
        // Sequence number and port are 0: one request at a time, on a socket of its own.
        message.push(&[0; 8]);
        message
    }

    fn numbered(mut self, sequence: u32) -> Self {
        if let Some(bytes) = self.bytes.get_mut(SEQUENCE) {
            bytes.copy_from_slice(&sequence.to_ne_bytes());
        }
        self
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(free) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            free.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.push(&((4 + value.len()) as u16).to_ne_bytes());
        self.push(&kind.to_ne_bytes());
        self.push(value);
        let padding = value.len().next_multiple_of(4) - value.len();
        self.push([0; 3].get(..padding).unwrap_or_default());
    }

    fn whole(mut self) -> Self {
        let len = (self.len as u32).to_ne_bytes();
        if let Some(first) = self.bytes.first_chunk_mut() {
            *first = len;
        }
        self
    }

    pub(super) fn loopback_up() -> Self {
        let up = (libc::IFF_UP as u32).to_ne_bytes();
        let mut message = Self::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
        message.push(&[libc::AF_UNSPEC as u8, 0, 0, 0]);
        message.push(&LOOPBACK.to_ne_bytes());
        message.push(&up);
        message.push(&up);
        message.whole()
    }

    /// `RTM_NEWADDR`, `struct ifaddrmsg`: puts only `address`, without a network, on the loopback interface.
    pub(super) fn address(address: IpAddr) -> Self {
        let (family, prefix) = match address {
            IpAddr::V4(_) => (libc::AF_INET, 32),
            IpAddr::V6(_) => (libc::AF_INET6, 128),
        };
        let host = libc::RT_SCOPE_HOST;
        let new = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
        let mut message = Self::new(libc::RTM_NEWADDR, new);
        // Nobody else can have the address, so it works at once.
        message.push(&[family as u8, prefix, libc::IFA_F_NODAD as u8, host]);
        message.push(&LOOPBACK.to_ne_bytes());
        for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
            match address {
                IpAddr::V4(ip) => message.attribute(kind, &ip.octets()),
                IpAddr::V6(ip) => message.attribute(kind, &ip.octets()),
            }
        }
        message.whole()
    }

    /// `RTM_NEWROUTE`, `struct rtmsg`: makes `address` local. The kernel adds such a route for each of its addresses:
    /// for IPv4 at once, for IPv6 some time after it has acknowledged the address. Then there are two equal routes.
    pub(super) fn local_route(address: Ipv6Addr) -> Self {
        let (any, none) = (0, 0);
        let mut message = Self::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_ACK);
        message.push(&[libc::AF_INET6 as u8, 128, any, none]);
        let by = libc::RTPROT_BOOT;
        message.push(&[
            libc::RT_TABLE_LOCAL,
            by,
            libc::RT_SCOPE_HOST,
            libc::RTN_LOCAL,
        ]);
        message.push(&[none; 4]);
        message.attribute(libc::RTA_DST, &address.octets());
        message.attribute(libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
        message.whole()
    }

    /// `RTM_GETROUTE`: asks how a TCP connection of this process would reach `to`. Rules may differ by port.
    fn route_to(to: SocketAddr) -> Self {
        let (family, bits) = match to {
            SocketAddr::V4(_) => (libc::AF_INET, 32),
            SocketAddr::V6(_) => (libc::AF_INET6, 128),
        };
        let mut message = Self::new(libc::RTM_GETROUTE, 0);
        message.push(&[family as u8, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        match to.ip() {
            IpAddr::V4(ip) => message.attribute(libc::RTA_DST, &ip.octets()),
            IpAddr::V6(ip) => message.attribute(libc::RTA_DST, &ip.octets()),
        }
        message.attribute(RTA_IP_PROTO, &[libc::IPPROTO_TCP as u8]);
        message.attribute(RTA_DPORT, &to.port().to_be_bytes());
        message.whole()
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

pub(super) fn open() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Sends `message` and reads the kernel's answer, which is made while it is sent.
pub(super) fn ask(socket: BorrowedFd<'_>, message: &Message) -> io::Result<()> {
    sys::write(socket, message.bytes())?;
    let mut answer = [0; 256];
    let length = sys::read(socket, &mut answer)?;
    judge(answer.get(..length).unwrap_or_default())
}

/// Why an address is not that of another machine.
pub(super) enum RouteRefusal {
    Own,
    NotOneHost,
    LeadsBack,
    Unknown(io::Error),
}

/// Asks the kernel for routes, each time with another number, which the answer has, too.
pub(super) struct Routes {
    socket: OwnedFd,
    sequence: u32,
}

impl Routes {
    /// In this process' network.
    pub(super) fn new() -> io::Result<Self> {
        let socket = open()?;
        Ok(Routes {
            socket,
            sequence: 0,
        })
    }

    /// Returns why `to` is not the address of another machine, also if a translator of the network leads back. Allocates nothing.
    pub(super) fn refused(&mut self, to: SocketAddr) -> Option<RouteRefusal> {
        match self.kind_to(to) {
            Ok(libc::RTN_UNICAST) => {}
            Ok(libc::RTN_LOCAL) => return Some(RouteRefusal::Own),
            Ok(_) => return Some(RouteRefusal::NotOneHost),
            Err(error) => return Some(RouteRefusal::Unknown(error)),
        }
        let translated = SocketAddr::new(address::translated(to.ip())?, to.port());
        let is_own = matches!(self.kind_to(translated), Ok(libc::RTN_LOCAL));
        is_own.then_some(RouteRefusal::LeadsBack)
    }

    /// Returns the kind of the route of a TCP connection to `to`: `rtm_type` of `struct rtmsg`. Never waits: the kernel
    /// answers while it is asked.
    pub(super) fn kind_to(&mut self, to: SocketAddr) -> io::Result<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = Message::route_to(to).numbered(self.sequence);
        sys::write(self.socket.as_fd(), message.bytes())?;
        let mut answer = [0; 1024];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            let answer = answer.get(..length).unwrap_or_default();
            if sequence(answer) == Some(self.sequence) {
                return route_kind(answer);
            }
        }
    }
}

fn sequence(answer: &[u8]) -> Option<u32> {
    let bytes = answer.get(SEQUENCE)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn route_kind(answer: &[u8]) -> io::Result<u8> {
    const KIND: usize = HEADER + 7;
    let kind: Option<&[u8; 2]> = answer.get(4..).and_then(<[u8]>::first_chunk);
    if kind.is_none_or(|kind| u16::from_ne_bytes(*kind) != libc::RTM_NEWROUTE) {
        judge(answer)?;
        return Err(io::ErrorKind::InvalidData.into());
    }
    let kind = answer.get(KIND).copied();
    kind.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Parses `struct nlmsgerr`: 0 or minus an errno, after the header.
fn judge(answer: &[u8]) -> io::Result<()> {
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let kind: &[u8; 2] = answer
        .get(4..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(odd)?;
    let code: &[u8; 4] = answer
        .get(HEADER..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(odd)?;
    if i32::from(u16::from_ne_bytes(*kind)) != libc::NLMSG_ERROR {
        return Err(odd());
    }
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_kernel_reads_them() {
        let up = Message::loopback_up();
        assert_eq!(up.bytes().len(), 32);
        let v4 = Message::address([192, 0, 2, 1].into());
        assert_eq!(v4.bytes().len(), 40);
        let v6 = Message::address("2001:db8::1".parse().unwrap());
        assert_eq!(v6.bytes().len(), 64);
        let route = Message::local_route("2001:db8::1".parse().unwrap());
        assert_eq!(route.bytes().len(), 56);
        let to_v4 = Message::route_to("192.0.2.1:80".parse().unwrap()).numbered(7);
        assert_eq!(to_v4.bytes().len(), 52);
        assert_eq!(sequence(to_v4.bytes()), Some(7));
        assert_eq!(to_v4.bytes()[36..], {
            let kinds = [5u16, RTA_IP_PROTO, 6, RTA_DPORT].map(u16::to_ne_bytes);
            let [length, proto, longer, port] = kinds;
            let proto = [&length[..], &proto, &[6, 0, 0, 0]].concat();
            [proto, [&longer[..], &port, &[0, 80, 0, 0]].concat()].concat()
        });
        let to_v6 = Message::route_to("[2001:db8::1]:80".parse().unwrap());
        assert_eq!(to_v6.bytes().len(), 64);
        for message in [up, v4, v6, route, to_v4, to_v6] {
            let (length, _) = message.bytes().split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_ne_bytes(*length) as usize, message.bytes().len());
        }
    }

    /// An answer to another question, which nobody has read, is none to this one.
    #[test]
    fn route_is_that_of_the_question() {
        let mut routes = Routes::new().unwrap();
        let own = "127.0.0.1:80".parse().unwrap();
        assert_eq!(routes.kind_to(own).unwrap(), libc::RTN_LOCAL);
        let other = Message::route_to("255.255.255.255:80".parse().unwrap()).numbered(77);
        sys::write(routes.socket.as_fd(), other.bytes()).unwrap();
        assert_eq!(routes.kind_to(own).unwrap(), libc::RTN_LOCAL);
    }

    #[test]
    fn answers_are_judged() {
        let answer = |kind: i32, code: i32| {
            let mut bytes = vec![0; 4];
            bytes.extend((kind as u16).to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        assert!(judge(&answer(libc::NLMSG_ERROR, 0)).is_ok());
        let errno = judge(&answer(libc::NLMSG_ERROR, -libc::EEXIST)).unwrap_err();
        assert_eq!(errno.raw_os_error(), Some(libc::EEXIST));
        assert!(judge(&answer(libc::NLMSG_DONE, 0)).is_err());
        assert!(judge(&[]).is_err());
        assert!(judge(&answer(libc::NLMSG_ERROR, 0)[..18]).is_err());
    }
}
