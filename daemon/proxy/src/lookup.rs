//! Reads what leads from a name to addresses: `/etc/resolv.conf`, answers of name servers (RFC 1035). Which
//! address may be connected to is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses of one name, of each family.
pub const MOST: usize = 16;
const SERVERS: usize = 3;
/// The longest answer without an extension that asks for more.
pub const LONGEST: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamily {
    V4,
    V6,
}

impl IpFamily {
    pub const ALL: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

    fn number(self) -> u16 {
        match self {
            IpFamily::V4 => 1,
            IpFamily::V6 => 28,
        }
    }
}

/// Returns up to 3 name servers of the text of `/etc/resolv.conf`. Without one it is this machine, as resolver(5) says.
/// Fails if it names some and none of them is an address without an interface: another server would be asked than the file says.
pub fn servers(text: &str) -> Result<Vec<SocketAddr>, String> {
    let named: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next().filter(|word| *word == "nameserver")?;
            words.next()
        })
        .collect();
    let server = |ip: &&str| Some(SocketAddr::new(ip.parse().ok()?, 53));
    let found: Vec<SocketAddr> = named.iter().filter_map(server).take(SERVERS).collect();
    match (named.first(), found.is_empty()) {
        (_, false) => Ok(found),
        (None, true) => Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]),
        (Some(_), true) => {
            Err("/etc/resolv.conf names no name server by an address without an interface".into())
        }
    }
}

/// Writes the question for the addresses of `name`.
pub fn question(id: u16, name: &str, family: IpFamily) -> Vec<u8> {
    const RECURSION_DESIRED: u16 = 0x0100;
    let mut bytes = Vec::with_capacity(name.len() + 18);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(label.len().min(63) as u8);
        bytes.extend(label.bytes().take(63));
    }
    bytes.push(0);
    for word in [family.number(), 1] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

#[derive(Debug, PartialEq, Eq)]
pub enum NameAnswer {
    /// Not the answer to this question: it is ignored.
    Other,
    Addresses(Vec<IpAddr>),
    NoSuchName,
    /// The name, or the one it is another name of (CNAME), has no address of the family.
    NoAddress {
        is_alias: bool,
    },
    /// The server cannot answer, by its response code.
    Failed(u8),
    /// What fits in a datagram has no address: RFC 1035 section 4.1.1, TC.
    Truncated,
}

/// Reads `bytes` as the answer to [`question`] with the same arguments.
pub fn answer(bytes: &[u8], id: u16, name: &str, family: IpFamily) -> NameAnswer {
    const NO_SUCH_NAME: u8 = 3;
    const CNAME: u16 = 5;
    let question = question(id, name, family);
    let (Some((head, rest)), Some((_, asked))) = (
        bytes.split_first_chunk::<12>(),
        question.split_at_checked(12),
    ) else {
        return NameAnswer::Other;
    };
    let [
        id_high,
        id_low,
        flags,
        code,
        _,
        one,
        count_high,
        count_low,
        ..,
    ] = *head;
    let (is_response, is_truncated) = (flags & 0xf8 == 0x80, flags & 0x02 != 0);
    let repeated = rest.get(..asked.len());
    let is_same = repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(asked));
    if u16::from_be_bytes([id_high, id_low]) != id || !is_response || one != 1 || !is_same {
        return NameAnswer::Other;
    }
    let code = code & 0xf;
    if code == NO_SUCH_NAME {
        return NameAnswer::NoSuchName;
    }
    if code != 0 {
        return NameAnswer::Failed(code);
    }
    let mut rest = rest.get(asked.len()..).unwrap_or_default();
    let (mut found, mut is_alias) = (Vec::new(), false);
    for _ in 0..u16::from_be_bytes([count_high, count_low]) {
        let Some((record, after)) = record(rest) else {
            break;
        };
        rest = after;
        is_alias |= (record.kind, record.class) == (CNAME, 1);
        found.extend(record.address(family));
        if found.len() == MOST {
            break;
        }
    }
    match found.is_empty() {
        false => NameAnswer::Addresses(found),
        true if is_truncated => NameAnswer::Truncated,
        true => NameAnswer::NoAddress { is_alias },
    }
}

struct NameRecord<'a> {
    kind: u16,
    class: u16,
    data: &'a [u8],
}

impl NameRecord<'_> {
    fn address(&self, family: IpFamily) -> Option<IpAddr> {
        if (self.kind, self.class) != (family.number(), 1) {
            return None;
        }
        Some(match family {
            IpFamily::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(self.data).ok()?).into(),
            IpFamily::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(self.data).ok()?).into(),
        })
    }
}

fn record(bytes: &[u8]) -> Option<(NameRecord<'_>, &[u8])> {
    let (head, rest) = after_name(bytes)?.split_first_chunk::<10>()?;
    let [
        kind_high,
        kind_low,
        class_high,
        class_low,
        _,
        _,
        _,
        _,
        high,
        low,
    ] = *head;
    let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    let record = NameRecord {
        kind: u16::from_be_bytes([kind_high, kind_low]),
        class: u16::from_be_bytes([class_high, class_low]),
        data,
    };
    Some((record, rest))
}

