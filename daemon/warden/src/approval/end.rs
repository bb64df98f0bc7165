//! Ends requests that were not approved: denied, expired, void or cancelled. Nothing of them ran.

use std::collections::BTreeSet;

use remit_common::outcome::{DENIED_BY, Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, names::JobId, text};

use super::table::{MeasuringRequest, Request, after_unrun, ask_again, no_such_request};
use super::view::{about, with_approver};
use crate::audit::{Event, Record};
use crate::event_loop::timers::{self, Timer};
use crate::identity::accounts::People;
use crate::identity::peer::Subject;
use crate::job::context::JobCx;
use crate::job::ended;
use crate::job::state::NeverRan;
use crate::job::table::Jobs;
use crate::state_dir::ledger::{DecidedBy, EndDecision};

/// Bytes of a denial's reason in the record's sentence. A field has all of it.
const WORDS: usize = 200;

#[derive(Debug)]
pub struct RequestEnd {
    event: Event,
    state: State,
    cause: String,
    /// Refusal code and next step, if not [`ask_again`]. `None` if the request was cancelled.
    refused: Option<(Code, Option<&'static str>)>,
    by: Option<(Subject, String)>,
}

impl RequestEnd {
    fn new(event: Event, state: State, cause: String) -> Self {
        Self {
            event,
            state,
            cause,
            refused: None,
            by: None,
        }
    }

    pub fn void(why: &str) -> Self {
        let cause = format!("{why}; it never ran");
        Self {
            refused: Some((Code::ApprovalVoid, None)),
            ..Self::new(Event::Void, State::Denied, cause)
        }
    }

    fn expired(request: &Request) -> Self {
        let cause = not_approved("it", request);
        let next = "ask again when an approver is available, and inform them";
        Self {
            refused: Some((Code::ApprovalExpired, Some(next))),
            ..Self::new(Event::Expired, State::Expired, cause)
        }
    }

    fn denied(by: &Subject, why: &str) -> Self {
        let cause = format!("{DENIED_BY}{}: {why}", by.user());
        let next = "do not ask for the same again; do what the cause says, or tell the person you work for";
        Self {
            refused: Some((Code::ApprovalDenied, Some(next))),
            by: Some((by.clone(), why.to_owned())),
            ..Self::new(Event::Denied, State::Denied, cause)
        }
    }

    fn cancelled(cause: &str) -> Self {
        let cause = format!("{cause}; it never ran");
        Self::new(Event::End, State::Cancelled, cause)
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
            (None, Event::Expired) => not_approved(&change, request),
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
            Some((by, _)) => with_approver(record, &DecidedBy::new(by)),
            None => record,
        }
    }

    fn ending(&self, request: &Request) -> Ending {
        let ending = Ending::unmeasured(self.state, self.cause.clone(), true);
        let id = request.draft.request.as_ref();
        match self.refused {
            Some((code, Some(next))) => ending.refused(code, after_unrun(next, id)),
            Some((code, None)) => ending.refused(code, ask_again(id)),
            None => ending,
        }
    }
}

/// Says of a request that has expired who approved it.
fn not_approved(what: &str, request: &Request) -> String {
    let approvers: Vec<&str> = request.approvers().map(Subject::user).collect();
    if approvers.is_empty() {
        return format!("nobody approved {what} in time; it never ran");
    }
    let count = request.pending.approval().count().get();
    format!(
        "only {} of {count} people approved {what} in time ({}); it never ran",
        approvers.len(),
        approvers.join(" and ")
    )
}

/// Ends a waiting request. Does nothing if it no longer waits.
pub fn end_request(cx: &mut JobCx<'_>, serial: u64, over: RequestEnd) {
    let Some(request) = cx.jobs.take::<Request>(serial) else {
        return;
    };
    cx.reactor.timers.cancel(Timer::Approval(serial));
    if let Some(approving) = &request.approving {
        cx.reactor.timers.cancel(Timer::Measuring(serial));
        cx.reactor.remove(approving.measuring.fd());
        let reply = Err(over.refusal());
        let (about, by) = ((request.draft.job, &request.digest), &approving.by);
        cx.admins.tell_approver(cx.reports, about, by, reply);
    }
    let record = over.record(&request);
    let before = request.meta();
    let ending = over.ending(&request);
    let decision = Some(EndDecision {
        digest: request.digest,
        by: over.by.as_ref().map(|(by, _)| DecidedBy::new(by)),
    });
    let end = NeverRan::new(*request.draft, before, ending, record);
    ended::end_never_ran(cx, NeverRan { decision, ..end });
}

/// Handles a request's timer. Its clock stops while the machine sleeps, so it is set again if time is left.
pub fn on_approval_timeout(cx: &mut JobCx<'_>, serial: u64) {
    end_expired(cx);
    ended::end_late(cx);
    if let Some(request) = cx.jobs.find::<Request>(serial) {
        let left = request.deadline.saturating_sub(timers::since_boot());
        cx.reactor.timers.add(left, Timer::Approval(serial));
    }
}

/// Uses the boot clock, which decides.
pub fn end_expired(cx: &mut JobCx<'_>) {
    let now = timers::since_boot();
    let over = cx.jobs.all::<Request>();
    let over = over.filter(|(_, request)| request.deadline <= now);
    let over = over.map(|(serial, request)| (serial, RequestEnd::expired(request)));
    let over: Vec<(u64, RequestEnd)> = over.collect();
    for (serial, end) in over {
        end_request(cx, serial, end);
    }
}

