//! Ends what never ran, and reports each end once it is recorded. A request that was no job is refused and forgotten.

use std::time::Duration;

use remit_common::denial::ProfileVisibility;
use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_link::{JobMeta, ToBroker};
use remit_policy::Basis;

use crate::approval::ask_again;
use crate::audit::Unwritten;
use crate::event_loop::lifecycle::Lifecycle;
use crate::event_loop::timers::{self, Timer};
use crate::job::acts;
use crate::job::context::JobCx;
use crate::job::life::{Action, Event, Life};
use crate::job::outcome::unrun_record;
use crate::job::recheck::LATE;
use crate::job::state::{MeasuringAgain, NeverRan, Waiting};
use crate::job::unconfirmed;
use crate::request::{Draft, Plan};
use crate::startup::fault::{self, Point};
use crate::state_dir::ledger::Ended;

/// Time until the next try.
const RECORD: Duration = Duration::from_secs(1);

/// Ends a waiting job. Does nothing if the job does not wait.
pub fn end_if_waiting(cx: &mut JobCx<'_>, job: JobId, state: State, cause: &str) {
    let waiting = cx.jobs.unqueue(job);
    let waiting = waiting.or_else(|| stop_measuring(cx, cx.jobs.serial_of::<MeasuringAgain>(job)?));
    if let Some(waiting) = waiting {
        end_waiting(cx, waiting, state, format!("{cause}; it never ran"));
    }
}

/// Ends approved jobs that got no slot in time. Otherwise requesters could choose the start by their slots.
pub fn end_late(cx: &mut JobCx<'_>) {
    let now = timers::since_boot();
    let late = cx.jobs.queued().filter(|waiting| waiting.plan.is_late(now));
    let late: Vec<_> = late.map(|waiting| waiting.plan.job).collect();
    for job in late {
        end_if_waiting(cx, job, State::Expired, LATE);
    }
}

/// Ends jobs that wait while the daemon is locked or stopping. Returns whether it is.
pub fn end_all_waiting_if_closed(cx: &mut JobCx<'_>, life: &Lifecycle) -> bool {
    let Err(refusal) = life.check_open() else {
        return false;
    };
    let cause = format!("{}; it never ran", refusal.message);
    end_all_waiting(cx, State::NotStarted, &cause);
    true
}

pub fn end_all_waiting(cx: &mut JobCx<'_>, state: State, cause: &str) {
    while let Some(waiting) = cx.jobs.take_queued() {
        end_waiting(cx, waiting, state, cause.to_owned());
    }
    for serial in cx.jobs.serials_of::<MeasuringAgain>() {
        if let Some(waiting) = stop_measuring(cx, serial) {
            end_waiting(cx, waiting, state, cause.to_owned());
        }
    }
}

/// A request that was approved and then denied is void. One that was approved too long ago has expired.
pub fn end_waiting(cx: &mut JobCx<'_>, waiting: Waiting, state: State, cause: String) {
    let code = match state {
        State::Denied if is_by_person(&waiting.plan) => Some(Code::ApprovalVoid),
        State::Expired => Some(Code::ApprovalExpired),
        _ => None,
    };
    let ending = Ending::unmeasured(state, cause.clone(), true);
    let ending = match code {
        Some(code) => ending.refused(code, ask_again(waiting.plan.request.as_ref())),
        None => ending,
    };
    let record = unrun_record(&waiting.plan, state, &cause);
    let (before, decision) = (waiting.meta(), waiting.plan.decision());
    let draft = waiting.plan.into_draft();
    let end = NeverRan::new(draft, before, ending, record);
    end_never_ran(cx, NeverRan { decision, ..end });
}

/// Returns whether a person approved it, or gave the grant. Its end is void if it is denied after all.
pub fn is_by_person(plan: &Plan) -> bool {
    matches!(
        plan.basis(),
        Basis::Approved { .. } | Basis::TemporaryGrant { .. }
    )
}

pub fn end_never_ran(cx: &mut JobCx<'_>, mut end: NeverRan) {
    follow_end(&mut end.life, Event::Refused, Action::RecordEnd);
    record_never_ran(cx, end);
}

pub fn record_waiting_unrun(cx: &mut JobCx<'_>) {
    for serial in cx.jobs.serials_of::<NeverRan>() {
        let end = cx.jobs.find_mut::<NeverRan>(serial);
        let action = end.and_then(|end| end.life.on(Event::LogReady));
        if action == Some(Action::RecordEnd)
            && let Some(end) = cx.jobs.take(serial)
        {
            record_never_ran(cx, end);
        }
    }
}

