//! Requests that an approval is asked for: those whose files are measured first, those that wait, and
//! those that will never run and whose end is not recorded yet.

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

use super::digest::Key;
use super::measure::{AsFound, Measuring};
use crate::audit::Record;
use crate::clock;
use crate::peer::Subject;
use crate::people::People;
use crate::plan::Draft;
use crate::waiting::fits;

/// Requests that are measured at once before they wait, in all and of one user; one of each user who has none is
/// let in. Approvals that are measured again have room of their own.
const MEASURING: usize = 8;
const MEASURING_PER_UID: usize = 4;
const APPROVING: usize = 8;

/// A request whose files are measured before anybody is asked.
#[derive(Debug)]
pub struct Fresh {
    /// What would run.
    pub draft: Box<Draft>,
    /// What a rule says of it.
    pub pending: Pending,
    /// The child that looks.
    pub measuring: Measuring,
}

/// An approval that is not carried out before all was measured again.
#[derive(Debug)]
pub struct Approving {
    /// Who approves.
    pub by: Subject,
    /// The child that looks.
    pub measuring: Measuring,
}

/// A request that waits for an approval.
#[derive(Debug)]
pub struct Request {
    /// What would run.
    pub draft: Box<Draft>,
    /// What a rule says of it.
    pub pending: Pending,
    /// Its files as they were when it was asked for.
    pub found: AsFound,
    /// SHA-256 of all that would run.
    pub digest: [u8; 32],
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
    /// Until when it can be approved, in milliseconds since 1970: for people.
    pub expires_ms: u64,
    /// The same on the clock that counts since the boot and that nobody sets: this one decides.
    pub deadline: Duration,
    /// When it began to wait.
    pub since: Instant,
    /// Somebody approves it just now.
    pub approving: Option<Approving>,
}

/// A request that will never run; its end is not recorded yet.
#[derive(Debug)]
pub struct Unrun {
    /// What would have run.
    pub draft: Box<Draft>,
    /// As everybody knows it until the end is recorded.
    pub before: JobMeta,
    /// How it ended.
    pub after: JobMeta,
    /// The record of that.
    pub record: Record,
}

/// All of them, by serial numbers of their own, the oldest first.
#[derive(Debug)]
pub struct Approvals {
    /// Goes into every digest; nobody else has it.
    pub key: Key,
    /// /etc/machine-id; empty on a machine that has none.
    pub machine_id: String,
    next: u64,
    fresh: BTreeMap<u64, Fresh>,
    asked: BTreeMap<u64, Request>,
    /// Those whose end waits for room in the trail.
    pub unrecorded: Vec<Unrun>,
    /// Another number whenever the list of those that wait is another one.
    pub generation: u64,
    /// The one that everybody who waits for another was told of.
    pub told: u64,
}

