//! Ends requests that were not approved: denied, expired, void or cancelled. Nothing of them ran.

use std::collections::BTreeSet;

use remit_common::outcome::{DENIED_BY, Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, names::JobId, text};

use super::flow::no_such_request;
use super::table::Request;
use super::view::{about, with_approver};
use crate::audit::{Event, Record};
use crate::event_loop::timers::{self, Timer};
use crate::identity::accounts::People;
use crate::identity::peer::Subject;
use crate::job::never_ran::NeverRan;
use crate::state::Warden;

pub const ASK_AGAIN: &str = "ask again, if it is still wanted: a person decides again";

/// Bytes of a denial's reason in the record's sentence. A field has all of it.
const WORDS: usize = 200;

#[derive(Debug)]
pub struct RequestEnd {
    event: Event,
    state: State,
    cause: String,
    /// Refusal code and next step. `None` if the request was cancelled.
    refused: Option<(Code, &'static str)>,
    by: Option<(Subject, String)>,
}

impl RequestEnd {
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
                "ask again when an approver is available, and inform them",
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

    pub fn refusal(&self) -> Refusal {
        let code = self.refused.map_or(Code::NotFound, |(code, _)| code);
        Refusal::new(code, self.cause.clone()).next("remit pending lists the requests that wait")
    }

    /// Not marked as a change, because nothing ran. Only a denial is a change, by its event.
    fn record(&self, request: &Request) -> Record {
        let (draft, cause) = (&request.draft, &self.cause);
        let change = draft.named("change");
        let sentence = match (&self.by, self.event) {
            (Some((by, why)), _) => {
                let why = text::line(why.as_bytes(), WORDS);
                format!("{} denies {change} ({why})", by.user())
            }
            (None, Event::Expired) => format!("nobody approved {change} in time; it never ran"),
            (None, Event::Void) => format!("{change} is void ({cause})"),
            (None, _) => format!("{change} is no longer wanted ({cause})"),
        };
        let message = format!("{sentence}: {}", draft.command());
        let code = self.refused.map_or(Code::NeedsApproval, |(code, _)| code);
        let record = draft.about(self.event, message, request.pending.rule(), code.as_str());
        let record = about(record, request)
            .field("STATE", self.state.as_str())
            .field("CAUSE", cause)
            .field("KILL_VERIFIED", "yes");
        match &self.by {
            Some((by, _)) => with_approver(record, by),
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
    /// Ends a waiting request. Does nothing if it no longer waits.
    pub fn end_request(&mut self, serial: u64, over: RequestEnd) {
        let Some(request) = self.jobs.take::<Request>(serial) else {
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
        self.end_never_ran(NeverRan::new(*request.draft, before, over.ending(), record));
    }

    /// Handles a request's timer. Its clock stops while the machine sleeps, so it is set again if time is left.
    pub fn on_approval_timeout(&mut self, serial: u64) {
        self.end_expired();
        self.end_late();
        if let Some(request) = self.jobs.find::<Request>(serial) {
            let left = request.deadline.saturating_sub(timers::since_boot());
            self.timers.add(left, Timer::Approval(serial));
        }
    }

    /// Uses the boot clock, which decides.
    pub fn end_expired(&mut self) {
        let now = timers::since_boot();
        let over = self.jobs.all::<Request>();
        let over = over.filter(|(_, request)| request.deadline <= now);
        let over: Vec<u64> = over.map(|(serial, _)| serial).collect();
        for serial in over {
            self.end_request(serial, RequestEnd::expired());
        }
    }

    pub fn void_all_requests(&mut self, why: &str) -> usize {
        let all = self.jobs.serials_of::<Request>();
        for serial in &all {
            self.end_request(*serial, RequestEnd::void(why));
        }
        all.len()
    }

    /// Ends requests made under another policy, and requests whose requester may no longer ask.
    pub fn void_changed_requests(&mut self, named: &BTreeSet<u32>, people: &People) {
        let lost = self.jobs.all::<Request>().filter_map(|(serial, request)| {
            let why = people.has_lost(&request.draft.requester.subject, named)?;
            Some((serial, why))
        });
        let lost: Vec<(u64, String)> = lost.collect();
        for (serial, why) in lost {
            self.end_request(serial, RequestEnd::void(&why));
        }
        let digest = &self.policy.digest;
        let all = self.jobs.all::<Request>();
        let other = all.filter(|(_, request)| request.draft.policy() != digest);
        let other: Vec<u64> = other.map(|(serial, _)| serial).collect();
        for serial in other {
            self.end_request(serial, RequestEnd::void("the policy has changed"));
        }
    }

    pub fn cancel_request(&mut self, job: JobId, cause: &str) {
        if let Some(serial) = self.jobs.serial_of::<Request>(job) {
            self.end_request(serial, RequestEnd::cancelled(cause));
        }
    }

    /// Fails if no such request waits, or if the reason is empty.
    pub fn deny(&mut self, by: &Subject, job: JobId, why: &str) -> Result<String, Refusal> {
        self.end_expired();
        let serial = self
            .jobs
            .serial_of::<Request>(job)
            .ok_or_else(no_such_request)?;
        let why = text::line(why.trim().as_bytes(), caps::WHY);
        if why.is_empty() {
            let text = "a denial needs a reason, which the requester sees";
            return Err(Refusal::new(Code::InvalidArgs, text).object("why"));
        }
        self.end_request(serial, RequestEnd::denied(by, &why));
        Ok(format!("denied; job {} will not run", job.short()))
    }
}
