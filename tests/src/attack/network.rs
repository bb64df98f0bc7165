//! Attacks by sockets: the network, other programs on this machine, and the kernel's configuration.

use super::REFUSED;
use super::raw::sys;
use super::{Attack, Expect, Refused, Tried, argument, attack, number};

const NO_FAMILY: Expect = Expect::Errno(libc::EAFNOSUPPORT);
const IPPROTO_MPTCP: i32 = 262;

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("tcp-connect", "seccomp_sockets", NO_FAMILY, "connect to a TCP listener", tcp_connect),
    attack("tcp6-connect", "seccomp_sockets", NO_FAMILY, "connect to a TCP listener over IPv6", tcp6_connect),
    attack("tcp-high", "seccomp_sockets", NO_FAMILY, "the same with high bits set in the family", tcp_high),
    attack("tcp-listen", "seccomp_sockets", NO_FAMILY, "listen on a TCP port", tcp_listen),
    attack("mptcp-connect", "seccomp_sockets", NO_FAMILY, "connect by multipath TCP, which Landlock does not see", mptcp).optional(),
    attack("tcp-fast-open", "seccomp_sockets", NO_FAMILY, "connect by sending, which Landlock does not see", fast_open),
    attack("udp-send", "seccomp_sockets", NO_FAMILY, "send a UDP datagram", udp_send),
    attack("unix-stream", "seccomp_socketpair", REFUSED, "connect to a unix socket", unix_stream),
    attack("unix-abstract", "seccomp_socketpair", REFUSED, "connect to an abstract unix socket", unix_abstract),
    attack("unix-pair", "seccomp_socketpair", REFUSED, "aim a datagram socketpair at a unix socket", unix_pair),
    attack("unix-pair-high", "seccomp_socketpair", REFUSED, "the same with high bits set in the type", unix_pair_high),
    attack("unix-pair-name", "seccomp_socketpair", REFUSED, "take an abstract name with one end of a socketpair", unix_pair_name),
    attack("unix-autobind", "seccomp_refused", Expect::Errno(libc::EALREADY), "have the kernel take an abstract name for one end of a socketpair", unix_autobind),
    attack("daemon-socket", "seccomp_socketpair", REFUSED, "connect to the daemon's own socket", unix_stream).root(),
    attack("raw-socket", "seccomp_sockets", NO_FAMILY, "make a raw socket", raw_socket).root(),
    attack("packet-socket", "seccomp_sockets", NO_FAMILY, "make a packet socket", packet_socket).root(),
    attack("vsock", "seccomp_sockets", NO_FAMILY, "make a socket to the hypervisor", vsock).optional(),
    attack("af-alg", "seccomp_sockets", NO_FAMILY, "make a socket to the kernel's crypto code", af_alg).optional(),
    attack("netlink-uevent", "seccomp_sockets", NO_FAMILY, "make a netlink socket of another protocol", netlink_uevent),
    attack("link-up", "capabilities", REFUSED, "change a network interface", link_up).root(),
    attack("route-add", "capabilities", REFUSED, "add a route", route_add).root(),
];

fn socket(family: i32, kind: i32, protocol: i32) -> Result<usize, Refused> {
    sys!(
        libc::SYS_socket,
        family,
        kind | libc::SOCK_CLOEXEC,
        protocol
    )
}

fn loopback(port: i32) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&(port as u16).to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    address
}

fn loopback6(port: i32) -> [u8; 28] {
    let mut address = [0; 28];
    address[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&(port as u16).to_be_bytes());
    address[23] = 1;
    address
}

/// Builds a `struct sockaddr_un` without padding. An abstract name starts with NUL.
fn unix(name: &[u8]) -> Vec<u8> {
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend(name);
    address
}

fn connect(socket: usize, address: &[u8]) -> Result<usize, Refused> {
    sys!(libc::SYS_connect, socket, address.as_ptr(), address.len())
}

fn tcp_connect(arguments: &[String]) -> Tried {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    connect(socket, &loopback(number(arguments, 0)))?;
    Ok("connected".into())
}

