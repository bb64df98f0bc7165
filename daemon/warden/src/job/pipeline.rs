//! Takes one request to run something through all steps, in order, each in its own file. A refusal at any step ends
//! the request with a record and an answer, and nothing has run.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, JobMeta, Spec, ToBroker};
use remit_policy::{Grant, Lifted, Terms};

use crate::audit::backpressure::unrecorded;
use crate::audit::{Record, Unwritten};
use crate::identity::accounts::People;
use crate::identity::peer::Subject;
use crate::job::life::{Action, Event, OutOfOrder};
use crate::job::queue::JobSlot;
use crate::job::table::Job;
use crate::request::{Call, Draft, Plan, RequestSummary, Requester};
use crate::startup::error::chain;
use crate::startup::fault::{self, Point};
use crate::state::{Decided, Warden};
use crate::state_dir::ledger::QueuedFor;

pub enum Outcome {
    /// A job was started or queued. The broker has it, with this ticket.
    Started,
    /// Answered later: the audit log cannot be written for now, or the request's files are being hashed.
    Parked,
    Answered(Answer),
}

pub struct RefusedRequest {
    pub refusal: Refusal,
    pub asked: Option<Rc<RequestSummary>>,
}

impl From<Refusal> for RefusedRequest {
    fn from(refusal: Refusal) -> Self {
        let asked = None;
        Self { refusal, asked }
    }
}

/// Runs a request of a session. After a refusal, nothing ran.
pub fn run(
    warden: &mut Warden,
    session: u64,
    ticket: u64,
    spec: Spec,
    fds: Vec<OwnedFd>,
) -> Result<Outcome, RefusedRequest> {
    let subject = warden.subject(session)?;
    let call = Call::new(spec, fds)?;
    let asked = Rc::new(warden.asked(&call));
    let requester = Requester {
        subject,
        session,
        ticket,
    };
    start_request(warden, requester, call).map_err(|refusal| RefusedRequest {
        refusal,
        asked: Some(asked),
    })
}

fn start_request(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
) -> Result<Outcome, Refusal> {
    let subject: &Subject = &requester.subject;
    if let Some(job) = warden.jobs.same_request(subject.owner(), call.request())? {
        return Ok(Outcome::Answered(Answer::Known(job)));
    }
    warden.check_not_parked(subject.uid(), call.request())?;
    warden.check_open()?;
    warden.audit.may_write(subject.uid())?;
    decide_request(warden, requester, call, None)
}

/// Applies the policy to a request. `people`: the accounts that the request rests on, if they were looked up.
pub fn decide_request(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    people: Option<&People>,
) -> Result<Outcome, Refusal> {
    // Decide first: only users who may use a command learn about its arguments.
    match warden.decide(&requester.subject, &call)? {
        Decided::Granted(grant) => start_granted(warden, requester, call, grant),
        Decided::Lifted(lifted) => warden.run_lifted(requester, call, lifted, people),
        Decided::Asks(pending) => {
            let bound = warden.bind(&call, pending.terms())?;
            let new = warden.allocate_job(JobSlot::Later, &bound)?;
            let draft = Box::new(Draft::new(call, bound, requester, new));
            warden.ask_a_person(draft, *pending)
        }
    }
}

/// Runs a granted request, or queues it.
pub fn start_granted(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    grant: Grant,
) -> Result<Outcome, Refusal> {
    let (slot, draft) = make_draft(warden, requester, call, grant.terms())?;
    start_or_queue(warden, slot, Box::new(draft.granted(grant, None)))
}

/// Spends a use of a temporary grant, then runs the request or queues it.
pub fn start_lifted(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    lifted: Lifted,
) -> Result<Outcome, Refusal> {
    let (slot, mut draft) = make_draft(warden, requester, call, lifted.terms())?;
    if let Err(wrong) = draft.life.advance(Event::Lifted) {
        warden.release_draft(Box::new(draft));
        return Err(wrong.into());
    }
    // The use is saved before anything runs by it.
    match lifted.spend(|grant| warden.consume_grant_use(grant)) {
        Ok(grant) => start_or_queue(warden, slot, Box::new(draft.granted(grant, None))),
        Err(refusal) => {
            warden.release_draft(Box::new(draft));
            Err(refusal)
        }
    }
}

fn make_draft(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    terms: &Terms,
) -> Result<(JobSlot, Draft), Refusal> {
    let slot = warden.admit(requester.subject.uid())?;
    let bound = warden.bind(&call, terms)?;
    let new = warden.allocate_job(slot, &bound)?;
    Ok((slot, Draft::new(call, bound, requester, new)))
}

fn start_or_queue(warden: &mut Warden, slot: JobSlot, plan: Box<Plan>) -> Result<Outcome, Refusal> {
    match slot {
        JobSlot::Now => execute(warden, plan),
        JobSlot::Later => warden.enqueue(plan),
    }
}

