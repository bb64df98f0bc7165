//! Runs or queues what a rule or a temporary grant permits.

use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_policy::{Grant, Lifted, Terms};

use crate::audit::reports::Outcome;
use crate::job::admission::JobSlot;
use crate::job::context::{JobCx, RequestCx};
use crate::job::life::Event;
use crate::job::{backpressure, ended, queue};
use crate::request::{BoundCall, Call, Draft, NewJob, Plan, Requester};

pub fn start_granted(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: Grant,
) -> Result<Outcome, Refusal> {
    let (slot, draft) = make_draft(cx, requester, call, grant.terms())?;
    start_or_queue(&mut cx.job, slot, Box::new(draft.granted(grant, None)))
}

/// Runs or queues what the daemon starts itself.
pub fn start_own(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: Grant,
) -> Result<JobId, Refusal> {
    start_in(cx, requester, call, grant, None)
}

/// Queues what the daemon starts itself: whatever becomes of it, its end is recorded and reported.
pub fn queue_own(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: Grant,
) -> Result<JobId, Refusal> {
    start_in(cx, requester, call, grant, Some(JobSlot::Later))
}

fn start_in(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: Grant,
    wanted: Option<JobSlot>,
) -> Result<JobId, Refusal> {
    let (slot, draft) = make_draft(cx, requester, call, grant.terms())?;
    let (job, plan) = (draft.job, Box::new(draft.granted(grant, None)));
    start_or_queue(&mut cx.job, wanted.unwrap_or(slot), plan).map(|_| job)
}

/// Spends a use of a temporary grant, then runs the request or queues it.
pub fn start_lifted(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    lifted: Lifted,
) -> Result<Outcome, Refusal> {
    let (slot, mut draft) = make_draft(cx, requester, call, lifted.terms())?;
    if let Err(wrong) = draft.life.advance(Event::Lifted) {
        ended::release_draft(&mut cx.job, Box::new(draft));
        return Err(wrong.into());
    }
    // The use is saved before anything runs by it.
    match lifted.spend(|grant| cx.approvals.grants.consume_grant_use(grant)) {
        Ok(grant) => start_or_queue(&mut cx.job, slot, Box::new(draft.granted(grant, None))),
        Err(refusal) => {
            ended::release_draft(&mut cx.job, Box::new(draft));
            Err(refusal)
        }
    }
}

fn make_draft(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    terms: &Terms,
) -> Result<(JobSlot, Draft), Refusal> {
    let (limits, free_uids) = (&cx.settings.config.jobs, cx.job.sandbox.free_uids());
    let uid = requester.subject.uid();
    let slot = cx.job.jobs.slot_for(uid, limits, free_uids)?;
    let (bound, new) = bind(cx, slot, &call, terms)?;
    Ok((slot, Draft::new(call, bound, requester, new)))
}

fn start_or_queue(cx: &mut JobCx<'_>, slot: JobSlot, plan: Box<Plan>) -> Result<Outcome, Refusal> {
    match slot {
        JobSlot::Now => backpressure::execute(cx, plan),
        JobSlot::Later => queue::enqueue(cx, plan),
    }
}

/// Binds a request to exactly what is executed under a rule, and gives it an id, a number and a uid. Fails as
/// [`BoundCall::new`], or if the self-test did not pass or no uid is free.
pub fn bind(
    cx: &mut RequestCx<'_>,
    slot: JobSlot,
    call: &Call,
    terms: &Terms,
) -> Result<(BoundCall, NewJob), Refusal> {
    let setting = cx.policies.setting(&cx.settings.limits);
    let bound = BoundCall::new(call, terms, &setting)?;
    let command = terms.command().map(AsRef::as_ref);
    cx.job.commits.check(command, &cx.policies.live.policy)?;
    let sandbox = &mut cx.job.sandbox;
    let follow = bound.acts.iter().map(|act| &act.bound);
    follow
        .chain([&bound])
        .try_for_each(|bound| sandbox.manager.check_usable(bound.compiled.base()))?;
    let number = cx.job.jobs.next_number();
    let new = sandbox.allocate_job(slot, &bound.compiled, number)?;
    Ok((bound, new))
}