fn tcp6_connect(arguments: &[String]) -> Tried {
    let socket = socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
    connect(socket, &loopback6(number(arguments, 0)))?;
    Ok("connected".into())
}

/// The kernel only looks at the low 32 bits of the family.
fn tcp_high(arguments: &[String]) -> Tried {
    let family = i64::from(libc::AF_INET) | (1 << 32);
    let socket = sys!(libc::SYS_socket, family, libc::SOCK_STREAM, 0)?;
    connect(socket, &loopback(number(arguments, 0)))?;
    Ok("connected".into())
}

fn tcp_listen(_: &[String]) -> Tried {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    sys!(libc::SYS_bind, socket, loopback(0).as_ptr(), 16)?;
    sys!(libc::SYS_listen, socket, 1)?;
    Ok("listening".into())
}

fn mptcp(arguments: &[String]) -> Tried {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, IPPROTO_MPTCP)?;
    connect(socket, &loopback(number(arguments, 0)))?;
    Ok("connected".into())
}

fn fast_open(arguments: &[String]) -> Tried {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let address = loopback(number(arguments, 0));
    sys!(
        libc::SYS_sendto,
        socket,
        b"attacked".as_ptr(),
        8,
        libc::MSG_FASTOPEN,
        address.as_ptr(),
        16
    )?;
    Ok("connected".into())
}

fn udp_send(arguments: &[String]) -> Tried {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let address = loopback(number(arguments, 0));
    sys!(
        libc::SYS_sendto,
        socket,
        b"attacked".as_ptr(),
        8,
        0,
        address.as_ptr(),
        16
    )?;
    Ok("sent".into())
}

fn unix_stream(arguments: &[String]) -> Tried {
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    connect(socket, &unix(argument(arguments, 0).as_bytes()))?;
    Ok("connected".into())
}

fn unix_abstract(arguments: &[String]) -> Tried {
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    connect(
        socket,
        &unix(format!("\0{}", argument(arguments, 0)).as_bytes()),
    )?;
    Ok("connected".into())
}

/// Half of a datagram socketpair can send anywhere, so this does not need socket(2).
fn aim_pair(kind: i64, arguments: &[String]) -> Tried {
    let mut pair = [0_i32; 2];
    sys!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        kind,
        0,
        pair.as_mut_ptr()
    )?;
    let address = unix(argument(arguments, 0).as_bytes());
    sys!(
        libc::SYS_sendto,
        pair[0],
        b"attacked".as_ptr(),
        8,
        0,
        address.as_ptr(),
        address.len()
    )?;
    Ok("sent".into())
}

fn unix_pair(arguments: &[String]) -> Tried {
    aim_pair(libc::SOCK_DGRAM.into(), arguments)
}

fn unix_pair_high(arguments: &[String]) -> Tried {
    aim_pair(i64::from(libc::SOCK_DGRAM) | (1 << 32), arguments)
}

/// A name of ten bytes is not refused, as SECURITY.md says.
fn unix_pair_name(_: &[String]) -> Tried {
    let mut pair = [0_i32; 2];
    let stream = libc::SOCK_STREAM;
    sys!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        stream,
        0,
        pair.as_mut_ptr()
    )?;
    let name = format!("\0remit-attack-{}", std::process::id());
    let address = unix(name.as_bytes());
    sys!(libc::SYS_bind, pair[0], address.as_ptr(), address.len())?;
    let (mut taken, mut length) = ([0_u8; 128], 128_u32);
    sys!(
        libc::SYS_getsockname,
        pair[0],
        taken.as_mut_ptr(),
        &raw mut length
    )?;
    // Where jobs have the bus, bind(2) answers yes and takes nothing.
    match taken.starts_with(&address) {
        true => Ok("taken".into()),
        false => Err(Refused(libc::EPERM)),
    }
}

