//! Requests that need an approval: being measured, waiting, or ended and not recorded yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Bytes;
use remit_confine::Measured;
use remit_link::{JobMeta, Owner};
use remit_policy::Pending;

use super::copies::Comparing;
use super::digest::Key;
use crate::approval::file_hash::{AsFound, Measuring};
use crate::event_loop::timers;
use crate::identity::accounts::People;
use crate::identity::peer::Subject;
use crate::job::queue::fits;
use crate::request::Draft;
use crate::state::is_full;

/// Requests measured at a time, in total and per user. A user who has none may always start one. Approvals in
/// progress have a separate limit.
const MEASURING: usize = 8;
const MEASURING_PER_UID: usize = 4;
const APPROVING: usize = 8;

#[derive(Debug)]
pub struct MeasuringRequest {
    pub draft: Box<Draft>,
    pub pending: Pending,
    pub measuring: Measuring,
}

#[derive(Debug)]
pub struct Approving {
    pub by: Subject,
    pub measuring: Measuring,
}

#[derive(Debug)]
pub struct Request {
    pub draft: Box<Draft>,
    pub pending: Pending,
    pub found: AsFound,
    /// What an approver signs; at most a few times what the draft holds.
    pub encoded: Vec<u8>,
    /// SHA-256 of it.
    pub digest: [u8; 32],
    pub asked_ms: u64,
    /// Milliseconds since 1970, for display only.
    pub expires_ms: u64,
    /// The same time on the boot clock, which nobody can set. This one decides.
    pub deadline: Duration,
    pub since: Instant,
    pub approving: Option<Approving>,
}

/// All requests by serial number, oldest first.
#[derive(Debug)]
pub struct Approvals {
    /// Part of every digest; known only to this process.
    pub key: Key,
    pub machine_id: String,
    next: u64,
    fresh: BTreeMap<u64, MeasuringRequest>,
    asked: BTreeMap<u64, Request>,
    pub comparing: BTreeMap<u64, Comparing>,
    pub generation: u64,
    /// The generation that was last reported to waiting clients.
    pub reported: u64,
}

impl Approvals {
    /// Starts generations at the current time, above those of any earlier daemon.
    pub fn open(mut random: &File) -> io::Result<Self> {
        let mut key = [0; 32];
        random.read_exact(&mut key)?;
        let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let generation = timers::unix_ms();
        Ok(Self {
            key: Key(key),
            machine_id: machine_id.trim().to_owned(),
            next: 0,
            fresh: BTreeMap::new(),
            asked: BTreeMap::new(),
            comparing: BTreeMap::new(),
            generation,
            reported: generation,
        })
    }

    /// Fails with `busy`, naming the bound, if one more request of this user may not be measured and wait.
    pub fn check_capacity(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let busy = |text: String, object: usize| {
            Err(Refusal::new(Code::Busy, text)
                .object(object.to_string())
                .next("ask again when some of them were decided"))
        };
        let own_fresh = self
            .drafts_fresh()
            .filter(|draft| is_of(draft, uid))
            .count();
        if own_fresh >= MEASURING_PER_UID || is_full(own_fresh, self.fresh.len(), MEASURING) {
            let text = "too many approval requests are being examined";
            return Err(Refusal::new(Code::Busy, text).next("ask again in a second"));
        }
        let own = self.drafts().filter(|draft| is_of(draft, uid)).count();
        let all = self.drafts().count();
        if own >= caps::PENDING_PER_UID {
            let text = format!("{own} of your changes wait for an approval, the maximum");
            return busy(text, caps::PENDING_PER_UID);
        }
        if is_full(own, all, caps::PENDING) {
            let text = format!("{all} changes wait for an approval, the maximum");
            return busy(text, caps::PENDING);
        }
        self.has_bytes(uid, bytes)
    }

    /// Fails with `busy` if waiting requests hold too many bytes, of the user or in total.
    pub fn has_bytes(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let held = |mine: bool| -> usize {
            let drafts = self.drafts().filter(|draft| !mine || is_of(draft, uid));
            drafts.map(|draft| draft.held).sum()
        };
        match fits(held(true), held(false), bytes) {
            true => Ok(()),
            false => {
                let text = "the changes that wait for an approval hold the maximum number of bytes";
                Err(Refusal::new(Code::Busy, text)
                    .object(caps::QUEUED_BYTES.to_string())
                    .next("ask again when some of them were decided"))
            }
        }
    }

