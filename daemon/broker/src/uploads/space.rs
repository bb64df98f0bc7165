//! Whether an upload fits: bounds of one user and of all, and the space of the disk. Pure.

use std::collections::HashMap;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};

use super::{KeptUpload, UploadKey};

/// Returns the whole uploads that have to go for this one: the oldest of the same user, then of all. Fails if that
/// does not suffice.
pub fn evicted(
    entries: &HashMap<UploadKey, KeptUpload>,
    key: &UploadKey,
    free: u64,
) -> Result<Vec<UploadKey>, Refusal> {
    let own_open =
        |(other, entry): &(&UploadKey, &KeptUpload)| other.uid == key.uid && entry.is_open();
    let most = caps::UPLOADS_OPEN;
    if entries.iter().filter(own_open).count() >= most {
        let text = format!("{most} uploads of this user are not finished");
        return Err(Refusal::new(Code::Busy, text).next("finish one, or wait ten minutes"));
    }
    let own = (
        Some(key.uid),
        caps::UPLOADS_PER_UID,
        caps::UPLOADS_COUNT_PER_UID,
    );
    let mut gone: Vec<UploadKey> = Vec::new();
    for (uid, most, count) in [own, (None, caps::UPLOADS, caps::UPLOADS_COUNT)] {
        let is_one = |other: &UploadKey| uid.is_none_or(|uid| other.uid == uid);
        let ones = entries
            .iter()
            .filter(|(other, _)| is_one(other) && !gone.contains(other));
        let mut ones: Vec<(&UploadKey, &KeptUpload)> = ones.collect();
        // Other users' claims count as far as their bytes are there.
        let weight = |(other, entry): &(&UploadKey, &KeptUpload)| match entry.is_open() {
            true if other.uid != key.uid => entry.received,
            _ => weight(other),
        };
        let mut used: u64 = ones.iter().map(weight).sum();
        let mut number = ones.len();
        ones.retain(|(_, entry)| !entry.is_open());
        ones.sort_by_key(|(_, entry)| entry.until);
        let mut oldest = ones.into_iter();
        while used.saturating_add(self::weight(key)) > most || number >= count {
            let Some(one) = oldest.next() else {
                let text = format!(
                    "unfinished uploads leave no space for this one, of {most} bytes and {count} uploads"
                );
                return Err(Refusal::new(Code::Busy, text).next("finish them, or wait ten minutes"));
            };
            used -= weight(&one);
            number -= 1;
            gone.push(*one.0);
        }
    }
    let own = || entries.iter().filter(|(other, _)| other.uid == key.uid);
    let unwritten = |(other, entry): (&UploadKey, &KeptUpload)| match entry.is_open() {
        true => other.upload.size.saturating_sub(entry.received),
        false => 0,
    };
    // Claims of others hold no space: each part is compared with what is free.
    let claimed: u64 = own().map(unwritten).sum();
    let needed = claimed.saturating_add(key.upload.size);
    let mut free = free + gone.iter().map(|other| other.upload.size).sum::<u64>();
    let mut whole: Vec<_> = own()
        .filter(|(other, entry)| !entry.is_open() && !gone.contains(other))
        .collect();
    whole.sort_by_key(|(_, entry)| entry.until);
    for (other, _) in whole {
        if free >= needed {
            break;
        }
        free += other.upload.size;
        gone.push(*other);
    }
    match free >= needed {
        true => Ok(gone),
        false => Err(no_space()),
    }
}

/// Fails if this many more bytes would exceed the bound of all.
pub fn check_bound(entries: &HashMap<UploadKey, KeptUpload>, more: u64) -> Result<(), Refusal> {
    let used: u64 = entries.values().map(|entry| entry.received).sum();
    match used.saturating_add(more) <= caps::UPLOADS {
        true => Ok(()),
        false => Err(no_space()),
    }
}

/// What an upload takes of the disk, at the least.
fn weight(key: &UploadKey) -> u64 {
    key.upload.size.max(4096)
}

pub fn no_space() -> Refusal {
    let text = "there is too little space for uploads in the daemon's state";
    Refusal::new(Code::TooLarge, text).next("try again later; tell an administrator")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use remit_wire::Upload;
    use tokio::time::Instant;

    use super::*;
    use crate::uploads::UploadState;

    const MIB: u64 = 1 << 20;

    fn key(uid: u32, number: u8, size: u64) -> UploadKey {
        let sha256 = [number; 32];
        let upload = Upload { sha256, size };
        UploadKey { uid, upload }
    }

    fn entries(all: &[(UploadKey, Option<u64>)]) -> HashMap<UploadKey, KeptUpload> {
        let start = Instant::now();
        let entry = |(number, (key, open)): (u64, &(UploadKey, Option<u64>))| {
            let kept = KeptUpload {
                state: match open {
                    Some(_) => UploadState::Busy,
                    None => UploadState::Whole,
                },
                received: open.unwrap_or(key.upload.size),
                until: start + Duration::from_secs(number),
            };
            (*key, kept)
        };
        (0..).zip(all).map(entry).collect()
    }

    #[test]
    fn own_uploads_go_for_a_full_disk_and_claims_of_others_hold_none() {
        let (old, newer, other) = (
            key(8, 1, 300 * MIB),
            key(8, 2, 100 * MIB),
            key(9, 3, 256 * MIB),
        );
        let all = entries(&[(old, None), (newer, None), (other, Some(1))]);
        let new = key(8, 4, 90 * MIB);
        assert_eq!(evicted(&all, &new, 90 * MIB).unwrap(), []);
        assert_eq!(evicted(&all, &new, 89 * MIB).unwrap(), [old]);
        evicted(&all, &key(9, 4, 90 * MIB), 90 * MIB).unwrap_err();
        evicted(&all, &key(7, 4, u64::MAX), u64::MAX).unwrap_err();
    }

    #[test]
    fn uploads_are_bounded_in_number() {
        let many: Vec<_> = (0..64).map(|number| (key(8, number, 1), None)).collect();
        let gone = evicted(&entries(&many), &key(8, 64, 1), MIB).unwrap();
        assert_eq!(gone, [key(8, 0, 1)]);
    }

    #[test]
    fn bytes_of_all_are_bounded_while_they_come() {
        let all: Vec<_> = (0..8)
            .map(|uid| (key(uid, 1, 256 * MIB), Some(256 * MIB - 1)))
            .collect();
        let all = entries(&all);
        check_bound(&all, 8).unwrap();
        check_bound(&all, 9).unwrap_err();
    }
}
