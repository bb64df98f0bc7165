//! The dialogue by which a job names an address of this host: SOCKS version 5 (RFC 1928) without authentication, CONNECT
//! and addresses only. Pure. Reads exactly the dialogue's bytes: those behind it are the connection's.

use std::net::{IpAddr, SocketAddr};

pub(super) const PORT: u16 = 1080;
const VERSION: u8 = 5;
/// Greetings of known clients name three methods at most.
const METHODS: usize = 8;
const LONGEST: usize = 22;

pub(super) const NO_AUTHENTICATION: [u8; 2] = [VERSION, 0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    Connected = 0,
    Failed = 1,
    /// The address is not this host's.
    NotAllowed = 2,
    /// Whose the address is, nothing proves here.
    Unreachable = 3,
    Refused = 5,
    NoSuchCommand = 7,
    NoSuchAddressType = 8,
}

impl Reply {
    pub(super) fn bytes(self) -> [u8; 10] {
        [VERSION, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Read(usize),
    Greeted,
    Connect(SocketAddr),
    Refuse(Reply),
    NotSocks,
}

#[derive(Debug, Default)]
pub(super) struct Dialogue {
    is_greeted: bool,
    bytes: [u8; LONGEST],
    length: usize,
}

impl Dialogue {
    pub(super) fn space(&mut self, count: usize) -> &mut [u8] {
        self.bytes
            .get_mut(self.length..)
            .and_then(|free| free.get_mut(..count))
            .unwrap_or_default()
    }

    pub(super) fn add(&mut self, count: usize) {
        self.length = self.length.saturating_add(count).min(LONGEST);
    }

    pub(super) fn greeted(&mut self) {
        *self = Dialogue {
            is_greeted: true,
            ..Dialogue::default()
        };
    }

    pub(super) fn next(&self) -> Next {
        let seen = self.bytes.get(..self.length).unwrap_or_default();
        match (self.is_greeted, seen) {
            (_, [version, ..]) if *version != VERSION => Next::NotSocks,
            (false, []) => Next::Read(2),
            (false, [_]) => Next::Read(1),
            (false, [_, count, methods @ ..]) => greeting(usize::from(*count), methods),
            (true, seen) if seen.len() < 4 => Next::Read(4 - seen.len()),
            (true, [_, 1, _, 1, to @ ..]) => address::<4>(to),
            (true, [_, 1, _, 4, to @ ..]) => address::<16>(to),
            (true, [_, 1, ..]) => Next::Refuse(Reply::NoSuchAddressType),
            (true, _) => Next::Refuse(Reply::NoSuchCommand),
        }
    }
}

fn greeting(count: usize, methods: &[u8]) -> Next {
    match count.saturating_sub(methods.len()) {
        _ if count > METHODS => Next::NotSocks,
        0 if methods.contains(&0) => Next::Greeted,
        0 => Next::NotSocks,
        more => Next::Read(more),
    }
}

fn address<const N: usize>(bytes: &[u8]) -> Next
where
    IpAddr: From<[u8; N]>,
{
    let Some((ip, port)) = bytes.split_first_chunk::<N>() else {
        return Next::Read(N + 2 - bytes.len());
    };
    match port {
        [high, low] => {
            let ip = IpAddr::from(*ip).to_canonical();
            Next::Connect(SocketAddr::new(ip, u16::from_be_bytes([*high, *low])))
        }
        _ => Next::Read(2 - port.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` as far as the dialogue asks for them. Returns its last word and how many bytes it took.
    fn fed(dialogue: &mut Dialogue, bytes: &[u8]) -> (Next, usize) {
        let mut taken = 0;
        loop {
            match dialogue.next() {
                Next::Read(count) if bytes.len() >= taken + count => {
                    // Byte by byte: any split of the input leads to the same.
                    dialogue.space(1).copy_from_slice(&bytes[taken..=taken]);
                    dialogue.add(1);
                    taken += 1;
                }
                other => return (other, taken),
            }
        }
    }

    #[test]
    fn dialogue_takes_its_own_bytes_only() {
        let mut dialogue = Dialogue::default();
        assert_eq!(fed(&mut dialogue, &[5, 2, 2, 0, 9, 9]), (Next::Greeted, 4));
        dialogue.greeted();
        let v4 = [5, 1, 0, 1, 127, 0, 0, 1, 0x1f, 0x90, b'G', b'E', b'T'];
        let to = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(fed(&mut dialogue, &v4), (Next::Connect(to), 10));
        dialogue.greeted();
        let mut v6 = vec![5, 1, 0, 4];
        v6.extend(
            "2001:db8::7"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        v6.extend([1, 187, 0]);
        let to = "[2001:db8::7]:443".parse().unwrap();
        assert_eq!(fed(&mut dialogue, &v6), (Next::Connect(to), 22));
    }

    #[test]
    fn mapped_address_is_the_address() {
        let mut dialogue = Dialogue::default();
        dialogue.greeted();
        let mut mapped = vec![5, 1, 0, 4];
        mapped.extend(
            "::ffff:192.0.2.1"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        mapped.extend([0, 80]);
        let to = "192.0.2.1:80".parse().unwrap();
        assert_eq!(fed(&mut dialogue, &mapped).0, Next::Connect(to));
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1"[..],
            &[4, 1, 0, 80],
            &[5, 0],
            &[5, 1, 2],
            &[5, 255],
        ] {
            let (next, _) = fed(&mut Dialogue::default(), bytes);
            assert_eq!(next, Next::NotSocks, "{bytes:?}");
        }
        for (bytes, reply) in [
            // Listening, datagrams, and names, which nobody here looks up.
            (&[5, 2, 0, 1][..], Reply::NoSuchCommand),
            (&[5, 3, 0, 1], Reply::NoSuchCommand),
            (&[5, 1, 0, 3], Reply::NoSuchAddressType),
        ] {
            let mut dialogue = Dialogue::default();
            dialogue.greeted();
            assert_eq!(
                fed(&mut dialogue, bytes).0,
                Next::Refuse(reply),
                "{bytes:?}"
            );
        }
    }
}
