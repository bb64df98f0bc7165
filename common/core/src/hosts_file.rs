//! Reads `/etc/hosts`, the table of names that only root writes.

use std::net::IpAddr;

/// Maximum number of addresses of one name.
const ADDRESSES: usize = 16;

/// Returns the addresses that the text of `/etc/hosts` has for `name`, which is in lower case.
pub fn addresses(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| match line.split_once('#') {
        Some((line, _)) => line,
        None => line,
    });
    let found = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let ip = words.next()?.parse().ok()?;
        words
            .any(|word| word.eq_ignore_ascii_case(name))
            .then_some(ip)
    });
    found.take(ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_a_name_is_found() {
        let hosts = "# a comment\n127.0.0.1 localhost\n192.0.2.1\tmirror.example.org M # x\n\n\
                     2001:db8::1 Mirror.Example.ORG\nnonsense mirror.example.org\n192.0.2.3 x # mirror.example.org\n";
        let expect = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(addresses(hosts, "mirror.example.org"), expect);
        assert!(addresses(hosts, "example.org").is_empty());
    }
}
