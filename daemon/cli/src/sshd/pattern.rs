//! Patterns of sshd (ssh_config(5), PATTERNS; sshd_config(5), Match), and values that fit them. Pure.

use std::iter;
use std::net::IpAddr;

/// What a list of patterns is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses; a pattern may be a network, `10.0.0.0/8`.
    Address,
    /// Host names, whatever their case.
    Host,
    /// A port.
    Number,
    /// Anything else.
    Name,
}

/// Whether a value fits a list: one of its patterns, and none of those that begin with `!`.
pub fn fits(kind: Kind, list: &str, value: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if fits_one(kind, not, value) => return false,
            Some(_) => {}
            None => found |= fits_one(kind, pattern, value),
        }
    }
    found
}

fn fits_one(kind: Kind, pattern: &str, value: &str) -> bool {
    match kind {
        Kind::Address if pattern.contains('/') => network(pattern).is_some_and(|(net, bits)| {
            let addr = value.parse().ok();
            addr.is_some_and(|addr| is_in(addr, net, bits))
        }),
        Kind::Address | Kind::Host => {
            glob(&pattern.to_ascii_lowercase(), &value.to_ascii_lowercase())
        }
        Kind::Number | Kind::Name => glob(pattern, value),
    }
}

/// Whether a name fits a pattern of `*` and `?`.
pub fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where to go on if what follows the last star does not fit: linear in the product of both.
    let mut again: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                again = Some((at + 1, of));
                at += 1;
            }
            Some(c) if *c == b'?' || name.get(of) == Some(c) => (at, of) = (at + 1, of + 1),
            _ => match again {
                Some((star, from)) => {
                    again = Some((star, from + 1));
                    (at, of) = (star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern
        .get(at..)
        .unwrap_or_default()
        .iter()
        .all(|c| *c == b'*')
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (addr, bits) = text.split_once('/')?;
    Some((addr.parse().ok()?, bits.parse().ok()?))
}

fn is_in(addr: IpAddr, net: IpAddr, bits: u32) -> bool {
    let top = |value: u128, width: u32| value.checked_shr(width.saturating_sub(bits)).unwrap_or(0);
    match (addr, net) {
        (IpAddr::V4(addr), IpAddr::V4(net)) => {
            let value = |addr: std::net::Ipv4Addr| u128::from(addr.to_bits());
            top(value(addr), 32) == top(value(net), 32)
        }
        (IpAddr::V6(addr), IpAddr::V6(net)) => top(addr.to_bits(), 128) == top(net.to_bits(), 128),
        _ => false,
    }
}

/// Values that may fit a list: some for each pattern that is no exception.
pub fn samples(kind: Kind, list: &str) -> impl Iterator<Item = String> {
    let patterns = list.split(',').filter(|pattern| !pattern.starts_with('!'));
    patterns
        .flat_map(move |pattern| of_pattern(kind, pattern))
        .chain(common(kind))
}

/// Values that may not: those of the exceptions, and others.
pub fn others(kind: Kind, list: &str) -> impl Iterator<Item = String> {
    let patterns = list
        .split(',')
        .filter_map(|pattern| pattern.strip_prefix('!'));
    patterns
        .flat_map(move |pattern| of_pattern(kind, pattern))
        .chain(common(kind))
}

fn common(kind: Kind) -> impl Iterator<Item = String> {
    let all: &[&str] = match kind {
        Kind::Address => &[
            "192.0.2.1",
            "198.51.100.7",
            "127.0.0.1",
            "10.1.2.3",
            "2001:db8::7",
            "::1",
        ],
        Kind::Host => &["192.0.2.1", "remit.invalid", "localhost"],
        Kind::Number => &["22", "2222", "65022"],
        Kind::Name => &["remit"],
    };
    all.iter().map(|text| (*text).to_owned())
}

fn of_pattern(kind: Kind, pattern: &str) -> Vec<String> {
    match (kind, network(pattern)) {
        (Kind::Address, Some((net, _))) => {
            // The second one lies in the network, too, unless it is of one address.
            let next = match net {
                IpAddr::V4(net) => IpAddr::V4((net.to_bits() | 1).into()),
                IpAddr::V6(net) => IpAddr::V6((net.to_bits() | 1).into()),
            };
            vec![next.to_string(), net.to_string()]
        }
        (Kind::Address, None) => {
            let stars = ["1", "1.1", "1.1.1", "1.1.1.1", "::1", ":1"];
            let written = stars.map(|star| pattern.replace('*', star).replace('?', "1"));
            let good = |text: &String| text.parse::<IpAddr>().is_ok();
            written.into_iter().filter(good).collect()
        }
        (Kind::Number, _) => vec![pattern.replace(['*', '?'], "2")],
        (_, _) => iter::once(pattern.replace(['*', '?'], "x")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_lists_are_those_of_sshd() {
        use Kind::{Address, Host, Name, Number};
        for (kind, list, value, expect) in [
            (Address, "127.0.0.0/8", "127.3.4.5", true),
            (Address, "127.0.0.0/8", "128.0.0.1", false),
            (Address, "0.0.0.0/0", "128.0.0.1", true),
            (Address, "::/0", "128.0.0.1", false),
            (Address, "2001:db8::/32", "2001:db8:1::7", true),
            (Address, "10.*,!10.0.*", "10.1.0.1", true),
            (Address, "10.*,!10.0.*", "10.0.0.1", false),
            (Address, "!10.0.0.0/8", "11.0.0.1", false),
            (Host, "*.Example.org", "a.example.ORG", true),
            (Name, "agent?", "agent7", true),
            (Name, "agent", "Agent", false),
            (Number, "22", "2222", false),
        ] {
            assert_eq!(fits(kind, list, value), expect, "{list} {value}");
        }
        let many = "*a".repeat(200);
        assert!(!glob(&many, &"a".repeat(199)) && glob(&many, &"a".repeat(200)));
    }

    #[test]
    fn c05_a_sample_fits_its_pattern() {
        for (kind, list) in [
            (Kind::Address, "127.0.0.0/8"),
            (Kind::Address, "10.0.0.7/32"),
            (Kind::Address, "192.168.*"),
            (Kind::Address, "192.168.1.?"),
            (Kind::Address, "fe80:*"),
            (Kind::Address, "fe80::/10,!fe80::1"),
            (Kind::Address, "*,!192.0.2.0/24"),
            (Kind::Host, "*.example.org"),
            (Kind::Number, "2222"),
            (Kind::Name, "vrf-*"),
        ] {
            assert!(
                samples(kind, list).any(|one| fits(kind, list, &one)),
                "{list}"
            );
            assert!(
                others(kind, list).any(|one| !fits(kind, list, &one)),
                "{list}"
            );
        }
    }
}
