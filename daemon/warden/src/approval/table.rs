//! Requests that need an approval: being measured, waiting, or ended and not recorded yet.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_policy::Pending;
use remit_spawn::Measured;

use super::copies::Comparing;
use super::digest::Key;
use crate::approval::file_hash::{AsFound, Measuring};
use crate::identity::peer::Subject;
use crate::job::queue::fits;
use crate::job::table::Jobs;
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
    pub encoded: Vec<u8>,
    /// SHA-256 of `encoded`, which an approver signs.
    pub digest: [u8; 32],
    pub asked_ms: u64,
    /// Milliseconds since 1970, for display only.
    pub expires_ms: u64,
    /// The same time on the boot clock, which nobody can set. This one decides.
    pub deadline: Duration,
    pub since: Instant,
    pub approving: Option<Approving>,
}

/// What approvals share.
#[derive(Debug)]
pub struct Approvals {
    /// Part of every digest; known only to this process.
    pub key: Key,
    pub machine_id: String,
    pub comparing: BTreeMap<u64, Comparing>,
    /// The generation that was last reported to waiting clients.
    pub reported: u64,
}

impl Approvals {
    pub fn open(mut random: &File) -> io::Result<Self> {
        let mut key = [0; 32];
        random.read_exact(&mut key)?;
        let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Ok(Self {
            key: Key(key),
            machine_id: machine_id.trim().to_owned(),
            comparing: BTreeMap::new(),
            reported: 0,
        })
    }
}

impl Jobs {
    /// Fails with `busy`, naming the bound, if one more request of this user may not be measured and wait.
    pub fn check_requests(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let busy = |text: String, object: usize| {
            Err(Refusal::new(Code::Busy, text)
                .object(object.to_string())
                .next("ask again when some of them were decided"))
        };
        let own_fresh = self.examined().filter(|draft| is_of(draft, uid)).count();
        let fresh = self.examined().count();
        if own_fresh >= MEASURING_PER_UID || is_full(own_fresh, fresh, MEASURING) {
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
        self.check_requests_bytes(uid, bytes)
    }

    /// Fails with `busy` if waiting requests and their signed bytes are too large, of the user or in total.
    pub fn check_requests_bytes(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let held = |mine: bool| -> usize {
            let asked = self.all::<Request>();
            let asked = asked.map(|(_, request)| (request.draft.as_ref(), request.held()));
            let all = asked.chain(self.examined().map(|draft| (draft, draft.held)));
            let all = all.filter(|(draft, _)| !mine || is_of(draft, uid));
            all.map(|(_, bytes)| bytes).sum()
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
        let asked = self.all::<Request>();
        asked
            .filter(|(_, request)| request.approving.is_some())
            .count()
            < APPROVING
    }

    /// Returns whether the files of this request are being hashed.
    pub fn is_examined(&self, uid: u32, request: &str) -> bool {
        self.examined().any(|draft| {
            is_of(draft, uid) && draft.request.as_ref().is_some_and(|(id, _)| id == request)
        })
    }

    fn examined(&self) -> impl Iterator<Item = &Draft> {
        let fresh = self.all::<MeasuringRequest>();
        fresh.map(|(_, fresh)| fresh.draft.as_ref())
    }

    fn drafts(&self) -> impl Iterator<Item = &Draft> {
        let asked = self.all::<Request>();
        let asked = asked.map(|(_, request)| request.draft.as_ref());
        asked.chain(self.examined())
    }
}

impl Request {
    /// Bytes that it keeps in memory while it waits.
    pub fn held(&self) -> usize {
        let found = self.found.held();
        self.draft
            .held
            .saturating_add(self.encoded.len())
            .saturating_add(found)
    }

    /// Files to compare again just before the exec.
    pub fn measured(&self) -> Vec<Measured> {
        self.found.checked()
    }
}

fn is_of(draft: &Draft, uid: u32) -> bool {
    draft.requester.subject.uid() == uid
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;
    use remit_link::SpecWhat;

    use super::*;
    use crate::approval::fixture::{Scene, spec};

    fn request(encoded: Vec<u8>) -> Request {
        let what = SpecWhat::Argv(vec![b"ls".to_vec().into()]);
        let (draft, pending) = Scene::new().asks(spec(what, Purpose::Use), Vec::new());
        Request {
            draft: Box::new(draft),
            pending,
            found: AsFound::default(),
            encoded,
            digest: [0; 32],
            asked_ms: 0,
            expires_ms: 0,
            deadline: Duration::ZERO,
            since: Instant::now(),
            approving: None,
        }
    }

    #[test]
    fn signed_bytes_are_held_until_the_request_is_decided() {
        let share = caps::QUEUED_BYTES / 4;
        for (encoded, may_hold_more) in [(share / 2, true), (share, false)] {
            let mut jobs = Jobs::default();
            let serial = jobs.next_serial();
            jobs.insert(serial, request(vec![0; encoded]));
            let more = jobs.check_requests(64_001, 1);
            assert_eq!(more.is_ok(), may_hold_more, "{encoded}: {more:?}");
            assert!(jobs.check_requests(64_003, caps::QUEUED_BYTES).is_ok());
            jobs.take::<Request>(serial).unwrap();
            assert!(jobs.check_requests(64_001, share).is_ok());
        }
    }
}
