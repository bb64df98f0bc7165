//! Head of the chain: the daemon's root-only copy of the newest record's number and hash, next to the audit log.

use sha2::{Digest, Sha256};

use crate::Hash;

/// A record by its number and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// 0 if there was never a record.
    pub seq: u64,
    pub hash: Hash,
}

impl Link {
    pub const NONE: Self = Self {
        seq: 0,
        hash: [0; 32],
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Boot that wrote it (`/proc/sys/kernel/random/boot_id`).
    pub boot: [u8; 16],
    /// Newest record, which the next one refers to.
    pub newest: Link,
    pub pending: Option<Link>,
    /// First of the records up to `newest` that may never have been written; 0 if all were.
    pub doubt: u64,
    /// The next record skips numbers and names the last one before them.
    pub skips: bool,
    /// Upper bound of all numbers ever used, including those of records lost in a machine crash.
    pub reserved: u64,
    pub synced: u64,
    pub is_stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    Unknown,
    Damaged,
}

impl std::fmt::Display for BadHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "not a head of an audit chain known to this version",
            Self::Damaged => "the head of the audit chain is damaged",
        })
    }
}

impl std::error::Error for BadHead {}

const VERSION: &[u8; 20] = b"remit audit head 02\n";
const BODY: usize = VERSION.len() + 16 + 40 + 40 + 8 + 8 + 8 + 1;

impl Head {
    pub const SIZE: usize = BODY + 32;

    #[must_use]
    pub const fn new(boot: [u8; 16]) -> Self {
        Self {
            boot,
            newest: Link::NONE,
            pending: None,
            doubt: 0,
            skips: false,
            reserved: 0,
            synced: 0,
            is_stopped: true,
        }
    }

    /// Returns the newest record if it is surely in the audit log.
    #[must_use]
    pub fn expected(&self) -> Option<Link> {
        (self.doubt == 0).then_some(self.newest)
    }

    #[must_use]
    pub fn bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let pending = self.pending.unwrap_or(Link::NONE);
        let flags = u8::from(self.skips) | u8::from(self.is_stopped) << 1;
        let mut rest = bytes.as_mut_slice();
        let mut put = |part: &[u8]| {
            let (target, after) = std::mem::take(&mut rest).split_at_mut(part.len());
            target.copy_from_slice(part);
            rest = after;
        };
        put(VERSION);
        put(&self.boot);
        for link in [self.newest, pending] {
            put(&link.seq.to_le_bytes());
            put(&link.hash);
        }
        for number in [self.doubt, self.reserved, self.synced] {
            put(&number.to_le_bytes());
        }
        put(&[flags]);
        let (body, sum) = bytes.split_at_mut(BODY);
        sum.copy_from_slice(&Sha256::digest(body));
        bytes
    }

    /// Parses a file. Fails with [`BadHead`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadHead> {
        let mut rest = bytes;
        if take::<20>(&mut rest) != Some(*VERSION) || bytes.len() != Self::SIZE {
            return Err(BadHead::Unknown);
        }
        let (body, sum) = bytes.split_at_checked(BODY).ok_or(BadHead::Unknown)?;
        if Sha256::digest(body).as_slice() != sum {
            return Err(BadHead::Damaged);
        }
        (|| {
            let boot = take(&mut rest)?;
            let newest = link(&mut rest)?;
            let pending = link(&mut rest)?;
            let mut number = || take(&mut rest).map(u64::from_le_bytes);
            let (doubt, reserved, synced) = (number()?, number()?, number()?);
            let [flags] = take(&mut rest)?;
            Some(Self {
                boot,
                newest,
                pending: (pending.seq > 0).then_some(pending),
                doubt,
                skips: flags & 1 != 0,
                reserved,
                synced,
                is_stopped: flags & 2 != 0,
            })
        })()
        .ok_or(BadHead::Damaged)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn link(rest: &mut &[u8]) -> Option<Link> {
    let seq = u64::from_le_bytes(take(rest)?);
    let hash = take(rest)?;
    Some(Link { seq, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_head_is_parsed() {
        let link = |seq| Link {
            seq,
            hash: [seq as u8; 32],
        };
        let head = Head {
            newest: link(7),
            pending: Some(link(8)),
            doubt: 5,
            skips: true,
            reserved: 1 << 40,
            synced: 3,
            is_stopped: false,
            ..Head::new([9; 16])
        };
        for head in [head, Head::new([1; 16])] {
            let bytes = head.bytes();
            assert_eq!(Head::parse(&bytes), Ok(head));
            for at in 0..bytes.len() {
                let mut odd = bytes;
                odd[at] ^= 4;
                assert!(Head::parse(&odd).is_err(), "{at}");
                assert!(Head::parse(&bytes[..at]).is_err(), "{at}");
            }
        }
        assert_eq!(head.expected(), None);
    }
}
