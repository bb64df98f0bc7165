//! Locks and unlocks remit for an administrator.

use std::rc::Rc;

use remit_common::admin::AdminReply;
use remit_common::outcome;
use remit_common::refusal::{Code, Refusal};

use super::failed;
use super::granting::refuse_giving;
use crate::approval::approver::is_person;
use crate::approval::end::{take_measured, void_all_requests};
use crate::audit::reports::Reports;
use crate::audit::{Event, Record};
use crate::event_loop::lifecycle::Lifecycle;
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::identity::user_names::UserNames;
use crate::job::context::{JobCx, RequestCx};
use crate::job::ended;
use crate::job::state::Parked;
use crate::job::termination::end_job;
use crate::request::{Requester, with_subject};
use crate::state_dir::lock::{Locked, State};

const WHY: usize = 1000;

/// Refuses new requests, ends waiting jobs and, with `kill`, running jobs, but for those that take back changes of files.
pub fn lock(
    cx: &mut JobCx<'_>,
    life: &mut Lifecycle,
    state: &State,
    subject: &Subject,
    (why, kill): (&str, bool),
) -> AdminReply {
    let why = remit_common::text::line(why.as_bytes(), WHY);
    let locked = Locked {
        why: why.clone(),
        by: Some((subject.user().to_owned(), timers::unix_ms())),
    };
    let kept = state.lock(&locked);
    // Remit is locked even if the state file or the audit log cannot be written.
    life.locked = Some(locked);
    let live = cx.jobs.live();
    let (undos, others): (Vec<_>, Vec<_>) = live
        .map(|(serial, job)| (serial, job.plan.is_automatic_undo()))
        .partition(|(_, is_undo)| *is_undo);
    let (jobs, ended) = (undos.len() + others.len(), others.len());
    let go_on = match undos.len() {
        0 => String::new(),
        undos => format!("; recoveries and undos by remitd that go on: {undos}"),
    };
    let (also, rest) = match (jobs, kill) {
        (0, _) => (String::new(), "no job is running".to_owned()),
        (_, true) => (
            format!(" and ends all jobs ({ended}){go_on}"),
            format!("jobs being ended: {ended}{go_on}"),
        ),
        (_, false) => (
            format!(", jobs go on ({jobs})"),
            format!("running jobs: {jobs}; to end them: remit lock --kill -m WHY"),
        ),
    };
    let rest = match cx.jobs.turns().len() {
        0 => rest,
        waiting => format!("{rest}; queued jobs that will not run: {waiting}"),
    };
    let message = format!("{} locks remit{also}: {why}", subject.user());
    let record = with_subject(Record::new(Event::Lock, message), subject, None)
        .field("CAUSE", &why)
        .number("JOBS", u32::try_from(jobs).unwrap_or(u32::MAX))
        .field("KILL", if kill { "yes" } else { "no" });
    cx.reports.audit.note(record);
    let cause = format!("administrator {} locked remit", subject.user());
    let void = void_all_requests(cx, &cause);
    let rest = match void {
        0 => rest,
        void => format!("{rest}; pending requests that are now void: {void}"),
    };
    // Waiting jobs end at once, because an unlock may follow in the same turn.
    ended::end_all_waiting_if_closed(cx, life);
    if kill {
        for (serial, _) in others {
            end_job(cx, serial, outcome::State::Cancelled, &cause);
        }
    }
    match kept {
        Ok(()) => AdminReply::Done(format!("locked; {rest}")),
        Err(error) => {
            let text = format!("locked, but not after a restart: {error}; {rest}");
            let next = "lock again when the state directory can be written";
            AdminReply::Refused(Refusal::new(Code::NotStarted, text).next(next))
        }
    }
}

