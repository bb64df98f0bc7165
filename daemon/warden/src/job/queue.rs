//! Queues jobs that wait for a slot or a copy of the machine, and starts them in turn. An approved plan first has its files hashed, and its requester
//! and approver looked up, again: days can pass until a slot is free. So are requester, giver and recipient of a plan by a
//! temporary grant, and requester and approver of what follows an approved commit. It has its slot meanwhile, so no other
//! starts first.

use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::Refusal;
use remit_policy::Basis;

use crate::approval::accepted::AcceptedSignatures;
use crate::approval::file_hash::{Measurement, Measuring};
use crate::approval::grants::ended::judge_grants;
use crate::approval::{look_up_again, wanted};
use crate::audit::Unwritten;
use crate::audit::reports::Outcome;
use crate::event_loop::timers::{self, TURN, Timer, Timers};
use crate::identity::accounts::Question;
use crate::job::context::{JobCx, RequestCx};
use crate::job::copy_bounds::check_copy;
use crate::job::ended::{self, stop_measuring};
use crate::job::life::{Action, Event};
use crate::job::recheck::{Check, recheck};
use crate::job::start::{self, Admission, NotStarted};
use crate::job::state::{MeasuringAgain, Waiting};
use crate::request::{Approved, ApprovedBy, Plan};
use crate::startup::fault::{self, Point};

const FORK_AGAIN: Duration = Duration::from_secs(1);
/// Each try of an approved job measures its files.
const LOG_AGAIN: Duration = Duration::from_secs(1);

/// Queues a plan: it is recorded and kept across restarts. Fails if that fails, or waiting jobs hold too many bytes.
pub fn enqueue(cx: &mut JobCx<'_>, plan: Box<Plan>) -> Result<Outcome, Refusal> {
    let uid = plan.requester.subject.uid();
    if let Err(refusal) = cx.jobs.check_queued_bytes(uid, plan.held) {
        ended::release_plan(cx, plan);
        return Err(refusal);
    }
    enqueue_following(cx, plan)
}

/// As [`enqueue`], whatever the waiting jobs hold: what follows a commit starts next.
pub fn enqueue_following(cx: &mut JobCx<'_>, plan: Box<Plan>) -> Result<Outcome, Refusal> {
    let to = match plan.follows {
        Some(_) => Admission::Following,
        None => Admission::Slot,
    };
    let mut waiting = Waiting::new(plan, timers::unix_ms());
    let (record, meta) = (waiting.plan.queued(), waiting.meta());
    let admitted = start::admit(cx, &mut waiting.plan, to, record, meta);
    if let Err(refusal) = admitted {
        ended::release_plan(cx, waiting.plan);
        return Err(refusal);
    }
    cx.jobs.queue(waiting);
    Ok(Outcome::Started)
}

/// Queues an approved plan, and starts it if a slot is free.
pub fn enqueue_approved(cx: &mut RequestCx<'_>, plan: Box<Plan>, asked_ms: u64) {
    cx.job.jobs.queue(Waiting::new(plan, asked_ms));
    start_all_queued(cx);
    cx.job.jobs.delay_queued();
}

/// Starts waiting jobs while there are free slots and time in this turn of the loop.
pub fn start_all_queued(cx: &mut RequestCx<'_>) {
    let is_closed = ended::end_all_waiting_if_closed(&mut cx.job, cx.life);
    if is_closed || cx.job.jobs.turns().is_empty() {
        return;
    }
    // The self-test takes only a moment.
    if cx.job.sandbox.manager.are_untried() || is_held(&cx.job.reactor.timers) {
        return;
    }
    let turn = Instant::now();
    while turn.elapsed() < TURN {
        let Some(waiting) = cx.job.jobs.next_turn(&cx.settings.config.jobs) else {
            return;
        };
        if !start_queued(cx, waiting) {
            return;
        }
    }
    cx.job.reactor.timers.add(Duration::ZERO, Timer::Begin);
}

/// Starts a queued job that follows a commit, in the slot that the commit or the command before it has left. What is queued
/// does not delay it, and neither do slots that were taken meanwhile: otherwise requesters could choose the start by them.
/// Without a copy of the machine, or just after a failed fork or record, it comes next.
pub fn start_first(cx: &mut RequestCx<'_>, job: JobId) {
    let Some(waiting) = cx.job.jobs.unqueue(job) else {
        return;
    };
    match is_held(&cx.job.reactor.timers) || check_copy(cx.job.jobs, &waiting.plan).is_err() {
        true => cx.job.jobs.put_back(waiting),
        false => _ = start_queued(cx, waiting),
    }
}

fn is_held(timers: &Timers) -> bool {
    timers.has(Timer::Begin) || timers.has(Timer::LogFull)
}

