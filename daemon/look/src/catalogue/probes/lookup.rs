//! `name.lookup`: a name's addresses as programs here find them, or each name server's answer. Needs the host's network.
//! `network.dns`: the files that name the name servers.

use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use remit_common::text;
use remit_proxy::lookup::{self, IpFamily, LONGEST, NameAnswer};

use crate::text::{CANNOT, print};

const PATIENCE: Duration = Duration::from_secs(2);
const SERVERS: usize = 3;

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

/// Prints `network.dns`. Where systemd-resolved runs, the first file names only its own address.
pub fn settings() -> Result<ExitCode, String> {
    let mut all: Vec<(&str, Vec<u8>)> = Vec::new();
    for file in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        let settings = match fs::read(file) {
            Ok(settings) => settings,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read {file}: {error}")),
        };
        let is_new = all.iter().all(|(_, other)| *other != settings);
        if is_new && !servers(&String::from_utf8_lossy(&settings)).is_empty() {
            all.push((file, settings));
        }
    }
    let text: String = all
        .iter()
        .map(|(file, settings)| named_lines(file, settings))
        .collect();
    match text.is_empty() {
        true => print("no file of this machine names a name server\n")?,
        false => print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the file before each line, as grep(1) does.
fn named_lines(file: &str, settings: &[u8]) -> String {
    let settings = settings.strip_suffix(b"\n").unwrap_or(settings);
    let lines = settings.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| format!("{file}:{}\n", text::line(line, 4096)));
    lines.collect()
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
    match IpFamily::ALL.map(|family| ask(server, name, family)) {
        [Ok(one), Ok(other)] => meaning(&one, &other),
        [Err(why), _] | [_, Err(why)] => why,
    }
}

fn meaning(one: &NameAnswer, other: &NameAnswer) -> String {
    use NameAnswer::{Addresses, Failed, NoAddress, NoSuchName, Other, Truncated};
    match (one, other) {
        (Addresses(_), _) | (_, Addresses(_)) => {
            "it knows an address, which programs here do not find: see /etc/nsswitch.conf".into()
        }
        (Failed(2), _) | (_, Failed(2)) => "SERVFAIL: it cannot find out".into(),
        (Failed(5), _) | (_, Failed(5)) => "REFUSED: it does not answer this machine".into(),
        (Failed(code), _) | (_, Failed(code)) => format!("it answers with error {code}"),
        (NoSuchName, _) | (_, NoSuchName) => "NXDOMAIN: there is no such name".into(),
        (Truncated, _) | (_, Truncated) => "its answer is too long for a datagram".into(),
        (NoAddress { is_alias: true }, _) | (_, NoAddress { is_alias: true }) => {
            "the name is another name (CNAME) of one without a record of type A or AAAA".into()
        }
        (NoAddress { .. } | Other, NoAddress { .. } | Other) => {
            "the name exists, and has no record of type A or AAAA".into()
        }
    }
}

fn ask(server: IpAddr, name: &str, family: IpFamily) -> Result<NameAnswer, String> {
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
    let name = name.trim_end_matches('.');
    socket
        .send(&lookup::question(id, name, family))
        .map_err(failed)?;
    let (end, mut packet) = (Instant::now() + PATIENCE, [0; LONGEST]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        socket.set_read_timeout(Some(left)).map_err(failed)?;
        let count = socket.recv(&mut packet).map_err(failed)?;
        match lookup::answer(packet.get(..count).unwrap_or_default(), id, name, family) {
            NameAnswer::Other => {}
            answer => return Ok(answer),
        }
    }
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
    fn settings_name_their_file() {
        let found = named_lines("/a", b"# x\n\nnameserver 192.0.2.1\n");
        assert_eq!(found, "/a:# x\n/a:\n/a:nameserver 192.0.2.1\n");
    }

    #[test]
    fn alias_of_a_name_without_an_address_is_no_address() {
        let mut packet = lookup::question(7, "a.example", IpFamily::V4);
        (packet[2], packet[3], packet[7]) = (0x81, 0x80, 1);
        packet.extend(*b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0e");
        let alias = lookup::answer(&packet, 7, "a.example", IpFamily::V4);
        let none = NameAnswer::NoAddress { is_alias: false };
        for text in [meaning(&alias, &none), meaning(&none, &alias)] {
            assert!(text.contains("CNAME"), "{text}");
        }
        for (other, expect) in [
            (NameAnswer::Addresses(vec![]), "it knows an address"),
            (NameAnswer::Failed(2), "SERVFAIL"),
            (NameAnswer::NoSuchName, "NXDOMAIN"),
            (NameAnswer::Truncated, "too long"),
            (none, "CNAME"),
        ] {
            let text = meaning(&alias, &other);
            assert!(text.contains(expect), "{other:?}: {text}");
        }
    }
}
