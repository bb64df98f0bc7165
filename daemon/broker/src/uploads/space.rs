//! Whether an upload fits: bounds of one user and of all, and the space of the disk. Pure.

use std::collections::HashMap;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use tokio::time::Instant;

use super::{KeptUpload, UploadKey};

/// Returns the uploads that have to go for this one: an unfinished one of the same user that nobody goes on with, then the
/// oldest whole ones of this user, then of who keeps most. Fails if that does not suffice.
pub fn evicted(
    entries: &HashMap<UploadKey, KeptUpload>,
    key: &UploadKey,
    free: u64,
    now: Instant,
) -> Result<Vec<UploadKey>, Refusal> {
    let mut gone: Vec<UploadKey> = abandoned(entries, key.uid, now)?.into_iter().collect();
    let own = (
        Some(key.uid),
        caps::UPLOADS_PER_UID,
        caps::UPLOADS_COUNT_PER_UID,
    );
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
        while used.saturating_add(self::weight(key)) > most || number >= count {
            let is_many = number >= count;
            let Some(at) = oldest_of_heaviest(&ones, is_many) else {
                let text = format!(
                    "unfinished uploads leave no space for this one, of {most} bytes and {count} uploads"
                );
                return Err(Refusal::new(Code::Busy, text).next("finish them, or wait ten minutes"));
            };
            let one = ones.remove(at);
            used -= weight(&one);
            number -= 1;
            gone.push(*one.0);
        }
    }
    for_disk(entries, key, free, &mut gone)?;
    Ok(gone)
}

/// Returns the unfinished upload of this user that has to go for another one, if they have the most of them.
fn abandoned(
    entries: &HashMap<UploadKey, KeptUpload>,
    uid: u32,
    now: Instant,
) -> Result<Option<UploadKey>, Refusal> {
    let own = entries.iter().filter(|(other, _)| other.uid == uid);
    let open: Vec<_> = own.filter(|(_, entry)| entry.is_open()).collect();
    let most = caps::UPLOADS_OPEN;
    if open.len() < most {
        return Ok(None);
    }
    let idle = open.iter().filter(|(_, entry)| entry.is_idle(now));
    let oldest = idle.min_by_key(|(_, entry)| entry.until);
    let Some((oldest, _)) = oldest else {
        let text = format!("{most} uploads of this user are not finished");
        return Err(Refusal::new(Code::Busy, text).next("finish one, or wait two minutes"));
    };
    Ok(Some(**oldest))
}

/// Returns the index of the oldest upload of the user who keeps most: in number, or in bytes. `ones` has the oldest first.
fn oldest_of_heaviest(ones: &[(&UploadKey, &KeptUpload)], in_number: bool) -> Option<usize> {
    let mut kept: HashMap<u32, u64> = HashMap::new();
    for (key, _) in ones {
        *kept.entry(key.uid).or_default() += if in_number { 1 } else { weight(key) };
    }
    let (heaviest, _) = kept.into_iter().max_by_key(|(uid, kept)| (*kept, *uid))?;
    ones.iter().position(|(key, _)| key.uid == heaviest)
}

fn for_disk(
    entries: &HashMap<UploadKey, KeptUpload>,
    key: &UploadKey,
    free: u64,
    gone: &mut Vec<UploadKey>,
) -> Result<(), Refusal> {
    let received = |key: &UploadKey| entries.get(key).map_or(0, |entry| entry.received);
    let mut free = free + gone.iter().map(received).sum::<u64>();
    let own = entries
        .iter()
        .filter(|(other, _)| other.uid == key.uid && !gone.contains(other));
    let (open, mut whole): (Vec<_>, Vec<_>) = own.partition(|(_, entry)| entry.is_open());
    // Claims of others hold no space: each part is compared with what is free.
    let unwritten = |(other, entry): &(&UploadKey, &KeptUpload)| {
        other.upload.size.saturating_sub(entry.received)
    };
    let claimed: u64 = open.iter().map(unwritten).sum();
    let needed = claimed.saturating_add(key.upload.size);
    whole.sort_by_key(|(_, entry)| entry.until);
    for (other, _) in whole {
        if free >= needed {
            break;
        }
        free += other.upload.size;
        gone.push(*other);
    }
    match free >= needed {
        true => Ok(()),
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
    use std::fs::File;
    use std::time::Duration;

    use remit_wire::Upload;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::uploads::{OpenUpload, PAUSE, UploadState};

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

    fn evicted(
        entries: &HashMap<UploadKey, KeptUpload>,
        key: &UploadKey,
        free: u64,
    ) -> Result<Vec<UploadKey>, Refusal> {
        super::evicted(entries, key, free, Instant::now())
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
    fn uploads_of_the_user_with_most_bytes_are_evicted() {
        let mut all = vec![(key(1, 0, 600 * MIB), None)];
        all.extend((2..6).map(|uid| (key(uid, 0, 800 * MIB), None)));
        all.push((key(5, 1, 200 * MIB), None));
        let gone = evicted(&entries(&all), &key(9, 0, 100 * MIB), u64::MAX >> 1).unwrap();
        assert_eq!(gone, [key(5, 0, 800 * MIB)]);
        let mut many = vec![(key(9, 0, 100 * MIB), None)];
        many.extend((0..8).flat_map(|uid| (0..63).map(move |number| (key(uid, number, 1), None))));
        many.extend((0..7).map(|uid| (key(uid, 63, 1), None)));
        let gone = evicted(&entries(&many), &key(9, 1, MIB), u64::MAX >> 1).unwrap();
        assert_eq!(gone, [key(6, 0, 1)]);
    }

    #[test]
    fn idle_unfinished_upload_is_evicted_for_one_of_its_user() {
        let open: Vec<_> = (0..4)
            .map(|number| (key(8, number, MIB), Some(9)))
            .collect();
        let (mut all, now) = (entries(&open), Instant::now());
        let new = key(8, 4, MIB);
        let gone = |all: &_, now| super::evicted(all, &new, 9 * MIB, now);
        let mut idle_for = |number: usize, seconds| {
            let file = File::open("/dev/null").unwrap();
            let hash = Sha256::new();
            let entry = all.get_mut(&open[number].0).unwrap();
            entry.state = UploadState::Open(OpenUpload { file, hash });
            entry.until = now + PAUSE - Duration::from_secs(seconds);
            gone(&all, now)
        };
        assert_eq!(idle_for(0, 119).unwrap_err().code, Code::Busy);
        assert_eq!(idle_for(1, 121).unwrap(), [open[1].0]);
        assert_eq!(idle_for(2, 200).unwrap(), [open[2].0]);
        let of_another = super::evicted(&all, &key(9, 4, MIB), 9 * MIB, now);
        assert_eq!(of_another.unwrap(), []);
    }

    #[test]
    fn bytes_of_all_are_bounded_while_they_come() {
        let all: Vec<_> = (0..16)
            .map(|uid| (key(uid, 1, 256 * MIB), Some(256 * MIB - 1)))
            .collect();
        let all = entries(&all);
        check_bound(&all, 16).unwrap();
        check_bound(&all, 17).unwrap_err();
    }
}