pub fn void_all_requests(cx: &mut JobCx<'_>, why: &str) -> usize {
    let all = cx.jobs.serials_of::<Request>();
    for serial in &all {
        end_request(cx, *serial, RequestEnd::void(why));
    }
    all.len()
}

/// Ends requests made under another policy, and requests whose requester may no longer ask.
pub fn void_changed_requests(cx: &mut JobCx<'_>, named: &BTreeSet<u32>, people: &People) {
    let lost = cx.jobs.all::<Request>().filter_map(|(serial, request)| {
        let why = people.has_lost(&request.draft.requester.subject, named)?;
        Some((serial, why))
    });
    let lost: Vec<(u64, String)> = lost.collect();
    for (serial, why) in lost {
        end_request(cx, serial, RequestEnd::void(&why));
    }
    let digest = cx.reports.policy.clone();
    let all = cx.jobs.all::<Request>();
    let other = all.filter(|(_, request)| request.draft.policy() != digest);
    let other: Vec<u64> = other.map(|(serial, _)| serial).collect();
    for serial in other {
        end_request(cx, serial, RequestEnd::void("the policy has changed"));
    }
}

pub fn cancel_request(cx: &mut JobCx<'_>, job: JobId, cause: &str) {
    if let Some(serial) = cx.jobs.serial_of::<Request>(job) {
        end_request(cx, serial, RequestEnd::cancelled(cause));
    }
}

/// Refuses a decision about a request that no longer waits for one. Says how it ended, if that is remembered.
pub fn not_waiting(jobs: &Jobs, job: JobId) -> Refusal {
    let ended = jobs.ended().find(|meta| meta.job == job);
    let ending = ended.and_then(|meta| meta.ending.as_ref());
    let why = match ending {
        Some(ending) if never_ran(ending.state) => text::line(ending.cause.as_bytes(), WORDS),
        Some(_) => "it has ended".to_owned(),
        None if jobs.serial(job).is_some() => "it is running".to_owned(),
        None if jobs.is_waiting(job) => "it is queued".to_owned(),
        None => return no_such_request(),
    };
    let id = job.short();
    let text = format!("job {id} is not waiting for an approval: {why}");
    Refusal::new(Code::NotFound, text).next(format!("remit show {id} says more"))
}

const fn never_ran(state: State) -> bool {
    matches!(state, State::Denied | State::Expired | State::Cancelled)
}

/// Fails if no such request waits, or if the reason is empty or too long: the requester reads all of it.
pub fn deny(cx: &mut JobCx<'_>, by: &Subject, job: JobId, why: &str) -> Result<String, Refusal> {
    end_expired(cx);
    let serial = cx.jobs.serial_of::<Request>(job);
    let serial = serial.ok_or_else(|| not_waiting(cx.jobs, job))?;
    let why = text::line(why.trim().as_bytes(), usize::MAX);
    let invalid = |text: String| Refusal::new(Code::InvalidArgs, text).object("why");
    if why.is_empty() {
        let text = "a denial needs a reason, which the requester sees";
        return Err(invalid(text.to_owned()));
    }
    if why.len() > caps::WHY {
        let (most, length) = (caps::WHY, why.len());
        let text = format!("not denied: the reason has {length} bytes, the maximum is {most}");
        return Err(invalid(text).next("deny it again with a shorter reason"));
    }
    end_request(cx, serial, RequestEnd::denied(by, &why));
    Ok(format!("denied; job {} will not run", job.short()))
}

/// Drops requests that are being measured: their clients are gone, and their tickets belong to the dead broker.
pub fn drop_measured(cx: &mut JobCx<'_>) {
    for fresh in take_measured(cx) {
        let text = "the broker died while the request was examined";
        let draft = &fresh.draft;
        cx.reports
            .drop_request(&draft.requester, draft.asked(), text);
        ended::release_draft(cx, fresh.draft);
    }
}

/// Takes all requests whose files a child measures, and ends that.
pub fn take_measured(cx: &mut JobCx<'_>) -> Vec<MeasuringRequest> {
    let mut taken = Vec::new();
    for serial in cx.jobs.serials_of::<MeasuringRequest>() {
        if let Some(fresh) = cx.jobs.take::<MeasuringRequest>(serial) {
            cx.reactor.timers.cancel(Timer::Measuring(serial));
            cx.reactor.remove(fresh.measuring.fd());
            taken.push(fresh);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::fixture::Scene;

    #[test]
    fn request_with_an_id_is_asked_again_with_a_new_one() {
        let by = Subject::fake(64_002, "ann", Some(64_002));
        let mut request = Scene::new().approved_before(by.clone());
        for id in [None, Some(("exp-1".to_owned(), [0; 32]))] {
            request.draft.request.clone_from(&id);
            for (end, begins) in [
                (
                    RequestEnd::expired(&request),
                    "ask again when an approver is available",
                ),
                (RequestEnd::void("the policy has changed"), "ask again, if"),
                (RequestEnd::denied(&by, "no"), "do not ask for the same"),
            ] {
                let next = end.ending(&request).next.unwrap();
                assert!(next.starts_with(begins), "{next}");
                let says = next.contains("use a new request_id");
                assert_eq!(says, id.is_some(), "{next}");
            }
            let cancelled = RequestEnd::cancelled("the caller stopped it");
            assert_eq!(cancelled.ending(&request).next, None);
        }
    }
}