/// Refuses requests that came before a lock, have no job yet and wait for a child or for their record, and new
/// grants whose accounts are looked up: an unlock may follow in the same turn. What the daemon itself starts for commits also starts while it is locked.
pub fn refuse_unstarted_if_closed(cx: &mut RequestCx<'_>) {
    let Err(refusal) = cx.life.check_open() else {
        return;
    };
    refuse_giving(cx, &refusal, |_| true);
    let mut refused = Vec::new();
    for used in cx.lookups.take_uses(cx.job.reactor) {
        let asked = Rc::new(cx.policies.summary_of(&used.requester.subject, &used.call));
        refused.push((to(&used.requester), asked));
    }
    for fresh in take_measured(&mut cx.job) {
        refused.push((to(&fresh.draft.requester), Rc::clone(fresh.draft.asked())));
        ended::release_draft(&mut cx.job, fresh.draft);
    }
    let parked = cx.job.jobs.all::<Parked>();
    let of_users = parked.filter(|(_, parked)| !parked.plan.basis().is_of_daemon());
    let of_users: Vec<u64> = of_users.map(|(serial, _)| serial).collect();
    for serial in of_users {
        if let Some(Parked { plan, .. }) = cx.job.jobs.take(serial) {
            refused.push((to(&plan.requester), Rc::clone(plan.asked())));
            ended::release_plan(&mut cx.job, plan);
        }
    }
    for (to, asked) in refused {
        let (reports, refusal) = (&mut cx.job.reports, Err(refusal.clone()));
        reports.reply(cx.sessions, to, Some(&asked), refusal);
    }
}

fn to(requester: &Requester) -> (u64, u64) {
    (requester.session, requester.ticket)
}

/// Ends a user's pause after the record is written. Fails for the user's own pause, under any account of the person.
/// `names`: those of accounts now; an account may have had another when the pause began.
pub fn resume(
    reports: &mut Reports,
    subject: &Subject,
    user: &str,
    names: &UserNames,
) -> Result<String, Refusal> {
    let user = remit_common::text::line(user.as_bytes(), WHY);
    let now = |uid| names.name(uid);
    let Some(pause) = reports.breakers.of_user(&user, now).cloned() else {
        return Ok(format!("{user} is not paused"));
    };
    let user = match now(pause.uid).filter(|name| *name != pause.user) {
        None => pause.user.clone(),
        Some(name) => format!("{name} (paused as {})", pause.user),
    };
    if is_person(subject, std::iter::once(pause.uid).chain(pause.login)) {
        let text = "you cannot end your own pause, with any of your accounts";
        return Err(Refusal::new(Code::DeniedRule, text).next("ask another administrator"));
    }
    let message = format!(
        "{} resumes {user}, who was paused: {}",
        subject.user(),
        pause.why
    );
    let record = with_subject(Record::new(Event::Resumed, message), subject, None)
        .field("RESUMED", &pause.user)
        .field("CAUSE", &pause.why);
    let still =
        |why: String| Refusal::new(Code::NotStarted, format!("{user} is still paused: {why}"));
    let written = reports.audit.write(record);
    written.map_err(|why| still(why.to_string()))?;
    let resumed = reports.breakers.resume(pause.uid);
    resumed.map_err(|error| still(error.to_string()))?;
    Ok(format!("{user} may go on"))
}

/// Ends the lock after the record is written, also one that only the next start would have: a file that was made by hand.
pub fn unlock(
    reports: &mut Reports,
    life: &mut Lifecycle,
    state: &State,
    subject: &Subject,
) -> AdminReply {
    if life.locked.is_none() && !matches!(state.locked(), Ok(Some(_))) {
        return AdminReply::Done("it was not locked".into());
    }
    let message = format!("{} unlocks remit", subject.user());
    let record = with_subject(Record::new(Event::Unlock, message), subject, None);
    if let Err(why) = reports.audit.write(record) {
        return failed("still locked", &why.to_string());
    }
    if let Err(error) = state.unlock() {
        // The record before says that it is unlocked.
        let text = format!("still locked: {error}");
        return reports.refuse(subject, Refusal::new(Code::NotStarted, text));
    }
    life.locked = None;
    AdminReply::Done("unlocked".into())
}