/// Starts a waiting job. Returns false if the audit log cannot be written now, or nothing can be forked.
pub fn start_queued(cx: &mut RequestCx<'_>, mut waiting: Waiting) -> bool {
    fault::point(&cx.job.reports.broker, Point::BeforeBegin);
    waiting.plan.waited = Some(waiting.since.elapsed());
    if let Err(unmet) = recheck(cx, Check::Turn(&mut waiting.plan)) {
        let (state, cause) = unmet.end();
        ended::end_waiting(&mut cx.job, waiting, state, cause);
        return true;
    }
    match waiting.plan.life.advance(Event::Turn) {
        Ok(Action::Hash) => {
            measure_again(cx, waiting);
            return true;
        }
        Ok(_) => {}
        Err(wrong) => {
            let cause = NotStarted::OutOfOrder(wrong).cause();
            ended::end_waiting(&mut cx.job, waiting, State::NotStarted, cause);
            return true;
        }
    }
    let (since, asked_ms) = (waiting.since, waiting.asked_ms);
    let Err((plan, why)) = start::start(&mut cx.job, waiting.plan) else {
        return true;
    };
    let mut waiting = Waiting {
        plan,
        since,
        asked_ms,
    };
    if let NotStarted::Record(later @ Unwritten::Later) = &why
        && waiting.plan.life.advance(why.event()).is_ok()
    {
        cx.job.jobs.put_back(waiting);
        ended::record_later(&mut cx.job, later);
        cx.job.reactor.timers.add(LOG_AGAIN, Timer::LogFull);
        return false;
    }
    ended::end_waiting(&mut cx.job, waiting, State::NotStarted, why.cause());
    let is_fork = matches!(why, NotStarted::Fork(_));
    if is_fork {
        // PID 1 may be dying: the delay protects the next jobs from the same failure.
        cx.job.reactor.timers.add(FORK_AGAIN, Timer::Begin);
    }
    !is_fork
}

/// Starts the recheck. The plan starts or ends when the result arrives.
fn measure_again(cx: &mut RequestCx<'_>, waiting: Waiting) {
    let serial = cx.job.jobs.next_serial();
    match start_measuring(cx, &waiting.plan, serial) {
        Ok(measuring) => {
            let again = MeasuringAgain { waiting, measuring };
            cx.job.jobs.insert(serial, again);
        }
        Err(refusal) => {
            let cause = format!("{}; it never ran", refusal.message);
            ended::end_waiting(&mut cx.job, waiting, State::NotStarted, cause);
        }
    }
}

fn start_measuring(cx: &mut RequestCx<'_>, plan: &Plan, serial: u64) -> Result<Measuring, Refusal> {
    let requester = &plan.requester.subject;
    if let Basis::TemporaryGrant { grant, .. } = plan.basis() {
        let mut question = Question::of([requester]);
        cx.approvals.grants.ask_about_one(*grant, &mut question);
        return look_up_again(&question, None, cx.job.reactor, serial);
    }
    let accepted = |by: &ApprovedBy| {
        let (config, signed) = (&cx.settings.args.config, by.signed.clone());
        AcceptedSignatures::new(config, requester, &by.people, signed)
    };
    if let Some(by) = &plan.follows {
        let question = Question::of(by.people.iter().chain([requester]));
        return look_up_again(&question, Some(&accepted(by)), cx.job.reactor, serial);
    }
    let mut wanted = wanted(plan);
    if let Some(Approved { by, .. }) = &plan.approved {
        by.people.iter().for_each(|one| wanted.people.add(one));
        wanted.accepted = Some(accepted(by));
    }
    wanted.start(cx.job.reactor, serial)
}

/// Handles the result of a recheck: the plan if it may start. Errors: `found` back, if it belongs to another request.
pub fn on_measured_again(
    cx: &mut RequestCx<'_>,
    serial: u64,
    found: Measurement,
) -> Result<Option<Waiting>, Measurement> {
    let Some(again) = cx.job.jobs.find::<MeasuringAgain>(serial) else {
        return Err(found);
    };
    let by_grant = matches!(again.waiting.plan.basis(), Basis::TemporaryGrant { .. });
    if let (true, Ok(found)) = (by_grant, &found) {
        let (grants, policy) = (&mut cx.approvals.grants, &cx.policies.live.policy);
        judge_grants(&mut cx.job, grants, policy, &found.people);
    }
    let Some(mut waiting) = stop_measuring(&mut cx.job, serial) else {
        // It has ended with its grant.
        return Ok(None);
    };
    let plan = &waiting.plan;
    let check = match (&plan.approved, &plan.follows) {
        (Some(approved), _) => Check::Rehashed(plan, approved, &found),
        (None, Some(by)) => Check::Follows(plan, by, &found),
        (None, None) => Check::LookedUp(plan, &found),
    };
    match recheck(cx, check) {
        Ok(()) => match waiting.plan.life.advance(Event::Unchanged) {
            Ok(_) => return Ok(Some(waiting)),
            Err(wrong) => {
                let cause = NotStarted::OutOfOrder(wrong).cause();
                ended::end_waiting(&mut cx.job, waiting, State::NotStarted, cause);
            }
        },
        Err(unmet) => {
            let (state, cause) = unmet.end();
            ended::end_waiting(&mut cx.job, waiting, state, cause);
        }
    }
    Ok(None)
}
