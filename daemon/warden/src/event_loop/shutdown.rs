//! Stops the daemon in order: all jobs are asked to end, but changes without a sandbox and commands that follow an
//! automatic undo may finish. It never blocks: every wait is a timer of the loop. A job gets its grace before SIGKILL,
//! unless asked twice.

use std::time::Duration;

use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::text::first_of;
use remit_common::wire::Effect;
use remit_policy::Base;

use crate::approval::end::void_all_requests;
use crate::event_loop::lifecycle::{Lifecycle, Shutdown};
use crate::event_loop::timers::Timer;
use crate::job::acts::Acts;
use crate::job::context::JobCx;
use crate::job::drain::await_drains;
use crate::job::ended::end_all_waiting;
use crate::job::recovery::has_followed_undo;
use crate::job::table::{Job, Jobs};
use crate::job::termination::{ask_to_end, end_job};
use crate::service::sd_notify::Note;

/// Timeout for jobs that got SIGTERM: end, kill after the grace, drain and record.
const ASKED: Duration = Duration::from_secs(20);
/// The same for jobs that were killed.
const KILLED: Duration = Duration::from_secs(10);
const NAMED: usize = 3;
const CAUSE: &str = "remitd was stopped";

/// Asks all jobs to end, so that the loop ends when they are recorded. A second call kills the rest at once.
pub fn stop(cx: &mut JobCx<'_>, life: &mut Lifecycle, stop_wait_s: u32) {
    match life.shutdown {
        None => begin_shutdown(cx, life, stop_wait_s),
        Some(Shutdown::WaitingForChanges | Shutdown::Asked) => kill_jobs(cx, life),
        Some(Shutdown::Killed) => leave_jobs(cx.jobs, life),
    }
}

pub fn on_shutdown_timeout(cx: &mut JobCx<'_>, life: &mut Lifecycle, stop_wait_s: u32) {
    match life.shutdown {
        Some(Shutdown::WaitingForChanges) => {
            let minutes = stop_wait_s.div_ceil(60);
            say!(
                "changes that run have had {minutes} min (jobs.stop_wait_s): they are asked to end"
            );
            ask_jobs(cx, life, |_, _| true);
        }
        Some(Shutdown::Asked | Shutdown::Killed) => leave_jobs(cx.jobs, life),
        None => {}
    }
}

/// Waits no longer for changes once none runs: what is left are ends that the audit log does not take.
pub fn stop_waiting_for_ended_changes(cx: &mut JobCx<'_>, life: &mut Lifecycle) {
    let is_waiting = matches!(life.shutdown, Some(Shutdown::WaitingForChanges));
    if is_waiting && !goes_on(cx) {
        // The others were asked when the stop began.
        ask_jobs(cx, life, |_, _| false);
    }
}

pub fn shutdown_note(jobs: &Jobs, acts: &Acts, life: &Lifecycle, stop_wait_s: u32) -> Note {
    let waiting_for = match life.shutdown {
        Some(Shutdown::WaitingForChanges) => {
            let live = jobs.live().filter(|(_, job)| may_finish(acts, job));
            let names = live
                .map(|(_, job)| format!("{} (job {})", job.plan.command(), job.plan.job.short()));
            let names: Vec<String> = names.collect();
            match names.is_empty() {
                true => vec!["commands that follow an undo".to_owned()],
                false => names,
            }
        }
        Some(Shutdown::Asked | Shutdown::Killed) | None => Vec::new(),
    };
    Note::Stopping {
        jobs: jobs.count_live(),
        waiting_for: in_words(&waiting_for, stop_wait_s),
    }
}

fn begin_shutdown(cx: &mut JobCx<'_>, life: &mut Lifecycle, stop_wait_s: u32) {
    void_all_requests(cx, CAUSE);
    let cause = "remitd was stopped before the job got a slot; it never ran";
    end_all_waiting(cx, State::Interrupted, cause);
    if goes_on(cx) {
        ask_jobs(cx, life, |acts, job| !may_finish(acts, job));
        life.shutdown = Some(Shutdown::WaitingForChanges);
        let patience = Duration::from_secs(stop_wait_s.into());
        cx.reactor.timers.add(patience, Timer::Stop);
        let Note::Stopping { waiting_for, .. } = shutdown_note(cx.jobs, cx.acts, life, stop_wait_s)
        else {
            return life.extend_shutdown(&mut cx.reactor.timers);
        };
        say!(
            "{}; a second SIGTERM ends all at once",
            waiting_for.unwrap_or_default()
        );
    } else {
        ask_jobs(cx, life, |_, _| true);
    }
    life.extend_shutdown(&mut cx.reactor.timers);
}

