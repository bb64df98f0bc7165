//! `name.lookup`: a name's addresses as programs here find them, or each name server's answer. Needs the host's network.

use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::text::{CANNOT, print};

const PATIENCE: Duration = Duration::from_secs(2);
const SERVERS: usize = 3;
const A: u16 = 1;
const AAAA: u16 = 28;

pub fn show(name: &str) -> Result<ExitCode, String> {
    let found = (name, 0).to_socket_addrs();
    let mut addresses: Vec<IpAddr> = found
        .map(|all| all.map(|address| address.ip()).collect())
        .unwrap_or_default();
    addresses.sort_unstable();
    addresses.dedup();
    if !addresses.is_empty() {
        let lines: Vec<String> = addresses
            .iter()
            .map(|ip| format!("{ip} {name}\n"))
            .collect();
        print(&lines.concat())?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = servers(&settings);
    if servers.is_empty() {
        return Err(format!(
            "{name} has no address: it is not in /etc/hosts, and /etc/resolv.conf names no name server: see network.dns"
        ));
    }
    let mut text = format!("{name} has no address. Name servers of /etc/resolv.conf:\n");
    for server in servers {
        text += &format!("  {server}: {}\n", asked(server, name));
    }
    print(&text)?;
    Ok(ExitCode::from(CANNOT))
}

/// Returns the name servers, at most as many as programs ask.
fn servers(settings: &str) -> Vec<IpAddr> {
    settings
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .filter_map(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .take(SERVERS)
        .collect()
}

fn asked(server: IpAddr, name: &str) -> String {
    match (ask(server, name, A), ask(server, name, AAAA)) {
        (Ok(one), Ok(other)) => match (one.code, one.answers + other.answers) {
            (0, 0) => "the name exists, and has no record of type A or AAAA".to_owned(),
            (0, _) => {
                "it knows an address, which programs here do not find: see /etc/nsswitch.conf"
                    .to_owned()
            }
            (2, _) => "SERVFAIL: it cannot find out".to_owned(),
            (3, _) => "NXDOMAIN: there is no such name".to_owned(),
            (5, _) => "REFUSED: it does not answer this machine".to_owned(),
            (code, _) => format!("it answers with error {code}"),
        },
        (Err(why), _) | (_, Err(why)) => why,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Reply {
    code: u8,
    answers: u16,
}

fn ask(server: IpAddr, name: &str, kind: u16) -> Result<Reply, String> {
    let local: SocketAddr = match server {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            format!("no answer within {} s", PATIENCE.as_secs())
        }
        std::io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        _ => format!("cannot be asked: {error}"),
    };
    let socket = UdpSocket::bind(local).map_err(failed)?;
    socket.connect((server, 53)).map_err(failed)?;
    let id = socket.local_addr().map_err(failed)?.port();
    socket.send(&query(id, name, kind)).map_err(failed)?;
    let (end, mut packet) = (Instant::now() + PATIENCE, [0; 1500]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        socket.set_read_timeout(Some(left)).map_err(failed)?;
        let count = socket.recv(&mut packet).map_err(failed)?;
        if let Some(reply) = reply(packet.get(..count).unwrap_or_default(), id) {
            return Ok(reply);
        }
    }
}

/// Makes a question of one name, RFC 1035 section 4.
fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        packet.extend(word.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = label.as_bytes().get(..63).unwrap_or(label.as_bytes());
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend(label);
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend(1u16.to_be_bytes());
    packet
}

fn reply(packet: &[u8], id: u16) -> Option<Reply> {
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    let (flags, answers) = (word(2)?, word(6)?);
    let is_reply = word(0)? == id && flags & 0x8000 != 0;
    is_reply.then_some(Reply {
        code: u8::try_from(flags & 0xf).unwrap_or_default(),
        answers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_those_of_resolv_conf() {
        let settings = "# nameserver 192.0.2.9\nsearch a.example\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 x\nnameservers 1\nnameserver fe80::1%eth0\n";
        let expect: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"]
            .map(|ip| ip.parse().unwrap())
            .into();
        assert_eq!(servers(settings), expect);
    }

    #[test]
    fn question_and_reply_are_those_of_rfc_1035() {
        assert_eq!(
            query(7, "a.bc", A),
            *b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01"
        );
        let missing = *b"\0\x07\x81\x83\0\x01\0\0\0\0\0\0";
        let expect = Reply {
            code: 3,
            answers: 0,
        };
        assert_eq!(reply(&missing, 7), Some(expect));
        // Of another question, no reply, and cut.
        assert_eq!(reply(&missing, 8), None);
        assert_eq!(reply(&query(7, "a", A), 7), None);
        assert_eq!(reply(&missing[..7], 7), None);
    }
}
