//! Classifies the addresses of a host name: those of `/etc/hosts`, and others.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

use remit_common::hosts_file;
use remit_policy::HostAddress;

/// Maximum number of bytes that are read of `/etc/hosts`. Lists that block advertisements have a few million.
const MOST: u64 = 16 << 20;

/// Returns the addresses sorted, each once, in their canonical form.
pub(super) fn classify(host: &str, found: Vec<IpAddr>) -> Vec<HostAddress> {
    let mut addresses: Vec<IpAddr> = found.iter().map(IpAddr::to_canonical).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let listed = hosts_file::addresses(&text_of_hosts_file(), host);
    addresses
        .into_iter()
        .map(|ip| HostAddress {
            ip,
            may_be_own: listed.contains(&ip),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hosts_file_alone_may_be_own() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let found = ["192.0.2.9", "127.0.0.1", "::ffff:127.0.0.1", "::"].map(ip);
        let classified = classify("no-such-host.example", found.to_vec());
        let expect = ["127.0.0.1", "192.0.2.9", "::"].map(|text| HostAddress::from(ip(text)));
        assert_eq!(classified, expect);
        // Each line of the machine's own file.
        let text = text_of_hosts_file();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (listed, name) in lines.filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some((words.next()?.parse::<IpAddr>().ok()?, words.next()?))
        }) {
            let classified = classify(&name.to_lowercase(), vec![listed]);
            assert!(classified[0].may_be_own, "{name}");
        }
    }
}