/// Each job is killed after its grace.
fn ask_jobs(cx: &mut JobCx<'_>, life: &mut Lifecycle, which: impl Fn(&Acts, &Job) -> bool) {
    let live = cx.jobs.live().filter(|(_, job)| which(cx.acts, job));
    let serials: Vec<u64> = live.map(|(serial, _)| serial).collect();
    for serial in serials {
        ask_to_end(cx, serial, libc::SIGTERM, State::Interrupted, CAUSE);
    }
    life.shutdown = Some(Shutdown::Asked);
    await_drains(cx, life);
    cx.reactor.timers.add(ASKED, Timer::Stop);
}

fn kill_jobs(cx: &mut JobCx<'_>, life: &mut Lifecycle) {
    for serial in cx.jobs.serials() {
        end_job(cx, serial, State::Interrupted, CAUSE);
    }
    life.shutdown = Some(Shutdown::Killed);
    await_drains(cx, life);
    cx.reactor.timers.add(KILLED, Timer::Stop);
}

/// Remaining jobs die with PID 1. The next start records them as interrupted.
fn leave_jobs(jobs: &Jobs, life: &mut Lifecycle) {
    let left = unrecorded(jobs);
    say!("the end of {left} jobs is not recorded; the next start records it");
    life.leaving = true;
}

fn unrecorded(jobs: &Jobs) -> usize {
    jobs.count_live() + jobs.never_ran().count()
}

/// Returns whether a shutdown waits for something: also when the next command that follows an undo is not started yet, or
/// its undo has not ended.
/// Those that follow a commit do not start any more.
fn goes_on(cx: &JobCx<'_>) -> bool {
    let runs = |job: &Job| match cx.acts.follows_undo(job.plan.job) {
        // The next one starts when its end is recorded.
        true => !job.plan.life.is_unrecorded(),
        false => may_finish(cx.acts, job) && !job.plan.life.has_exited(),
    };
    let is_undoing = |undo: JobId| {
        let mut live = cx.jobs.live().map(|(_, job)| &job.plan);
        cx.acts.is_followed(undo) || live.any(|plan| plan.job == undo && !plan.life.is_unrecorded())
    };
    cx.acts.has_due_after_undo()
        || has_followed_undo(cx.confirmations, is_undoing)
        || cx.jobs.live().any(|(_, job)| runs(job))
}

/// Returns whether a shutdown waits for this job. A change without a sandbox may be a package manager half-way; a command
/// that follows an automatic undo has a service read the old files.
fn may_finish(acts: &Acts, job: &Job) -> bool {
    let bound = &job.plan.bound;
    let is_host_change = bound.compiled.base() == Base::Host && bound.effect == Effect::Change;
    is_host_change || acts.follows_undo(job.plan.job)
}

fn in_words(waiting_for: &[String], seconds: u32) -> Option<String> {
    (!waiting_for.is_empty()).then(|| {
        let minutes = seconds.div_ceil(60);
        let named = first_of(waiting_for, NAMED);
        format!("waits up to {minutes} min for changes that run: {named}")
    })
}

#[cfg(test)]
mod tests {
    use remit_common::outcome::Ending;

    use super::*;
    use crate::approval::fixture::Scene;
    use crate::job::outcome::unrun_record;
    use crate::job::state::{NeverRan, Waiting};

    #[test]
    fn end_of_a_job_that_never_ran_is_counted_until_it_is_recorded() {
        let (mut jobs, cause) = (Jobs::default(), "it was stopped");
        for count in 0..3 {
            assert_eq!(unrecorded(&jobs), count);
            let waiting = Waiting::new(Box::new(Scene::new().plan()), 0);
            let (before, state) = (waiting.meta(), State::Interrupted);
            let record = unrun_record(&waiting.plan, state, cause);
            let ending = Ending::unmeasured(state, cause.to_owned(), true);
            let end = NeverRan::new(waiting.plan.into_draft(), before, ending, record);
            let serial = jobs.next_serial();
            jobs.insert(serial, end);
        }
        jobs.queue(Waiting::new(Box::new(Scene::new().plan()), 0));
        assert_eq!(unrecorded(&jobs), 3);
    }

    #[test]
    fn waited_for_changes_are_named_and_counted() {
        let check = |waiting_for: &[&str], expect: Option<&str>| {
            let waiting_for: Vec<String> =
                waiting_for.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(in_words(&waiting_for, 600).as_deref(), expect);
        };
        check(&[], None);
        check(&["a"], Some("waits up to 10 min for changes that run: a"));
        check(
            &["a", "b", "c", "d", "e"],
            Some("waits up to 10 min for changes that run: a, b, c and 2 more"),
        );
    }
}