    pub fn may_approve_more(&self) -> bool {
        let now = self
            .asked
            .values()
            .filter(|request| request.approving.is_some());
        now.count() < APPROVING
    }

    pub const fn next_serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn measure(&mut self, serial: u64, fresh: MeasuringRequest) {
        self.fresh.insert(serial, fresh);
    }

    pub fn fresh(&mut self, serial: u64) -> Option<&mut MeasuringRequest> {
        self.fresh.get_mut(&serial)
    }

    pub fn take_fresh(&mut self, serial: u64) -> Option<MeasuringRequest> {
        self.fresh.remove(&serial)
    }

    pub fn take_all_fresh(&mut self) -> Vec<MeasuringRequest> {
        std::mem::take(&mut self.fresh).into_values().collect()
    }

    pub fn is_measured(&self, uid: u32, request: &str) -> bool {
        self.drafts_fresh().any(|draft| {
            is_of(draft, uid) && draft.request.as_ref().is_some_and(|(id, _)| id == request)
        })
    }

    pub fn ask(&mut self, serial: u64, request: Request) {
        self.asked.insert(serial, request);
        self.generation += 1;
    }

    pub fn get(&self, serial: u64) -> Option<&Request> {
        self.asked.get(&serial)
    }

    pub fn get_mut(&mut self, serial: u64) -> Option<&mut Request> {
        self.asked.get_mut(&serial)
    }

    pub fn take(&mut self, serial: u64) -> Option<Request> {
        let taken = self.asked.remove(&serial)?;
        self.generation += 1;
        Some(taken)
    }

    pub fn serial(&self, job: JobId) -> Option<u64> {
        let mut all = self.asked.iter();
        let found = all.find(|(_, request)| request.draft.job == job);
        found.map(|(serial, _)| *serial)
    }

    pub fn owned(&self, job: JobId, owner: &Owner) -> bool {
        let found = self.serial(job).and_then(|serial| self.get(serial));
        found.is_some_and(|request| request.draft.requester.subject.owner() == *owner)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Request)> {
        self.asked
            .iter()
            .map(|(serial, request)| (*serial, request))
    }

    pub fn metas(&self) -> impl Iterator<Item = JobMeta> {
        self.asked.values().map(Request::meta)
    }

    /// Includes secrets of requests that may still run. For the broker only.
    pub fn with_secrets(&self) -> impl Iterator<Item = (JobMeta, Vec<Bytes>)> {
        let asked = self.asked.values();
        asked.map(|request| (request.meta(), request.draft.secrets()))
    }

    pub fn len(&self) -> usize {
        self.asked.len()
    }

    pub fn is_done(&self) -> bool {
        self.fresh.is_empty() && self.asked.is_empty()
    }

    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.drafts().map(|draft| &draft.requester.subject)
    }

    /// Returns requests whose requester is another account now or lost a group in `named`, with the reason.
    pub fn of_lost(&self, named: &BTreeSet<u32>, people: &People) -> Vec<(u64, String)> {
        let lost = self.iter().filter_map(|(serial, request)| {
            let why = people.has_lost(&request.draft.requester.subject, named)?;
            Some((serial, why))
        });
        lost.collect()
    }

    fn drafts_fresh(&self) -> impl Iterator<Item = &Draft> {
        self.fresh.values().map(|fresh| fresh.draft.as_ref())
    }

    fn drafts(&self) -> impl Iterator<Item = &Draft> {
        let asked = self.asked.values().map(|request| request.draft.as_ref());
        asked.chain(self.drafts_fresh())
    }
}

impl Request {
    /// Files to compare again just before the exec.
    pub fn measured(&self) -> Vec<Measured> {
        self.found.checked()
    }
}

fn is_of(draft: &Draft, uid: u32) -> bool {
    draft.requester.subject.uid() == uid
}