/// Skips a name. Nobody needs to know whose a record is: the server answers one question, with the names that it leads to.
fn after_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first()?;
        bytes = match length {
            0 => return Some(rest),
            1..=63 => rest.get(usize::from(*length)..)?,
            192..=255 => return rest.get(1..),
            64..=191 => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(all: &[&str]) -> Vec<IpAddr> {
        all.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn resolver_file_is_read() {
        for (text, expect) in [
            (
                "search x\nnameserver 192.0.2.53\nnameserver ::1 # x\nnameserver fe80::1%eth0\n",
                Some(&["192.0.2.53:53", "[::1]:53"][..]),
            ),
            (
                "nameserver fe80::1%eth0\nnameserver 192.0.2.53",
                Some(&["192.0.2.53:53"]),
            ),
            ("", Some(&["127.0.0.1:53"])),
            ("options edns0", Some(&["127.0.0.1:53"])),
            ("nameserver", Some(&["127.0.0.1:53"])),
            ("nameserver fe80::1%eth0", None),
            (
                "nameserver fe80::1%eth0\nnameserver resolver.example.org\n",
                None,
            ),
        ] {
            let found = servers(text).ok();
            let found: Option<Vec<String>> =
                found.map(|all| all.iter().map(ToString::to_string).collect());
            let expect = expect.map(|all| all.iter().map(ToString::to_string).collect());
            assert_eq!(found, expect, "{text}");
        }
        let why = servers("nameserver fe80::1%eth0").unwrap_err();
        assert!(
            why.starts_with("/etc/resolv.conf names no name server"),
            "{why}"
        );
    }

    /// As a server writes it: the question, an alias, and records that point to names by offsets.
    fn reply(id: u16, name: &str, family: IpFamily, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question(id, name, family);
        bytes[2] = 0x81;
        bytes[3] = 0x80;
        bytes[7] = records.len() as u8;
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn answer_has_the_addresses_of_the_question() {
        let name = "deb.example.org";
        let alias = [3, b'c', b'd', b'n', 0xc0, 16];
        let records: &[(u16, &[u8])] =
            &[(5, &alias), (1, &[192, 0, 2, 1]), (28, &[0; 16]), (1, &[1])];
        let bytes = reply(7, name, IpFamily::V4, records);
        let expect = NameAnswer::Addresses(ips(&["192.0.2.1"]));
        assert_eq!(answer(&bytes, 7, name, IpFamily::V4), expect);
        // What is cut keeps what was whole.
        assert_eq!(
            answer(&bytes[..bytes.len() - 20], 7, name, IpFamily::V4),
            expect
        );
        let six = reply(8, name, IpFamily::V6, &[(28, &[0x20; 16])]);
        let expect = NameAnswer::Addresses(ips(&["2020:2020:2020:2020:2020:2020:2020:2020"]));
        assert_eq!(answer(&six, 8, name, IpFamily::V6), expect);
        let many: Vec<(u16, &[u8])> = vec![(1, &[192, 0, 2, 1]); 100];
        let NameAnswer::Addresses(found) =
            answer(&reply(9, name, IpFamily::V4, &many), 9, name, IpFamily::V4)
        else {
            panic!("no addresses");
        };
        assert_eq!(found.len(), MOST);
    }

    #[test]
    fn answers_to_other_questions_are_ignored() {
        let name = "deb.example.org";
        let bytes = reply(7, name, IpFamily::V4, &[(1, &[192, 0, 2, 1])]);
        for (id, name, family) in [
            (8, name, IpFamily::V4),
            (7, "deb.example.net", IpFamily::V4),
            (7, name, IpFamily::V6),
        ] {
            assert_eq!(answer(&bytes, id, name, family), NameAnswer::Other);
        }
        let mut question = bytes.clone();
        question[2] = 0x01;
        assert_eq!(answer(&question, 7, name, IpFamily::V4), NameAnswer::Other);
        assert_eq!(answer(&[], 7, name, IpFamily::V4), NameAnswer::Other);
        let mut failed = bytes.clone();
        failed[3] = 0x82;
        assert_eq!(
            answer(&failed, 7, name, IpFamily::V4),
            NameAnswer::Failed(2)
        );
        failed[3] = 0x83;
        assert_eq!(
            answer(&failed, 7, name, IpFamily::V4),
            NameAnswer::NoSuchName
        );
    }

    #[test]
    fn answer_without_an_address_says_why() {
        let name = "deb.example.org";
        let read = |bytes: &[u8]| answer(bytes, 7, name, IpFamily::V4);
        let of = |records: &[(u16, &[u8])]| reply(7, name, IpFamily::V4, records);
        let (mut none, mut alias) = (of(&[]), of(&[(5, &[3, b'c', b'd', b'n', 0xc0, 16])]));
        let mut whole = of(&[(1, &[192, 0, 2, 1])]);
        assert_eq!(read(&none), NameAnswer::NoAddress { is_alias: false });
        assert_eq!(read(&alias), NameAnswer::NoAddress { is_alias: true });
        for bytes in [&mut none, &mut alias, &mut whole] {
            bytes[2] |= 0x02;
        }
        assert_eq!(read(&none), NameAnswer::Truncated);
        assert_eq!(read(&alias), NameAnswer::Truncated);
        assert_eq!(read(&whole), NameAnswer::Addresses(ips(&["192.0.2.1"])));
    }
}