impl Approvals {
    /// None yet. Generations begin at a number that no daemon before this one had.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn open(mut random: &File) -> io::Result<Self> {
        let mut key = [0; 32];
        random.read_exact(&mut key)?;
        let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let generation = clock::unix_ms();
        Ok(Self {
            key: Key(key),
            machine_id: machine_id.trim().to_owned(),
            next: 0,
            fresh: BTreeMap::new(),
            asked: BTreeMap::new(),
            unrecorded: Vec::new(),
            generation,
            told: generation,
        })
    }

    /// Whether one more of this user may be measured, and then wait.
    ///
    /// # Errors
    /// `busy`, naming the bound.
    pub fn has_room(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let busy = |text: String, object: usize| {
            Err(Refusal::new(Code::Busy, text)
                .object(object.to_string())
                .next("ask again when some of them are decided"))
        };
        let own_fresh = self
            .drafts_fresh()
            .filter(|draft| is_of(draft, uid))
            .count();
        if own_fresh >= MEASURING_PER_UID || own_fresh > 0 && self.fresh.len() >= MEASURING {
            let text = "too many requests for an approval are looked at just now";
            return Err(Refusal::new(Code::Busy, text).next("ask again in a second"));
        }
        let own = self.drafts().filter(|draft| is_of(draft, uid)).count();
        let all = self.drafts().count();
        if own >= caps::PENDING_PER_UID {
            let text = format!("{own} changes of yours wait for an approval, more are not allowed");
            return busy(text, caps::PENDING_PER_UID);
        }
        if own > 0 && all >= caps::PENDING {
            let text = format!("{all} changes wait for an approval, more are not allowed");
            return busy(text, caps::PENDING);
        }
        self.has_bytes(uid, bytes)
    }

    /// Whether a request of this user that holds so many bytes may wait.
    ///
    /// # Errors
    /// `busy`, naming the bound.
    pub fn has_bytes(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let held = |mine: bool| -> usize {
            let drafts = self.drafts().filter(|draft| !mine || is_of(draft, uid));
            drafts.map(|draft| draft.held).sum()
        };
        match fits(held(true), held(false), bytes) {
            true => Ok(()),
            false => {
                let text = "the changes that wait for an approval hold as many bytes as they may";
                Err(Refusal::new(Code::Busy, text)
                    .object(caps::QUEUED_BYTES.to_string())
                    .next("ask again when some of them are decided"))
            }
        }
    }

    /// Whether one more approval may be measured.
    pub fn may_approve_more(&self) -> bool {
        let now = self
            .asked
            .values()
            .filter(|request| request.approving.is_some());
        now.count() < APPROVING
    }

    /// A number for what is measured next.
    pub const fn next_serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes in one whose files are being measured.
    pub fn measure(&mut self, serial: u64, fresh: Fresh) {
        self.fresh.insert(serial, fresh);
    }

    /// One whose files are being measured.
    pub fn fresh(&mut self, serial: u64) -> Option<&mut Fresh> {
        self.fresh.get_mut(&serial)
    }

    /// Takes it out.
    pub fn take_fresh(&mut self, serial: u64) -> Option<Fresh> {
        self.fresh.remove(&serial)
    }

    /// Takes out all whose files are being measured.
    pub fn take_all_fresh(&mut self) -> Vec<Fresh> {
        std::mem::take(&mut self.fresh).into_values().collect()
    }

    /// Whether the same request of a user is being measured.
    pub fn is_measured(&self, uid: u32, request: &str) -> bool {
        self.drafts_fresh().any(|draft| {
            is_of(draft, uid) && draft.request.as_ref().is_some_and(|(id, _)| id == request)
        })
    }

    /// From now on it waits for an approval.
    pub fn ask(&mut self, serial: u64, request: Request) {
        self.asked.insert(serial, request);
        self.generation += 1;
    }

    /// One that waits.
    pub fn get(&self, serial: u64) -> Option<&Request> {
        self.asked.get(&serial)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, serial: u64) -> Option<&mut Request> {
        self.asked.get_mut(&serial)
    }

    /// Takes one out: it waits no longer.
    pub fn take(&mut self, serial: u64) -> Option<Request> {
        let taken = self.asked.remove(&serial)?;
        self.generation += 1;
        Some(taken)
    }

    /// The serial number of a job that waits.
    pub fn serial(&self, job: JobId) -> Option<u64> {
        let mut all = self.asked.iter();
        let found = all.find(|(_, request)| request.draft.job == job);
        found.map(|(serial, _)| *serial)
    }

    /// Whether a user has this job, and it waits for an approval.
    pub fn owned(&self, job: JobId, owner: &Owner) -> bool {
        let found = self.serial(job).and_then(|serial| self.get(serial));
        found.is_some_and(|request| request.draft.requester.subject.owner() == *owner)
    }

    /// Those whose id begins so.
    pub fn beginning(&self, prefix: &str) -> Vec<u64> {
        let all = self.asked.iter();
        let found = all.filter(|(_, request)| request.draft.job.to_string().starts_with(prefix));
        found.map(|(serial, _)| *serial).collect()
    }

    /// All that wait, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Request)> {
        self.asked
            .iter()
            .map(|(serial, request)| (*serial, request))
    }

    /// All of them, as their owners know them.
    pub fn metas(&self) -> impl Iterator<Item = JobMeta> {
        let unrun = self.unrecorded.iter().map(|unrun| unrun.before.clone());
        self.asked.values().map(Request::meta).chain(unrun)
    }

    /// The same with the secrets of those that may still run: for the broker alone.
    pub fn with_secrets(&self) -> impl Iterator<Item = (JobMeta, Vec<Bytes>)> {
        let asked = self.asked.values();
        let asked = asked.map(|request| (request.meta(), request.draft.secrets()));
        let unrun = self.unrecorded.iter().map(|unrun| unrun.before.clone());
        asked.chain(unrun.map(|before| (before, Vec::new())))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether there is none, neither to be decided nor to be recorded.
    pub fn is_done(&self) -> bool {
        self.fresh.is_empty() && self.asked.is_empty() && self.unrecorded.is_empty()
    }

    /// Who asked for what waits.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.drafts().map(|draft| &draft.requester.subject)
    }

    /// Those of whoever is not who asked any more, or is without a group of those in `named`; each with the
    /// reason.
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
    /// What has to be found the same just before the exec.
    pub fn measured(&self) -> Vec<Measured> {
        self.found.checked()
    }
}

fn is_of(draft: &Draft, uid: u32) -> bool {
    draft.requester.subject.uid() == uid
}