/// Starts a plan while its client waits for the answer, at once or after it was parked.
pub fn execute(warden: &mut Warden, mut plan: Box<Plan>) -> Result<Outcome, Refusal> {
    if let Err(wrong) = plan.life.advance(Event::Turn) {
        warden.release_plan(plan);
        return Err(wrong.into());
    }
    let Err((mut plan, why)) = start(warden, plan) else {
        return Ok(Outcome::Started);
    };
    let refusal = why.refusal();
    match plan.life.advance(why.event()) {
        Ok(Action::Wait) => return warden.park(plan),
        Ok(Action::Forget) => warden.forget(plan.into_draft()),
        // Without a line, one record too many is better than an intent without an end.
        Ok(_) | Err(_) => warden.record_failed_fork(plan, &refusal.message),
    }
    Err(refusal)
}

/// Starts a plan: ledger, audit record, fork, in this order. This is the only way to run anything. After an error,
/// nothing of the returned plan ran.
pub fn start(warden: &mut Warden, mut plan: Box<Plan>) -> Result<(), (Box<Plan>, NotStarted)> {
    fault::point(warden, Point::BeforeLedger);
    // The ledger comes first: in any case, the next start knows of the job.
    if let Err(error) = warden.ledger.open(&plan) {
        return Err((plan, NotStarted::Ledger(error)));
    }
    fault::point(warden, Point::AfterLedger);
    let ready = plan.ready.take();
    let recorded = match warden.audit.intent(plan) {
        Ok(recorded) => recorded,
        Err((mut plan, why)) => {
            plan.ready = ready;
            return Err((plan, NotStarted::Record(why)));
        }
    };
    fault::point(warden, Point::AfterRecord);
    let forked = match recorded.life.foresee(Event::Forked) {
        Ok(forked) => forked,
        Err(wrong) => {
            let mut plan = recorded.into_inner();
            plan.ready = ready;
            return Err((plan, NotStarted::OutOfOrder(wrong)));
        }
    };
    warden.prefork_pool.want(&recorded.bound.compiled);
    let (process, cgroup) = match warden.sandbox.spawn(&recorded, ready) {
        Ok(spawned) => spawned,
        Err(error) => return Err((recorded.into_inner(), NotStarted::Fork(error))),
    };
    fault::point(warden, Point::AfterFork);
    let mut plan = recorded.into_inner();
    plan.life.follow(forked);
    warden.follow(Job::new(plan, process, cgroup));
    fault::point(warden, Point::AfterSend);
    Ok(())
}

/// Why a plan did not start.
#[derive(Debug)]
pub enum NotStarted {
    Ledger(io::Error),
    Record(Unwritten),
    Fork(remit_sys::Error),
    OutOfOrder(OutOfOrder),
}

impl NotStarted {
    pub const fn event(&self) -> Event {
        match self {
            Self::Record(Unwritten::Later) => Event::LogFull,
            Self::Ledger(_) | Self::Record(_) | Self::Fork(_) | Self::OutOfOrder(_) => {
                Event::Refused
            }
        }
    }

    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Ledger(error) => no_ledger(error),
            Self::Record(Unwritten::OutOfOrder(wrong)) | Self::OutOfOrder(wrong) => (*wrong).into(),
            Self::Record(why) => unrecorded(why),
            Self::Fork(error) => {
                Refusal::new(Code::NotStarted, format!("{}; nothing ran", chain(error)))
            }
        }
    }

    /// Returns the cause of the end of a job that waited.
    pub fn cause(&self) -> String {
        let text = self.refusal().message;
        match self {
            Self::Fork(_) => text,
            Self::Ledger(_) | Self::Record(_) | Self::OutOfOrder(_) => {
                format!("{text}; it never ran")
            }
        }
    }
}

fn no_ledger(error: &io::Error) -> Refusal {
    let text = format!("cannot write the ledger of jobs: {error}");
    Refusal::new(Code::NotStarted, text).lift("free space on the disk of the state directory")
}

/// What a job that does not start yet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Slot,
    Approval,
}

/// Admits a job that has to wait: ledger, audit record, request id, broker, in this order. From here on it waits even
/// without its client. After an error it is not known anywhere.
pub fn admit(
    warden: &mut Warden,
    draft: &mut Draft,
    to: Admission,
    record: Record,
    meta: JobMeta,
) -> Result<(), Refusal> {
    let (queued_for, event, point) = match to {
        Admission::Slot => (QueuedFor::Slot, Event::Queued, Point::AfterQueue),
        Admission::Approval => (QueuedFor::Approval, Event::Asked, Point::AfterAsk),
    };
    let line = draft.life.foresee(event)?;
    fault::point(warden, Point::BeforeLedger);
    let written = warden.ledger.queue(draft, queued_for);
    written.map_err(|error| no_ledger(&error))?;
    fault::point(warden, Point::AfterLedger);
    let written = warden.audit.write(record);
    written.map_err(|why| unrecorded(&why))?;
    fault::point(warden, point);
    draft.life.follow(line);
    warden.jobs.claim(draft);
    warden.tell(&ToBroker::Job {
        secrets: draft.secrets(),
        ticket: Some(draft.requester.ticket),
        meta: Box::new(meta),
    });
    Ok(())
}
