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
        while used + self::weight(key) > most || number >= count {
            let Some(one) = oldest.next() else {
                let text = format!("unfinished uploads take all of {most} bytes");
                return Err(Refusal::new(Code::Busy, text).next("try again later"));
            };
            used -= weight(&one);
            number -= 1;
            gone.push(*one.0);
        }
    }
    let unwritten = |(other, entry): (&UploadKey, &KeptUpload)| match entry.is_open() {
        true => other.upload.size.saturating_sub(entry.received),
        false => 0,
    };
    let needed = entries.iter().map(unwritten).sum::<u64>() + key.upload.size;
    let freed: u64 = gone.iter().map(|other| other.upload.size).sum();
    match free + freed >= needed {
        true => Ok(gone),
        false => Err(no_space()),
    }
}

/// What an upload takes of the disk, at the least.
fn weight(key: &UploadKey) -> u64 {
    key.upload.size.max(4096)
}

pub fn no_space() -> Refusal {
    let text = "the file system of the daemon's state has too little space";
    Refusal::new(Code::TooLarge, text).next("try again later; tell an administrator")
}
