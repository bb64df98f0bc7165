//! The jobs that were begun and have no end record: `STATE/warden/open`.
//!
//! Noted before the intent is recorded, freed after the end is: whatever kills
//! the warden in between, the next one finds the job and says so. One file of
//! slots, each with a length (4 bytes, little-endian; 0: free), the job's id and
//! its entry: two writes a job, where a file for each would cost the making and
//! removing of it. The length is written last, so a slot is whole or free.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_link::{JobMeta, Owner};
use serde::{Deserialize, Serialize};

use crate::lock::private_file;
use crate::plan::Plan;

/// What the record of an interrupted job needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose job it was.
    pub uid: u32,
    /// The user's name then.
    pub user: String,
    /// The argv on one line.
    pub command: String,
    /// The uid it ran as.
    pub job_uid: u32,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: u64,
    /// The caller's request id, with the hash of what it asked for.
    pub request: Option<(String, [u8; 32])>,
}

impl Entry {
    /// The job as its owner can still ask for it.
    pub fn interrupted(&self, job: JobId) -> JobMeta {
        JobMeta {
            job,
            owner: Owner {
                uid: self.uid,
                user: self.user.clone(),
            },
            command: self.command.clone(),
            queued: false,
            number: 0,
            started_ms: self.begun_ms,
            age_ms: 0,
            waited_ms: 0,
            enforced: None,
            ending: Some(Ending {
                state: State::Interrupted,
                exit: None,
                signal: None,
                cause: "remitd died while it ran".to_owned(),
                kill_verified: false,
                cpu_usec: 0,
                memory_peak: 0,
                runtime_ms: 0,
            }),
        }
    }
}

/// Bytes of a slot; an entry with the longest command and request id fits.
const SLOT: usize = 8 << 10;
/// Length and id before the entry.
const HEAD: usize = 4 + 16;
/// More slots than jobs and parked plans can need; beyond is damage.
const SLOTS: u64 = 1 << 16;

/// The file of open jobs.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    taken: HashMap<JobId, u64>,
    free: Vec<u64>,
    slots: u64,
}

impl Ledger {
    /// Opens or makes the file in `state`.
    ///
    /// # Errors
    /// It cannot be opened, or is longer than any ledger.
    pub fn open_file(state: &Path) -> io::Result<Self> {
        let file = private_file(&state.join("warden").join("open"))?;
        let slots = file.metadata()?.len().div_ceil(SLOT as u64);
        if slots > SLOTS {
            let text = format!("'warden/open' has {slots} slots, over {SLOTS}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Self {
            file,
            taken: HashMap::new(),
            free: Vec::new(),
            slots,
        })
    }

    /// Notes that a plan is about to be recorded and run. A plan that was parked has its note already.
    ///
    /// # Errors
    /// The disk is full; nothing may run.
    pub fn open(&mut self, plan: &Plan) -> io::Result<()> {
        if self.taken.contains_key(&plan.job) {
            return Ok(());
        }
        let entry = Entry {
            uid: plan.requester.subject.uid(),
            user: plan.requester.subject.user().to_owned(),
            command: plan.command().to_owned(),
            job_uid: plan.uid.get(),
            begun_ms: crate::clock::unix_ms(),
            request: plan.request.clone(),
        };
        let mut bytes = Vec::with_capacity(512);
        bytes.extend(plan.job.0);
        let bytes = postcard::to_extend(&entry, bytes).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        if bytes.len() + 4 > SLOT {
            return Err(io::Error::other("the entry is longer than a slot"));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        let at = slot * SLOT as u64;
        let written = self
            .file
            .write_all_at(&bytes, at + 4)
            .and_then(|()| self.file.write_all_at(&length.to_le_bytes(), at));
        match written {
            Ok(()) => drop(self.taken.insert(plan.job, slot)),
            Err(_) => self.free.push(slot),
        }
        written
    }

    /// The end is recorded, or nothing was. One that is not open is as good.
    pub fn close(&mut self, job: JobId) {
        let Some(slot) = self.taken.remove(&job) else {
            return;
        };
        match self.file.write_all_at(&[0; 4], slot * SLOT as u64) {
            Ok(()) => self.free.push(slot),
            // The next start says once too often that it was interrupted.
            Err(error) => say!("the ledger still has job {job}: {error}"),
        }
    }

    /// Jobs that a dead warden left open; an entry that cannot be read has no details. Once, at the start.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn left_open(&mut self) -> io::Result<Vec<(JobId, Option<Entry>)>> {
        let mut found = Vec::new();
        let mut bytes = vec![0; SLOT];
        for slot in 0..self.slots {
            let filled = read_full(&self.file, &mut bytes, slot * SLOT as u64)?;
            match parse(bytes.get(..filled).unwrap_or_default()) {
                None => self.free.push(slot),
                Some((job, entry)) => {
                    self.taken.insert(job, slot);
                    found.push((job, entry));
                }
            }
        }
        Ok(found)
    }
}

/// What a slot holds; `None` when it is free.
fn parse(slot: &[u8]) -> Option<(JobId, Option<Entry>)> {
    let length = usize::try_from(u32::from_le_bytes(*slot.first_chunk()?)).ok()?;
    if length == 0 {
        return None;
    }
    let job = slot.get(4..HEAD)?.first_chunk().map(|id| JobId(*id))?;
    let entry = slot
        .get(HEAD..)
        .and_then(|rest| rest.get(..length.checked_sub(16)?));
    Some((
        job,
        entry.and_then(|entry| postcard::from_bytes(entry).ok()),
    ))
}

/// As much as there is, up to the whole of `bytes`; the last slot may be short.
fn read_full(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(length: u32, job: u8, entry: &Entry) -> Vec<u8> {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend([job; 16]);
        postcard::to_extend(entry, bytes).unwrap()
    }

    #[test]
    fn a_slot_is_free_whole_or_has_no_details() {
        let entry = Entry {
            uid: 1,
            user: "u".into(),
            command: "c".into(),
            job_uid: 2,
            begun_ms: 3,
            request: Some(("r".into(), [4; 32])),
        };
        let whole = slot(0, 7, &entry);
        let length = u32::try_from(whole.len() - 4).unwrap();
        assert_eq!(parse(&whole), None);
        assert_eq!(parse(&[]), None);
        let job = JobId([7; 16]);
        assert_eq!(
            parse(&slot(length, 7, &entry)),
            Some((job, Some(entry.clone())))
        );
        for damaged in [1, 15, 16, length - 1, length + 1, u32::MAX] {
            assert_eq!(
                parse(&slot(damaged, 7, &entry)),
                Some((job, None)),
                "{damaged}"
            );
        }
    }
}
