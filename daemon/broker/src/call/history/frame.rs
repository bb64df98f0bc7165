//! Format of an entry in a file: its length, a checksum, the entry.

use remit_link::HistoryRecord;
use sha2::{Digest, Sha256};

pub const BEGIN: &[u8; 16] = b"remit history 1\n";
const HEAD: usize = 2 + 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEnd {
    Whole,
    /// Offset of an entry that a killed broker or a machine crash left unfinished.
    Half(usize),
    /// Offset of content that no broker wrote.
    Damaged(usize),
}

pub fn encode(record: &HistoryRecord) -> Option<Vec<u8>> {
    let body = postcard::to_extend(record, Vec::with_capacity(256)).ok()?;
    let length = u16::try_from(body.len()).ok()?;
    if body.len() > HistoryRecord::MOST {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(checksum(&body));
    bytes.extend(body);
    Some(bytes)
}

pub fn walk(file: &[u8], mut each: impl FnMut(HistoryRecord)) -> FileEnd {
    let Some(mut rest) = file.strip_prefix(BEGIN) else {
        return match BEGIN.starts_with(file) || is_zero(file) {
            true => FileEnd::Half(0),
            false => FileEnd::Damaged(0),
        };
    };
    loop {
        if rest.is_empty() {
            return FileEnd::Whole;
        }
        match first(rest) {
            First::Entry(record, after) => {
                each(record);
                rest = after;
            }
            First::Half => return FileEnd::Half(file.len() - rest.len()),
            First::Damaged => return FileEnd::Damaged(file.len() - rest.len()),
        }
    }
}

enum First<'a> {
    Entry(HistoryRecord, &'a [u8]),
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
    if length == 0 || length > HistoryRecord::MOST {
        return First::Damaged;
    }
    let Some((body, after)) = rest.split_at_checked(length) else {
        return First::Half;
    };
    match (checksum(body) == sum).then(|| postcard::from_bytes(body)) {
        Some(Ok(record)) => First::Entry(record, after),
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
    use remit_common::names::JobId;
    use remit_wire::Kind;

    use super::*;

    pub fn record(seq: u64, uid: u32, user: &str) -> HistoryRecord {
        HistoryRecord {
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
        let entries = (1..=count).filter_map(|seq| encode(&record(seq, 1, "a")));
        [BEGIN.to_vec(), entries.flatten().collect()].concat()
    }

    fn walked(bytes: &[u8]) -> (u64, FileEnd) {
        let mut count = 0;
        let end = walk(bytes, |record| {
            count += 1;
            assert_eq!(record.seq, count, "in order, none left out");
        });
        (count, end)
    }

    #[test]
    fn cut_at_any_byte_leaves_whole_entries() {
        let whole = file(3);
        assert_eq!(walked(&whole), (3, FileEnd::Whole));
        for cut in 0..whole.len() {
            let (count, end) = walked(&whole[..cut]);
            assert!(count < 3);
            match end {
                FileEnd::Whole => assert_eq!(cut, file(count).len()),
                FileEnd::Half(0) => assert!(cut < BEGIN.len()),
                FileEnd::Half(at) => assert_eq!(at, file(count).len()),
                FileEnd::Damaged(_) => panic!("cut at {cut}"),
            }
        }
        let zeros = [whole.clone(), vec![0; 5000]].concat();
        assert_eq!(walked(&zeros), (3, FileEnd::Half(whole.len())));
    }

    #[test]
    fn a_flipped_byte_is_never_an_entry() {
        let whole = file(3);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            let (count, end) = walked(&bytes);
            assert!(count < 3 && end != FileEnd::Whole, "{at}");
        }
    }

    #[test]
    fn what_is_too_long_is_no_entry() {
        let long = HistoryRecord {
            user: "u".repeat(HistoryRecord::MOST),
            ..record(1, 1, "a")
        };
        assert_eq!(encode(&long), None);
    }
}
