//! The chain's head: what the daemon keeps of the newest record, root-only, beside the trail.

use sha2::{Digest, Sha256};

use crate::{Expected, Hash};

/// Number and hash of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number; 0 before the first record ever.
    pub seq: u64,
    /// Its hash; zeros before the first record ever.
    pub hash: Hash,
}

impl Link {
    /// Before the first record ever.
    pub const NONE: Self = Self {
        seq: 0,
        hash: [0; 32],
    };
}

/// The head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The boot in which it was written (`/proc/sys/kernel/random/boot_id`).
    pub boot: [u8; 16],
    /// The newest record, which the next one names.
    pub newest: Link,
    /// The record that is going out just now.
    pub pending: Option<Link>,
    /// From here up to `newest` they may never have been written; 0: none of them.
    pub doubt: u64,
    /// The next record skips numbers, and says behind which.
    pub skips: bool,
    /// No number above this one was ever used, not even in what the machine lost when it went down.
    pub reserved: u64,
    /// Records up to here are on the disk.
    pub synced: u64,
    /// The daemon stopped in order.
    pub is_stopped: bool,
}

/// Why a file is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// It is none, or one of another version.
    Unknown,
    /// Its checksum is not that of what it says.
    Damaged,
}

impl std::fmt::Display for BadHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it is no head of an audit chain that this version knows",
            Self::Damaged => "the head of the audit chain is damaged",
        })
    }
}

impl std::error::Error for BadHead {}

const VERSION: &[u8; 20] = b"remit audit head 02\n";
const BODY: usize = VERSION.len() + 16 + 40 + 40 + 8 + 8 + 8 + 1;
/// What a head of the version before was: a number and a hash.
const OLD: usize = 40;

impl Head {
    /// Its size in bytes.
    pub const SIZE: usize = BODY + 32;

    /// Before the first record ever.
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

    /// The newest record that is surely in the trail, where it is known.
    #[must_use]
    pub fn expected(&self) -> Option<Expected> {
        let Link { seq, hash } = self.newest;
        (self.doubt == 0).then_some(Expected { seq, hash })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let pending = self.pending.unwrap_or(Link::NONE);
        let flags = u8::from(self.skips) | u8::from(self.is_stopped) << 1;
        let mut rest = bytes.as_mut_slice();
        let mut put = |part: &[u8]| {
            let (place, after) = std::mem::take(&mut rest).split_at_mut(part.len());
            place.copy_from_slice(part);
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

    /// What a file says. One of the version before is taken over.
    ///
    /// # Errors
    /// It is no head, or a damaged one.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadHead> {
        let mut rest = bytes;
        if bytes.len() == OLD {
            let newest = link(&mut rest).ok_or(BadHead::Unknown)?;
            let reserved = newest.seq;
            return Ok(Self {
                newest,
                reserved,
                ..Self::new([0; 16])
            });
        }
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
    fn a_head_reads_back_and_no_other_bytes_are_one() {
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
                assert!(Head::parse(&bytes[..at]).is_err() || at == OLD, "{at}");
            }
        }
        assert_eq!(head.expected(), None);
        // As it was before there was a version.
        let mut old = 12_u64.to_le_bytes().to_vec();
        old.extend([3; 32]);
        let head = Head::parse(&old).unwrap();
        let hash = [3; 32];
        assert_eq!(head.expected(), Some(Expected { seq: 12, hash }));
    }
}
