//! Holds requests for a moment while the audit log cannot be written (back-pressure).

use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};

use crate::approval::file_hash::Measurement;
use crate::approval::flow;
use crate::audit::reports::Outcome;
use crate::audit::{Unwritten, unrecorded};
use crate::event_loop::timers::Timer;
use crate::job::context::{JobCx, RequestCx};
use crate::job::life::{Action, Event};
use crate::job::recheck::{Check, recheck};
use crate::job::state::Parked;
use crate::job::{ended, start};
use crate::request::Plan;
use crate::sandbox::PreforkedJob;

/// Maximum number of parked plans, and maximum time.
const PARKED: usize = 100;
const PARKED_FOR: Duration = Duration::from_secs(1);

/// Parks a plan until the audit log can be written. Refuses it if too many are parked.
pub fn park(cx: &mut JobCx<'_>, mut plan: Box<Plan>) -> Result<Outcome, Refusal> {
    let parked = cx.jobs.all::<Parked>().count();
    if parked >= PARKED {
        ended::release_plan(cx, plan);
        return Err(unrecorded(&Unwritten::Later));
    }
    plan.ready = plan.ready.take().map(PreforkedJob::bare);
    let (serial, since) = (cx.jobs.next_serial(), Instant::now());
    cx.jobs.insert(serial, Parked { since, plan });
    watch_log(cx);
    Ok(Outcome::Parked)
}

/// Calls [`unpark`] when the audit log can be written, or once the first held request was held for long enough.
fn watch_log(cx: &mut JobCx<'_>) {
    cx.reports.watch_audit(cx.reactor);
    if !cx.reactor.timers.has(Timer::Parked) {
        cx.reactor.timers.add(PARKED_FOR, Timer::Parked);
    }
}

/// Runs or refuses parked plans, once the audit log can be written again or the time is over.
pub fn unpark(cx: &mut RequestCx<'_>) {
    for Parked { since, plan } in take_parked(&mut cx.job) {
        let to = (plan.requester.session, plan.requester.ticket);
        let asked = Rc::clone(plan.asked());
        let rechecked = match since.elapsed() >= PARKED_FOR {
            true => Err(unrecorded(&Unwritten::Later)),
            false => recheck(cx, Check::Parked(&plan)).map_err(|unmet| unmet.refusal),
        };
        let reply = match rechecked {
            Ok(()) => execute(&mut cx.job, plan),
            Err(refusal) => {
                ended::release_plan(&mut cx.job, plan);
                Err(refusal)
            }
        };
        if let (Ok(Outcome::Parked), Some(last)) =
            (&reply, cx.job.jobs.serials_of::<Parked>().last())
            && let Some(parked) = cx.job.jobs.find_mut::<Parked>(*last)
        {
            // The original start of the wait still counts.
            parked.since = since;
        }
        let reports = &mut cx.job.reports;
        reports.reply(cx.sessions, to, Some(&asked), reply);
    }
    continue_delayed(cx);
    let parked = cx.job.jobs.all::<Parked>().next();
    let since = parked.map(|(_, first)| first.since);
    let delayed = cx.approvals.delayed.first().map(|(since, ..)| *since);
    if let Some(since) = since.into_iter().chain(delayed).min() {
        let left = PARKED_FOR.saturating_sub(since.elapsed());
        cx.job.reactor.timers.add(left, Timer::Parked);
        cx.job.reports.watch_audit(cx.job.reactor);
    }
}

/// Keeps what was measured while the audit log cannot be written: the request that needs it, or its approval, would be
/// refused. It goes on after [`PARKED_FOR`] in any case.
pub fn delay_measured(cx: &mut RequestCx<'_>, serial: u64, found: Measurement) {
    cx.approvals.delayed.push((Instant::now(), serial, found));
    watch_log(&mut cx.job);
}

fn continue_delayed(cx: &mut RequestCx<'_>) {
    for (since, serial, found) in std::mem::take(&mut cx.approvals.delayed) {
        match since.elapsed() >= PARKED_FOR || cx.job.reports.audit.is_writable() {
            true => flow::on_measured(cx, serial, found),
            false => cx.approvals.delayed.push((since, serial, found)),
        }
    }
}

fn take_parked(cx: &mut JobCx<'_>) -> Vec<Parked> {
    let serials = cx.jobs.serials_of::<Parked>();
    let parked = serials.into_iter().map(|serial| cx.jobs.take(serial));
    parked.flatten().collect()
}

/// Drops all parked plans: their clients are gone, and their tickets belong to another broker.
pub fn drop_parked(cx: &mut JobCx<'_>) {
    for Parked { plan, .. } in take_parked(cx) {
        let text = "the broker died while the request waited for its record";
        cx.reports.drop_request(&plan.requester, plan.asked(), text);
        ended::release_plan(cx, plan);
    }
}

/// Refuses a request if the same one is parked, hashed or looked up. Errors: `busy`, for about a second.
pub fn check_not_parked(
    cx: &RequestCx<'_>,
    uid: u32,
    request: Option<(&str, [u8; 32])>,
) -> Result<(), Refusal> {
    let same = |plan: &Plan| {
        let own = plan.request.as_ref().map(|(id, _)| id.as_str());
        own.is_some() && own == request.map(|(id, _)| id)
    };
    if let Some((id, _)) = request
        && (cx.job.jobs.is_examined(uid, id) || cx.lookups.has_request(uid, id))
    {
        let text = "the same request is being examined";
        return Err(Refusal::new(Code::Busy, text).next("ask again in a second"));
    }
    let mut parked = cx.job.jobs.all::<Parked>();
    match parked.any(|(_, p)| p.plan.requester.subject.uid() == uid && same(&p.plan)) {
        false => Ok(()),
        true => Err(Refusal::new(
            Code::Busy,
            "the same request is waiting for its audit record",
        )
        .next("ask again in a second")),
    }
}

/// Starts a plan while its client waits for the answer, at once or after it was parked.
pub fn execute(cx: &mut JobCx<'_>, mut plan: Box<Plan>) -> Result<Outcome, Refusal> {
    if let Err(wrong) = plan.life.advance(Event::Turn) {
        ended::release_plan(cx, plan);
        return Err(wrong.into());
    }
    let Err((mut plan, why)) = start::start(cx, plan) else {
        return Ok(Outcome::Started);
    };
    let refusal = why.refusal();
    match plan.life.advance(why.event()) {
        Ok(Action::Wait) => return park(cx, plan),
        Ok(Action::Forget) => ended::forget(cx, plan.into_draft()),
        // Without a line, one record too many is better than an intent without an end.
        Ok(_) | Err(_) => ended::record_failed_fork(cx, plan, &refusal.message),
    }
    Err(refusal)
}
