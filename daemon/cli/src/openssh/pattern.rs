//! Matches sshd's patterns (ssh_config(5), PATTERNS; sshd_config(5), Match), and makes values for `sshd -T -C …`. Pure.

use std::net::IpAddr;
use std::{fmt, iter};

use remit_openssh::matches;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternKind {
    /// A pattern may be a network, `10.0.0.0/8`.
    Address,
    /// Case is ignored.
    Host,
    Number,
    Name,
}

/// Returns true if a value matches one pattern of a list and none that starts with `!`.
pub fn fits(kind: PatternKind, list: &str, value: &str) -> bool {
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

fn fits_one(kind: PatternKind, pattern: &str, value: &str) -> bool {
    match kind {
        PatternKind::Address if pattern.contains('/') => {
            network(pattern).is_some_and(|(net, bits)| {
                let addr = value.parse().ok();
                addr.is_some_and(|addr| is_in(addr, net, bits))
            })
        }
        PatternKind::Address | PatternKind::Host => {
            matches(&pattern.to_ascii_lowercase(), &value.to_ascii_lowercase())
        }
        PatternKind::Number | PatternKind::Name => matches(pattern, value),
    }
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

/// Returns true if every connection has a value that the list is known to match.
pub fn fits_all(kind: PatternKind, list: &str) -> bool {
    let has = |is_it: &dyn Fn(&str) -> bool| list.split(',').any(is_it);
    let has_all = |is_v4| {
        has(&|one| network(one).is_some_and(|(net, bits)| bits == 0 && net.is_ipv4() == is_v4))
    };
    let is_any = match kind {
        PatternKind::Address => has(&|one| one == "*") || has_all(true) && has_all(false),
        PatternKind::Host | PatternKind::Number => has(&|one| one == "*"),
        // A connection may have no routing domain.
        PatternKind::Name => false,
    };
    is_any && !has(&|one| one.starts_with('!'))
}

pub fn samples(kind: PatternKind, list: &str) -> impl Iterator<Item = String> {
    let patterns = list.split(',').filter(|pattern| !pattern.starts_with('!'));
    patterns
        .flat_map(move |pattern| of_pattern(kind, pattern))
        .chain(common(kind))
}

pub fn others(kind: PatternKind, list: &str) -> impl Iterator<Item = String> {
    let patterns = list
        .split(',')
        .filter_map(|pattern| pattern.strip_prefix('!'));
    patterns
        .flat_map(move |pattern| of_pattern(kind, pattern))
        .chain(common(kind))
}

fn common(kind: PatternKind) -> impl Iterator<Item = String> {
    let all: &[&str] = match kind {
        PatternKind::Address => &[
            "192.0.2.1",
            "198.51.100.7",
            "127.0.0.1",
            "10.1.2.3",
            "2001:db8::7",
            "::1",
        ],
        PatternKind::Host => &["192.0.2.1", "remit.invalid", "localhost"],
        PatternKind::Number => &["22", "2222", "65022"],
        PatternKind::Name => &["remit"],
    };
    all.iter().map(|text| (*text).to_owned())
}

fn of_pattern(kind: PatternKind, pattern: &str) -> Vec<String> {
    match (kind, network(pattern)) {
        (PatternKind::Address, Some((net, _))) => {
            // The second one is in the network too, unless the network has one address.
            let next = match net {
                IpAddr::V4(net) => IpAddr::V4((net.to_bits() | 1).into()),
                IpAddr::V6(net) => IpAddr::V6((net.to_bits() | 1).into()),
            };
            vec![next.to_string(), net.to_string()]
        }
        (PatternKind::Address, None) => {
            let stars = ["1", "1.1", "1.1.1", "1.1.1.1", "::1", ":1"];
            let written = stars.map(|star| pattern.replace('*', star).replace('?', "1"));
            let good = |text: &String| text.parse::<IpAddr>().is_ok();
            written.into_iter().filter(good).collect()
        }
        (PatternKind::Number, _) => vec![pattern.replace(['*', '?'], "2")],
        (_, _) => iter::once(pattern.replace(['*', '?'], "x")).collect(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    host: String,
    addr: String,
    laddr: String,
    lport: String,
    rdomain: Option<String>,
}

impl Default for Connection {
    /// TEST-NET-1 (RFC 5737) is nobody's, so no `Match Address` for trusted hosts applies. `Match LocalPort` needs a port.
    fn default() -> Self {
        Self {
            host: "192.0.2.1".into(),
            addr: "192.0.2.1".into(),
            laddr: "192.0.2.2".into(),
            lport: "22".into(),
            rdomain: None,
        }
    }
}

impl Connection {
    pub fn kind(criterion: &str) -> PatternKind {
        match criterion {
            "address" | "localaddress" => PatternKind::Address,
            "localport" => PatternKind::Number,
            "host" => PatternKind::Host,
            _ => PatternKind::Name,
        }
    }

    /// Returns this criterion's value in lower case. `None` if sshd cannot be queried by it.
    pub fn value(&self, criterion: &str) -> Option<&str> {
        match criterion {
            "host" => Some(&self.host),
            "address" => Some(&self.addr),
            "localaddress" => Some(&self.laddr),
            "localport" => Some(&self.lport),
            "rdomain" => Some(self.rdomain.as_deref().unwrap_or_default()),
            _ => None,
        }
    }

    /// Sets a criterion's value. `None` if sshd cannot be queried by it or could misread the value.
    pub fn set(&mut self, criterion: &str, value: String) -> Option<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".:-_%".contains(c);
        if value.is_empty() || !value.chars().all(plain) {
            return None;
        }
        match criterion {
            "host" => self.host = value,
            "address" => self.addr = value,
            "localaddress" => self.laddr = value,
            "localport" => self.lport = value,
            "rdomain" => self.rdomain = Some(value),
            _ => return None,
        }
        Some(())
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            addr,
            laddr,
            lport,
            rdomain,
        } = self;
        write!(f, "host={host},addr={addr},laddr={laddr},lport={lport}")?;
        match rdomain {
            Some(rdomain) => write!(f, ",rdomain={rdomain}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_lists_are_those_of_sshd() {
        use PatternKind::{Address, Host, Name, Number};
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
        assert!(!matches(&many, &"a".repeat(199)) && matches(&many, &"a".repeat(200)));
    }

    #[test]
    fn lists_that_every_connection_fits() {
        use PatternKind::{Address, Host, Name, Number};
        for (kind, list, expect) in [
            (Address, "*", true),
            (Address, "10.0.0.0/8,*", true),
            (Address, "0.0.0.0/0,::/0", true),
            (Address, "0.0.0.0/0", false),
            (Address, "::/0,10.*", false),
            (Address, "*,!10.0.0.0/8", false),
            (Address, "192.168.*", false),
            (Host, "*", true),
            (Host, "*.example.org", false),
            (Host, "*,!bad", false),
            (Number, "*", true),
            (Number, "22", false),
            (Name, "*", false),
        ] {
            assert_eq!(fits_all(kind, list), expect, "{kind:?} {list}");
        }
    }

    #[test]
    fn c05_a_sample_fits_its_pattern() {
        for (kind, list) in [
            (PatternKind::Address, "127.0.0.0/8"),
            (PatternKind::Address, "10.0.0.7/32"),
            (PatternKind::Address, "192.168.*"),
            (PatternKind::Address, "192.168.1.?"),
            (PatternKind::Address, "fe80:*"),
            (PatternKind::Address, "fe80::/10,!fe80::1"),
            (PatternKind::Address, "*,!192.0.2.0/24"),
            (PatternKind::Host, "*.example.org"),
            (PatternKind::Number, "2222"),
            (PatternKind::Name, "vrf-*"),
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
