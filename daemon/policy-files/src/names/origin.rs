//! Classifies the addresses of a host name: those of `/etc/hosts`, those of this machine, others.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use remit_common::hosts_file;
use remit_policy::{AddressOrigin, HostAddress};

/// Maximum number of bytes that are read of `/etc/hosts`. Lists that block advertisements have a few million.
const MOST: u64 = 16 << 20;

/// Returns the addresses sorted, each once, in their canonical form.
pub(super) fn classify(host: &str, found: Vec<IpAddr>) -> Vec<HostAddress> {
    let mut addresses: Vec<IpAddr> = found.iter().map(IpAddr::to_canonical).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let listed = hosts_file::addresses(&text_of_hosts_file(), host);
    let origin = |ip: IpAddr| match ip {
        _ if listed.contains(&ip) => AddressOrigin::HostsFile,
        _ if is_of_this_machine(ip) => AddressOrigin::ThisMachine,
        _ => AddressOrigin::Other,
    };
    addresses
        .into_iter()
        .map(|ip| HostAddress {
            ip,
            origin: origin(ip),
        })
        .collect()
}

/// Returns an empty text if the file cannot be read: then it lists no address.
fn text_of_hosts_file() -> String {
    let mut bytes = Vec::new();
    let read = File::open("/etc/hosts").and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// Asks the kernel for the source address towards `ip`: towards an address of its own it is that address (RFC 1122, 3.3.1.1).
/// Connecting a UDP socket sends nothing.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_hosts_file_then_this_machine() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let found = ["192.0.2.9", "127.0.0.1", "::ffff:127.0.0.1", "::"].map(ip);
        let classified = classify("no-such-host.example", found.to_vec());
        let origins: Vec<_> = classified.iter().map(|one| (one.ip, one.origin)).collect();
        let expect = [
            (ip("127.0.0.1"), AddressOrigin::ThisMachine),
            (ip("192.0.2.9"), AddressOrigin::Other),
            (ip("::"), AddressOrigin::Other),
        ];
        assert_eq!(origins, expect);
        // Each line of the machine's own file.
        let text = text_of_hosts_file();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (listed, name) in lines.filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some((words.next()?.parse::<IpAddr>().ok()?, words.next()?))
        }) {
            let classified = classify(&name.to_lowercase(), vec![listed]);
            assert_eq!(classified[0].origin, AddressOrigin::HostsFile, "{name}");
        }
    }
}
