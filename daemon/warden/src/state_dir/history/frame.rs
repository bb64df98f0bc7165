//! Format of an entry in a file: its length, a checksum, the entry.

use remit_common::names::JobId;
use remit_common::wire::Kind;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Another format has another number.
pub const BEGIN: &[u8; 16] = b"remit history 1\n";
/// Length and checksum.
const HEAD: usize = 2 + 8;
/// Bytes of an entry without its head.
pub const MOST: usize = 2048;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Number of its audit record.
    pub seq: u64,
    pub at_ms: u64,
    pub kind: Kind,
    /// Number and name, because the uid of a removed account can be reused.
    pub uid: u32,
    pub user: String,
    pub job: Option<JobId>,
    pub command: Option<String>,
    pub verdict: String,
    pub cause: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// Offset of an entry that a killed daemon or a machine crash left unfinished.
    Half(usize),
    /// Offset of content that the daemon did not write.
    Damaged(usize),
}

pub fn encode(kept: &Kept) -> Option<Vec<u8>> {
    let body = postcard::to_extend(kept, Vec::with_capacity(256)).ok()?;
    let length = u16::try_from(body.len()).ok()?;
    if body.len() > MOST {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(checksum(&body));
    bytes.extend(body);
    Some(bytes)
}

/// Passes each entry to `each`, oldest first.
pub fn walk(file: &[u8], mut each: impl FnMut(Kept)) -> End {
    let Some(mut rest) = file.strip_prefix(BEGIN) else {
        // The beginning itself is unfinished.
        return match BEGIN.starts_with(file) || is_zero(file) {
            true => End::Half(0),
            false => End::Damaged(0),
        };
    };
    loop {
        if rest.is_empty() {
            return End::Whole;
        }
        match first(rest) {
            First::Entry(kept, after) => {
                each(kept);
                rest = after;
            }
            First::Half => return End::Half(file.len() - rest.len()),
            First::Damaged => return End::Damaged(file.len() - rest.len()),
        }
    }
}

enum First<'a> {
    Entry(Kept, &'a [u8]),
    Half,
    Damaged,
}

fn first(bytes: &[u8]) -> First<'_> {
    // Bytes that were allocated and not written are zeros after a power cut.
    if is_zero(bytes) {
        return First::Half;
    }
    let Some((length, sum, rest)) = head(bytes) else {
        return First::Half;
    };
    if length == 0 || length > MOST {
        return First::Damaged;
    }
    let Some((body, after)) = rest.split_at_checked(length) else {
        return First::Half;
    };
    match (checksum(body) == sum).then(|| postcard::from_bytes(body)) {
        Some(Ok(kept)) => First::Entry(kept, after),
        Some(Err(_)) | None => First::Damaged,
    }
}

fn head(bytes: &[u8]) -> Option<(usize, [u8; 8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    Some((u16::from_le_bytes(*length).into(), *sum, rest))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let hash = Sha256::digest(body);
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn kept(seq: u64, uid: u32, user: &str) -> Kept {
        Kept {
            seq,
            at_ms: seq * 1000,
            kind: Kind::Started,
            uid,
            user: user.to_owned(),
            job: Some(JobId([7; 16])),
            command: Some(format!("command {seq}")),
            verdict: "allow".to_owned(),
            cause: None,
        }
    }

    fn file(count: u64) -> Vec<u8> {
        let entries = (1..=count).filter_map(|seq| encode(&kept(seq, 1, "a")));
        [BEGIN.to_vec(), entries.flatten().collect()].concat()
    }

    fn walked(bytes: &[u8]) -> (u64, End) {
        let mut count = 0;
        let end = walk(bytes, |kept| {
            count += 1;
            assert_eq!(kept.seq, count, "in order, none left out");
        });
        (count, end)
    }

    #[test]
    fn cut_at_any_byte_leaves_whole_entries() {
        let whole = file(3);
        assert_eq!(walked(&whole), (3, End::Whole));
        for cut in 0..whole.len() {
            let (count, end) = walked(&whole[..cut]);
            assert!(count < 3);
            match end {
                End::Whole => assert_eq!(cut, file(count).len()),
                End::Half(0) => assert!(cut < BEGIN.len()),
                End::Half(at) => assert_eq!(at, file(count).len()),
                End::Damaged(_) => panic!("cut at {cut}"),
            }
        }
        let zeros = [whole.clone(), vec![0; 5000]].concat();
        assert_eq!(walked(&zeros), (3, End::Half(whole.len())));
    }

    #[test]
    fn a_flipped_byte_is_never_an_entry() {
        let whole = file(3);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            let (count, end) = walked(&bytes);
            assert!(count < 3 && end != End::Whole, "{at}");
        }
    }

    #[test]
    fn what_is_too_long_is_no_entry() {
        let long = Kept {
            user: "u".repeat(MOST),
            ..kept(1, 1, "a")
        };
        assert_eq!(encode(&long), None);
    }
}
