//! How requests end that were not approved: denied, expired, void, or taken back. Nothing of them ran.

use std::collections::BTreeSet;

use remit_common::caps;
use remit_common::outcome::{DENIED_BY, Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::{names::JobId, text};

use super::flow::no_such_request;
use super::record::{about, by_whom};
use super::table::{Request, Unrun};
use crate::audit::{Event, Record};
use crate::clock::{self, Timer};
use crate::peer::Subject;
use crate::people::People;
use crate::warden::Warden;

/// What the agent can do when what it asked for is void.
pub const ASK_AGAIN: &str = "ask again, if it is still wanted: a person looks at it anew";

/// Of the words of a denial, in a sentence; a field has all of them.
const WORDS: usize = 200;

/// Why a request is over.
#[derive(Debug)]
pub struct Over {
    event: Event,
    state: State,
    cause: String,
    /// As what it is refused after all, and what to do then; nothing where it was taken back.
    refused: Option<(Code, &'static str)>,
    /// Who denied it, in which words.
    by: Option<(Subject, String)>,
}

impl Over {
    /// Something is not as it was.
    pub fn void(why: &str) -> Self {
        Self {
            event: Event::Void,
            state: State::Denied,
            cause: format!("{why}; it never ran"),
            refused: Some((Code::ApprovalVoid, ASK_AGAIN)),
            by: None,
        }
    }

    fn expired() -> Self {
        Self {
            event: Event::Expired,
            state: State::Expired,
            cause: "nobody approved it in time; it never ran".to_owned(),
            refused: Some((
                Code::ApprovalExpired,
                "ask again when somebody who can approve it is there, and tell them",
            )),
            by: None,
        }
    }

    fn denied(by: &Subject, why: &str) -> Self {
        Self {
            event: Event::Denied,
            state: State::Denied,
            cause: format!("{DENIED_BY}{}: {why}", by.user()),
            refused: Some((
                Code::ApprovalDenied,
                "do not ask for the same again; do what the cause says, or tell the person you work for",
            )),
            by: Some((by.clone(), why.to_owned())),
        }
    }

    fn cancelled(cause: &str) -> Self {
        Self {
            event: Event::End,
            state: State::Cancelled,
            cause: format!("{cause}; it never ran"),
            refused: None,
            by: None,
        }
    }

    /// The same for who approves it just then.
    pub fn refusal(&self) -> Refusal {
        let code = self.refused.map_or(Code::NotFound, |(code, _)| code);
        Refusal::new(code, self.cause.clone()).next("remit pending lists what waits")
    }

    /// The record of it. Nothing is done: no disk is waited for.
    fn record(&self, request: &Request) -> Record {
        let (draft, cause) = (&request.draft, &self.cause);
        let change = draft.named("change");
        let told = match (&self.by, self.event) {
            (Some((by, why)), _) => {
                let why = text::line(why.as_bytes(), WORDS);
                format!("{} denies {change} ({why})", by.user())
            }
            (None, Event::Expired) => format!("nobody approved {change} in time; it never ran"),
            (None, Event::Void) => format!("{change} is void ({cause})"),
            (None, _) => format!("{change} is not wanted any more ({cause})"),
        };
        let message = format!("{told}: {}", draft.command());
        let code = self.refused.map_or(Code::NeedsApproval, |(code, _)| code);
        let record = draft.about(self.event, message, request.pending.rule(), code.as_str());
        let record = about(record, request)
            .field("STATE", self.state.as_str())
            .field("CAUSE", cause)
            .field("KILL_VERIFIED", "yes");
        match &self.by {
            Some((by, _)) => by_whom(record, by),
            None => record,
        }
    }

    fn ending(&self) -> Ending {
        let ending = Ending::unmeasured(self.state, self.cause.clone(), true);
        match self.refused {
            Some((code, next)) => ending.refused(code, next),
            None => ending,
        }
    }
}

impl Warden {
    /// Ends a request that waits. One that does not is left as it is.
    pub fn end_request(&mut self, serial: u64, over: Over) {
        let Some(request) = self.approvals.take(serial) else {
            return;
        };
        self.timers.cancel(Timer::Approval(serial));
        if let Some(approving) = &request.approving {
            self.timers.cancel(Timer::Measuring(serial));
            self.reactor.remove(approving.measuring.fd());
            self.tell_approver(request.draft.job, &approving.by, Err(over.refusal()));
        }
        let record = over.record(&request);
        let before = request.meta();
        let mut after = before.clone();
        after.waits = None;
        after.waited_ms = after.age_ms;
        after.age_ms = 0;
        after.ending = Some(over.ending());
        let draft = request.draft;
        self.record_request_over(Unrun {
            draft,
            before,
            after,
            record,
        });
    }

    /// Records the end of what never ran, and tells it: not before it is recorded.
    fn record_request_over(&mut self, unrun: Unrun) {
        self.ledger.end(unrun.after.job, &unrun.after);
        let record: Record = unrun.record.clone();
        if let Err(why) = self.audit.write(record) {
            say!("the end of request {} waits: {why}", unrun.after.job);
            self.approvals.unrecorded.push(unrun);
            self.record_later(&why);
            return;
        }
        let Unrun { draft, after, .. } = unrun;
        let request = draft.request.as_ref().map(|(id, _)| id.clone());
        self.undo(draft.ready, draft.uid);
        self.remember(after, request, None);
    }

    /// Ends that found no room in the trail are tried again.
    pub fn record_requests_over(&mut self) {
        for unrun in std::mem::take(&mut self.approvals.unrecorded) {
            self.record_request_over(unrun);
        }
    }

    /// A request has had its time, by a clock that stands while the machine sleeps.
    pub fn approval_late(&mut self, serial: u64) {
        self.end_expired();
        self.end_late();
        if let Some(request) = self.approvals.get(serial) {
            let left = request.deadline.saturating_sub(clock::since_boot());
            self.timers.add(left, Timer::Approval(serial));
        }
    }

    /// Ends what nobody approved in time, by the clock that decides.
    pub fn end_expired(&mut self) {
        let now = clock::since_boot();
        let over = self.approvals.iter().filter(|(_, r)| r.deadline <= now);
        let over: Vec<u64> = over.map(|(serial, _)| serial).collect();
        for serial in over {
            self.end_request(serial, Over::expired());
        }
    }

    /// Ends everything that waits for an approval, and refuses what is measured for it.
    pub fn void_all_requests(&mut self, why: &str) -> usize {
        let all: Vec<u64> = self.approvals.iter().map(|(serial, _)| serial).collect();
        for serial in &all {
            self.end_request(*serial, Over::void(why));
        }
        all.len()
    }

    /// Ends what was asked for under another policy, and what its requester may not ask for any more.
    pub fn void_changed_requests(&mut self, named: &BTreeSet<u32>, people: &People) {
        for (serial, why) in self.approvals.of_lost(named, people) {
            self.end_request(serial, Over::void(&why));
        }
        let digest = &self.policy.digest;
        let all = self.approvals.iter();
        let other = all.filter(|(_, request)| request.draft.policy() != digest);
        let other: Vec<u64> = other.map(|(serial, _)| serial).collect();
        for serial in other {
            self.end_request(serial, Over::void("the policy has changed"));
        }
    }

    /// Ends a request on the wish of its owner or of an administrator. One that does not wait is left as it is.
    pub fn cancel_request(&mut self, job: JobId, cause: &str) {
        if let Some(serial) = self.approvals.serial(job) {
            self.end_request(serial, Over::cancelled(cause));
        }
    }

    /// Denies a request.
    ///
    /// # Errors
    /// No such request waits, or there is no reason.
    pub fn deny(&mut self, by: &Subject, job: JobId, why: &str) -> Result<String, Refusal> {
        self.end_expired();
        let serial = self.approvals.serial(job).ok_or_else(no_such_request)?;
        let why = text::line(why.trim().as_bytes(), caps::WHY);
        if why.is_empty() {
            let text = "a denial needs a reason: its requester is told";
            return Err(Refusal::new(Code::InvalidArgs, text).object("why"));
        }
        self.end_request(serial, Over::denied(by, &why));
        Ok(format!("denied; job {} will not run", job.short()))
    }
}
