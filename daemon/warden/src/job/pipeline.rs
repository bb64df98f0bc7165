//! Takes one request to run something through all steps, in order, each in its own file. A refusal at any step ends
//! the request with a record and an answer, and nothing has run.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, Spec};
use remit_policy::{Grant, Lifted, Terms};

use crate::audit::Recorded;
use crate::identity::accounts::People;
use crate::identity::peer::Subject;
use crate::job::queue::JobSlot;
use crate::job::table::Job;
use crate::request::{Call, Draft, Plan, RequestSummary, Requester};
use crate::sandbox::PreforkedJob;
use crate::startup::fault::{self, Point};
use crate::state::{Decided, Warden};
use crate::state_dir::ledger::Ledger;

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
    let (slot, draft) = make_draft(warden, requester, call, lifted.terms())?;
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

/// Records a plan and runs it. Also completes a parked plan.
pub fn execute(warden: &mut Warden, plan: Box<Plan>) -> Result<Outcome, Refusal> {
    let mut plan = write_ledger(warden, plan, Ledger::open)?;
    let ready = plan.ready.take();
    let recorded = match warden.audit.intent(plan) {
        Ok(recorded) => recorded,
        Err((mut plan, why)) => {
            plan.ready = ready.map(PreforkedJob::bare);
            return warden.park(plan, why);
        }
    };
    launch(warden, recorded, ready).map_err(|(plan, error)| warden.fail_fork(plan, &error))?;
    Ok(Outcome::Started)
}

/// Writes a plan to the ledger before its audit record: in any case, the next start knows of it. An error drops the
/// plan.
pub fn write_ledger(
    warden: &mut Warden,
    plan: Box<Plan>,
    note: impl FnOnce(&mut Ledger, &Plan) -> io::Result<()>,
) -> Result<Box<Plan>, Refusal> {
    fault::point(warden, Point::BeforeLedger);
    if let Err(error) = note(&mut warden.ledger, &plan) {
        warden.release_plan(plan);
        let text = format!("cannot write the ledger of jobs: {error}");
        return Err(Refusal::new(Code::NotStarted, text)
            .lift("free space on the disk of the state directory"));
    }
    fault::point(warden, Point::AfterLedger);
    Ok(plan)
}

/// Forks a recorded plan and follows the job. After an error, nothing of the returned plan ran.
pub fn launch(
    warden: &mut Warden,
    recorded: Recorded<Box<Plan>>,
    ready: Option<PreforkedJob>,
) -> Result<(), (Box<Plan>, remit_confine::Error)> {
    fault::point(warden, Point::AfterRecord);
    warden.prefork_pool.want(&recorded.bound.compiled);
    let (process, cgroup) = match warden.sandbox.spawn(&recorded, ready) {
        Ok(spawned) => spawned,
        Err(error) => return Err((recorded.into_inner(), error)),
    };
    fault::point(warden, Point::AfterFork);
    warden.follow(Job::new(recorded.into_inner(), process, cgroup));
    fault::point(warden, Point::AfterSend);
    Ok(())
}