/// Records the end, and only then reports it.
fn record_never_ran(cx: &mut JobCx<'_>, mut end: NeverRan) {
    let decision = end.decision.as_ref();
    cx.ledger.end(end.after.job, &end.after, decision);
    if let Err(why) = cx.reports.audit.write(end.record.clone()) {
        say!("the end of job {} waits: {why}", end.after.job);
        follow_end(&mut end.life, Event::LogFull, Action::Wait);
        let serial = cx.jobs.next_serial();
        cx.jobs.insert(serial, end);
        record_later(cx, &why);
        return;
    }
    follow_end(&mut end.life, Event::EndRecorded, Action::Release);
    cx.sandbox.release_prepared(end.ready, end.uid);
    remember(cx, end.after, end.request, None);
}

pub fn release_plan(cx: &mut JobCx<'_>, plan: Box<Plan>) {
    release_draft(cx, Box::new(plan.into_draft()));
}

pub fn release_draft(cx: &mut JobCx<'_>, mut draft: Box<Draft>) {
    follow_end(&mut draft.life, Event::Refused, Action::Forget);
    forget(cx, *draft);
}

pub fn forget(cx: &mut JobCx<'_>, draft: Draft) {
    cx.ledger.forget(draft.job);
    cx.sandbox.release_prepared(draft.ready, draft.uid);
}

/// Records that a job was not forked whose intent is recorded, and forgets it.
pub fn record_failed_fork(cx: &mut JobCx<'_>, plan: Box<Plan>, cause: &str) {
    let record = unrun_record(&plan, State::NotStarted, cause);
    let draft = plan.into_draft();
    let ended = Ended::not_started(timers::unix_ms(), cause.to_owned());
    cx.ledger.note_end(draft.job, &ended);
    cx.reports.audit.note(record);
    if cx.reports.audit.has_undelivered() {
        // The ledger keeps the job and its end: if remitd dies before it is recorded, the next start records it.
        cx.sandbox.release_prepared(draft.ready, draft.uid);
    } else {
        forget(cx, draft);
    }
}

/// Removes a plan from the recheck and ends its child.
pub fn stop_measuring(cx: &mut JobCx<'_>, serial: u64) -> Option<Waiting> {
    let MeasuringAgain { waiting, measuring } = cx.jobs.take(serial)?;
    cx.reactor.timers.cancel(Timer::Measuring(serial));
    cx.reactor.remove(measuring.fd());
    Some(waiting)
}

/// Takes an event of an end to the next stage. If the table demands something else, that is said, and the end goes on:
/// nothing runs that could be stopped for it, and its slot and its uid have to become free.
pub fn follow_end(life: &mut Life, event: Event, due: Action) {
    match life.advance(event) {
        Ok(action) if action == due => {}
        Ok(action) => {
            say_error!("{event:?} ends a job with {due:?}, but its table says {action:?}")
        }
        Err(wrong) => say_error!("{wrong}"),
    }
}

/// Remembers an ended job and may forget older ones. `visibility`: what the profile allowed, if the job ran and failed.
pub fn remember(
    cx: &mut JobCx<'_>,
    mut meta: JobMeta,
    request: Option<String>,
    visibility: Option<Box<ProfileVisibility>>,
) {
    let Some(ending) = meta.ending.take() else {
        return;
    };
    fault::point(&cx.reports.broker, Point::EndRecorded);
    cx.ledger.recorded(meta.job);
    cx.commits.on_recorded(meta.job, &ending);
    unconfirmed::on_recorded(cx, meta.job, &ending);
    acts::on_recorded(cx, meta.job, &ending);
    fault::point(&cx.reports.broker, Point::AfterEnd);
    let message = ToBroker::Ended {
        visibility,
        job: meta.job,
        enforced: meta.enforced.take().map(Box::new),
        ending: Box::new(ending),
        then: meta.then.clone(),
    };
    if let ToBroker::Ended {
        enforced, ending, ..
    } = &message
    {
        meta.enforced = enforced.as_deref().cloned();
        meta.ending = Some(ending.as_ref().clone());
    }
    if let Some(message) = cx.acts.hold(message, &meta) {
        cx.reports.tell(&message);
        cx.admins.tell_ended(&meta);
    }
    if let Some(job) = cx.jobs.keep(meta, request) {
        cx.jobs.forgotten.push(job);
    }
}

/// Retries a record later. A failed sink is not watched, because it might always be ready.
pub fn record_later(cx: &mut JobCx<'_>, why: &Unwritten) {
    if matches!(why, Unwritten::Later) {
        cx.reports.watch_audit(cx.reactor);
    }
    if !cx.reactor.timers.has(Timer::Ends) {
        cx.reactor.timers.add(RECORD, Timer::Ends);
    }
}
