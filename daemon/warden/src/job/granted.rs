//! Runs or queues what a rule or a temporary grant permits.

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Basis, Command, Grant, Lifted, Terms};

use crate::audit::reports::Outcome;
use crate::event_loop::timers::{self, Timer};
use crate::job::admission::JobSlot;
use crate::job::context::{JobCx, RequestCx};
use crate::job::copy_bounds::check_new_copy;
use crate::job::kept_views;
use crate::job::life::Event;
use crate::job::{backpressure, ended, queue};
use crate::request::file_change::Undo;
use crate::request::{ApprovedBy, BoundCall, Call, Draft, NewJob, Plan, Requester};
use crate::sandbox::checkup::test_plan_if_new;

pub fn start_granted(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: Grant,
) -> Result<Outcome, Refusal> {
    let (slot, draft) = make_draft(cx, requester, call, grant.terms())?;
    start_or_queue(&mut cx.job, slot, Box::new(draft.granted(grant, None)))
}

/// Runs what the daemon starts itself for commits of files. Neither full slots nor what waits for them delays it.
pub fn start_own(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: Grant,
) -> Result<JobId, Refusal> {
    let (bound, new) = bind(cx, JobSlot::Now, &call, grant.terms(), None)?;
    let draft = Draft::new(call, bound, requester, new);
    let (job, plan) = (draft.job, Box::new(draft.granted(grant, None)));
    backpressure::execute(&mut cx.job, plan).map(|_| job)
}

/// Queues what follows a commit, which `approved` have approved: whatever becomes of it, its end is recorded and reported. A full queue does not refuse it.
pub fn queue_own(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: Grant,
    approved: Option<ApprovedBy>,
) -> Result<JobId, Refusal> {
    let uid = requester.subject.uid();
    let (bound, new) = bind(cx, JobSlot::Later, &call, grant.terms(), Some(uid))?;
    let draft = Draft::new(call, bound, requester, new);
    let (job, mut plan) = (draft.job, Box::new(draft.granted(grant, None)));
    plan.follows = approved;
    queue::enqueue_following(&mut cx.job, plan).map(|_| job)
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
    let rests = cx.job.reactor.timers.has(Timer::LogFull);
    let slot = cx.job.jobs.slot_for(uid, limits, free_uids, rests)?;
    let (bound, new) = bind(cx, slot, &call, terms, Some(uid))?;
    Ok((slot, Draft::new(call, bound, requester, new)))
}

fn start_or_queue(cx: &mut JobCx<'_>, slot: JobSlot, plan: Box<Plan>) -> Result<Outcome, Refusal> {
    match slot {
        JobSlot::Now => backpressure::execute(cx, plan),
        JobSlot::Later => queue::enqueue(cx, plan),
    }
}

/// Binds a request to exactly what is executed under a rule, and gives it an id, a number and a uid. Fails as
/// [`BoundCall::new`], or if the self-test did not pass or no uid is free. `requester`: its uid, or `None` for the daemon.
pub fn bind(
    cx: &mut RequestCx<'_>,
    slot: JobSlot,
    call: &Call,
    terms: &Terms,
    requester: Option<u32>,
) -> Result<(BoundCall, NewJob), Refusal> {
    let bound = bind_unnoted(cx, slot, call, terms, requester);
    let is_check = terms
        .command()
        .is_some_and(|command| command.checks_plans());
    if let (Err(_), true, Some(uid), Some(plan)) = (&bound, is_check, requester, call.plan_digest())
    {
        let checks = &mut cx.job.jobs.checks;
        checks.on_refused(uid, plan, &call.command_hash(), timers::since_boot());
    }
    bound
}

fn bind_unnoted(
    cx: &mut RequestCx<'_>,
    slot: JobSlot,
    call: &Call,
    terms: &Terms,
    requester: Option<u32>,
) -> Result<(BoundCall, NewJob), Refusal> {
    let setting = cx.policies.setting(&cx.settings.limits);
    let mut bound = BoundCall::new(call, terms, &setting)?;
    bound.after_undo = cx.job.confirmations.following_undo(&bound);
    let command = terms.command().map(AsRef::as_ref);
    let (is_to_be_confirmed, policy) = (bound.confirm.is_some(), &cx.policies.live.policy);
    let commits = &mut cx.job.commits;
    match requester {
        None => commits.may_start_own(command, policy)?,
        Some(_) => commits.check(command, is_to_be_confirmed, policy)?,
    }
    if let Some(uid) = requester {
        let used = command.and_then(Command::commit_use);
        cx.job.confirmations.may_start(used, uid, call, &bound)?;
        check_unfollowed(&cx.job, &bound)?;
    }
    if bound.is_on_copy() {
        // What follows a commit starts next, and has its copy then.
        if requester.is_none() || !call.follows_commit() {
            check_new_copy(cx.job.jobs, requester)?;
        }
        // Root can try it before a policy uses it.
        test_plan_if_new(&mut cx.job);
    }
    if cx.job.sandbox.free_uids() == 0 {
        kept_views::drop_oldest(&mut cx.job);
    }
    let sandbox = &mut cx.job.sandbox;
    let follow = bound.acts.iter().map(|act| &act.bound);
    follow
        .chain([&bound])
        .try_for_each(|bound| sandbox.manager.check_usable(bound.compiled.base()))?;
    let number = cx.job.jobs.next_number();
    let new = sandbox.allocate_job(slot, &bound.compiled, number)?;
    Ok((bound, new))
}

/// Fails unless this plan may start now, if it commits or undoes changes of files.
pub fn may_commit(cx: &RequestCx<'_>, plan: &Plan) -> Result<(), Refusal> {
    if *plan.basis() == Basis::Unconfirmed {
        // It is in the way of the others.
        let policy = &cx.policies.live.policy;
        return cx.job.commits.may_start_own(plan.definition(), policy);
    }
    may_commit_draft(cx, plan, plan.definition())
}

/// As [`may_commit`], of a draft of this command.
pub fn may_commit_draft(
    cx: &RequestCx<'_>,
    draft: &Draft,
    command: Option<&Command>,
) -> Result<(), Refusal> {
    let (job, bound) = (&cx.job, &draft.bound);
    let (is_to_be_confirmed, policy) = (bound.confirm.is_some(), &cx.policies.live.policy);
    job.commits.may_start(command, is_to_be_confirmed, policy)?;
    let used = command.and_then(Command::commit_use);
    let uid = draft.requester.subject.uid();
    job.confirmations
        .may_start(used, uid, draft.call(), bound)?;
    check_unfollowed(job, bound)
}

/// Fails for the undo of a commit whose commands are not over, or that still runs and has some: they would start on the old
/// files, and run beside those that the undo carries.
fn check_unfollowed(cx: &JobCx<'_>, bound: &BoundCall) -> Result<(), Refusal> {
    let Some(id) = bound.undo.as_ref().map(Undo::id) else {
        return Ok(());
    };
    let is_it =
        |plan: &Plan| !plan.bound.acts.is_empty() && plan.committed().as_deref() == Some(id);
    let mut live = cx.jobs.live().map(|(_, job)| &job.plan);
    let running = live.find(|plan| is_it(plan)).map(|plan| plan.job);
    match cx.acts.followed_commit(id).or(running) {
        None => Ok(()),
        Some(job) => Err(still_followed(id, job)),
    }
}

fn still_followed(id: &str, job: JobId) -> Refusal {
    let text = "the commands that follow this commit are not over: no undo of it starts before";
    let stop = format!(
        "try again once they are, or end them: remit stop {}",
        job.short()
    );
    Refusal::new(Code::Busy, text).object(id).next(stop)
}