/// unix(7), "Autobind feature": a socket that receives ids is named when it sends.
fn unix_autobind(_: &[String]) -> Tried {
    let (mut pair, on) = ([0_i32; 2], 1_i32);
    sys!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_SEQPACKET,
        0,
        pair.as_mut_ptr()
    )?;
    sys!(
        libc::SYS_setsockopt,
        pair[0],
        libc::SOL_SOCKET,
        libc::SO_PASSCRED,
        &raw const on,
        4
    )?;
    sys!(libc::SYS_write, pair[0], b"x".as_ptr(), 1)?;
    let (mut name, mut length) = ([0_u8; 128], 128_u32);
    sys!(
        libc::SYS_getsockname,
        pair[0],
        name.as_mut_ptr(),
        &raw mut length
    )?;
    // Without a name there is the family alone.
    match length {
        2 => Err(Refused(libc::EALREADY)),
        length => Ok(format!("{length} bytes")),
    }
}

fn raw_socket(_: &[String]) -> Tried {
    socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
    Ok("made".into())
}

fn packet_socket(_: &[String]) -> Tried {
    socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    Ok("made".into())
}

fn vsock(_: &[String]) -> Tried {
    socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?;
    Ok("made".into())
}

fn af_alg(_: &[String]) -> Tried {
    socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)?;
    Ok("made".into())
}

fn netlink_uevent(_: &[String]) -> Tried {
    socket(
        libc::AF_NETLINK,
        libc::SOCK_RAW,
        libc::NETLINK_KOBJECT_UEVENT,
    )?;
    Ok("made".into())
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;

fn ask(protocol: i32, message: &[u8]) -> Result<Vec<u8>, Refused> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    sys!(
        libc::SYS_sendto,
        socket,
        message.as_ptr(),
        message.len(),
        0,
        0,
        0
    )?;
    let mut answer = vec![0; 64 << 10];
    let length = sys!(
        libc::SYS_recvfrom,
        socket,
        answer.as_mut_ptr(),
        answer.len(),
        0,
        0,
        0
    )?;
    answer.truncate(length);
    Ok(answer)
}

/// Returns the type of the first message, or the error in it.
fn verdict(answer: &[u8]) -> Result<u16, Refused> {
    const ERROR: u16 = 2;
    let short = Refused(libc::EBADMSG);
    let kind = answer
        .get(4..6)
        .and_then(|two| two.try_into().ok())
        .map(u16::from_ne_bytes)
        .ok_or(short)?;
    if kind != ERROR {
        return Ok(kind);
    }
    match answer
        .get(16..20)
        .and_then(|four| four.try_into().ok())
        .map(i32::from_ne_bytes)
    {
        Some(0) => Ok(kind),
        Some(error) => Err(Refused(-error)),
        None => Err(short),
    }
}

/// RTM_NEWLINK for interface 1, the loopback, which is down in a new namespace.
fn link_up(_: &[String]) -> Tried {
    const RTM_NEWLINK: u16 = 16;
    let mut body = [0_u8; 16];
    body[4..8].copy_from_slice(&1_i32.to_ne_bytes());
    body[8..12].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    body[12..16].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    verdict(&ask(
        libc::NETLINK_ROUTE,
        &message(RTM_NEWLINK, REQUEST | ACK, &body),
    )?)?;
    Ok("changed".into())
}

/// RTM_NEWROUTE: makes 198.51.100.0/24, reserved for documentation, unreachable.
fn route_add(_: &[String]) -> Tried {
    const RTM_NEWROUTE: u16 = 24;
    const UNREACHABLE: u8 = 7;
    let mut body = vec![
        libc::AF_INET as u8,
        24,
        0,
        0,
        254,
        4,
        0,
        UNREACHABLE,
        0,
        0,
        0,
        0,
    ];
    body.extend([8, 0, 1, 0, 198, 51, 100, 0]);
    verdict(&ask(
        libc::NETLINK_ROUTE,
        &message(RTM_NEWROUTE, REQUEST | ACK | CREATE, &body),
    )?)?;
    Ok("added".into())
}

pub fn dump(protocol: i32, kind: u16, body: &[u8]) -> Tried {
    let answer = ask(protocol, &message(kind, REQUEST | DUMP, body))?;
    let kind = verdict(&answer)?;
    Ok(format!(
        "{} bytes, first message of type {kind}",
        answer.len()
    ))
}
