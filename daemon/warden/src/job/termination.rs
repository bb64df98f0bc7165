//! Job termination: signal, kill, reap, verify the end, record the end, notify the broker.

use std::os::fd::AsFd;
use std::time::Duration;

use remit_common::escape::foreign;
use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_link::JobMeta;
use remit_policy::{Base, Basis};
use remit_sys::sys;

use crate::approval::end;
use crate::event_loop::bus;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::{self, Timer};
use crate::job::acts;
use crate::job::context::JobCx;
use crate::job::drain::await_output;
use crate::job::ended::{self, follow_end};
use crate::job::exit::{on_job_exited, try_watch_exit};
use crate::job::kept_views::{self, LeftView};
use crate::job::life::{Action, Event};
use crate::job::live::{Job, Start};
use crate::job::outcome::{end_record, ending};
use crate::job::plan_checks::{PlanCheck, PlanCheckEnd};
use crate::job::state::Stuck;
use crate::job::unkillable;
use crate::job::unkillable::AGAIN_MOST;
use crate::request::Plan;
use crate::startup::error::chain;
use crate::startup::fault::{self, Point};

/// Time between the first signal of a stop and the kill.
const GRACE: Duration = Duration::from_secs(5);
/// Time for killed processes to end: the first one, then the others. Longer means stuck in a system call.
const KILL: Duration = Duration::from_secs(5);
/// Pause between two kills. Before Linux 6.14, a fork during a kill may leave a process that is not killed.
const AGAIN: Duration = Duration::from_millis(50);

/// The last of the real-time signals on Linux, signal(7).
const LAST_SIGNAL: i32 = 64;

fn pause_after(pause: Duration) -> Duration {
    pause.saturating_mul(2).clamp(AGAIN, AGAIN_MOST)
}

/// Stops a job; of a commit or undo that has ended, the commands that follow it. A job that has already ended counts as
/// stopped. Errors: `invalid_args`: there is no such signal.
pub fn stop_job(
    cx: &mut JobCx<'_>,
    job: JobId,
    signal: Option<i32>,
    cause: &str,
) -> Result<(), Refusal> {
    let signal = signal.unwrap_or(libc::SIGTERM);
    if !(1..=LAST_SIGNAL).contains(&signal) {
        let text = format!("{signal} is not a signal");
        return Err(Refusal::new(Code::InvalidArgs, text).object("signal"));
    }
    let mut job = job;
    if cx.acts.is_followed(job) {
        job = cx.acts.stop(job, cause).unwrap_or(job);
        acts::go_on_soon(cx);
    }
    if let Some(serial) = cx.jobs.serial(job) {
        ask_to_end(cx, serial, signal, State::Cancelled, cause);
        // It has exited, and what follows it begins with the record of that.
        if let Some(job) = cx.jobs.get(serial).filter(|job| job.stop.is_none()) {
            job.acts_stopped.get_or_insert_with(|| cause.to_owned());
        }
    } else {
        ended::end_if_waiting(cx, job, State::Cancelled, cause);
        end::cancel_request(cx, job, cause);
    }
    Ok(())
}

/// Sends a signal to the job's process group, and kills the job after `GRACE`.
pub fn ask_to_end(cx: &mut JobCx<'_>, serial: u64, signal: i32, state: State, cause: &str) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    // A job that has just ended by itself was not stopped. Its end is handled within `start::STEPS`.
    if matches!(sys::pidfd_alive(job.process.pidfd.as_fd()), Ok(false)) {
        return;
    }
    // A repeated stop does not extend the time.
    let first = job.stop.is_none();
    job.stop(state, cause);
    // The whole group gets it, as from a terminal: a shell defers some signals until its child ends. Before
    // there is a group, the process gets it. A process that has just ended needs none.
    if sys::signal_group(job.process.pid, signal).is_err() {
        let _ = sys::pidfd_send_signal(&job.process.pidfd, signal);
    }
    if first {
        cx.reactor.timers.add(GRACE, Timer::Grace(serial));
    }
}

pub fn end_job(cx: &mut JobCx<'_>, serial: u64, state: State, cause: &str) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    job.stop(state, cause);
    follow_life(cx, serial, Event::Kill);
}

/// Tells a forked job's life what happened, and does what it demands.
pub fn follow_life(cx: &mut JobCx<'_>, serial: u64, event: Event) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    match job.plan.life.on(event) {
        Some(Action::Kill) => kill_all(cx, serial),
        Some(Action::KillOthers) => kill_others(cx, serial),
        Some(Action::AwaitOutput) => await_output(cx, serial),
        Some(Action::RecordEnd) => record_end(cx, serial),
        // The others are demanded of jobs that are not forked yet, or by `record_end`.
        Some(_) | None => {}
    }
}

fn kill_all(cx: &mut JobCx<'_>, serial: u64) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    if let Err(error) = job.cgroup.kill() {
        say_error!("cannot end job {}: {}", job.plan.job, chain(&error));
    }
    // The first process is killed separately, in whatever cgroup it is.
    let _ = sys::pidfd_send_signal(&job.process.pidfd, libc::SIGKILL);
    // A repeated kill does not extend the time.
    if !cx.reactor.timers.has(Timer::Kill(serial)) {
        cx.reactor.timers.add(KILL, Timer::Kill(serial));
    }
    if !cx.reactor.timers.has(Timer::KillAgain(serial)) {
        let pause = pause_after(job.kill_pause);
        job.kill_pause = pause;
        cx.reactor.timers.add(pause, Timer::KillAgain(serial));
    }
    if !job.exit_watched && job.status.is_none() && try_watch_exit(cx.reactor, job, serial).is_err()
    {
        say!("the end of job {} cannot be watched yet", job.plan.job);
    }
}

/// Kills again until the cgroup is seen to be empty, even if the job is recorded as ended by then.
pub fn kill_again(cx: &mut JobCx<'_>, serial: u64) {
    // The end of one that could not be watched is looked for.
    on_job_exited(cx, serial);
    look_at_cgroup(cx, serial);
    let (cgroup, pause) = match cx.jobs.get(serial) {
        Some(job) if job.plan.life.is_empty() => return,
        Some(job) => {
            job.kill_pause = pause_after(job.kill_pause);
            (&job.cgroup, job.kill_pause)
        }
        None => match cx.jobs.find::<Stuck>(serial) {
            Some(stuck) => (&stuck.cgroup, AGAIN_MOST),
            None => return,
        },
    };
    if !matches!(cgroup.populated(), Ok(false)) {
        let _ = cgroup.kill();
    }
    cx.reactor.timers.add(pause, Timer::KillAgain(serial));
}

fn kill_others(cx: &mut JobCx<'_>, serial: u64) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    let events = job.cgroup.events();
    let token = Token::Cgroup(serial);
    job.cgroup_watched = cx.reactor.add(events, token, Interest::Change).is_ok();
    cx.reactor.timers.add(KILL, Timer::Kill(serial));
    kill_all(cx, serial);
    // The cgroup may have become empty before it was watched.
    on_cgroup_changed(cx, serial);
}

/// Each look takes away what the watch of the cgroup would report, so whoever looks has to say what it sees.
fn look_at_cgroup(cx: &mut JobCx<'_>, serial: u64) {
    if cx.jobs.get(serial).is_none_or(|job| job.cgroup_watched) {
        on_cgroup_changed(cx, serial);
    }
}

pub fn on_kill_timeout(cx: &mut JobCx<'_>, serial: u64) {
    // A first process that has ended and is not reaped is not stuck.
    on_job_exited(cx, serial);
    look_at_cgroup(cx, serial);
    follow_life(cx, serial, Event::KillTimeout);
}

pub fn on_cgroup_changed(cx: &mut JobCx<'_>, serial: u64) {
    let Some(job) = cx.jobs.get(serial) else {
        return unkillable::check_stuck(cx, serial);
    };
    if matches!(job.cgroup.populated(), Ok(false)) {
        follow_life(cx, serial, Event::Empty);
    }
}

/// Records the end, then reports it. Both wait if the audit log has no space: no end is reported unrecorded.
fn record_end(cx: &mut JobCx<'_>, serial: u64) {
    fault::point(&cx.reports.broker, Point::BeforeEnd);
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    let mut ending = ending(job);
    let record = end_record(job, &ending);
    cx.commits.on_end(job.plan.commit_use(), &ending);
    if let Some(note) = cx.confirmations.on_end(&job.plan, &ending) {
        ending.next = Some(note);
    }
    kept_views::take_left(job, ending.has_succeeded());
    let meta = job.ended(ending);
    // After a crash from here on, the next start knows the end and records it again.
    let decision = job.plan.decision();
    let unfinished = acts::unfinished(&job.plan, &meta);
    cx.ledger.end(job.plan.job, &unfinished, decision.as_ref());
    fault::point(&cx.reports.broker, Point::EndWritten);
    if let Err(why) = cx.reports.audit.write(record) {
        say!("the end of job {} waits: {why}", meta.job);
        if let Some(job) = cx.jobs.get(serial) {
            follow_end(&mut job.plan.life, Event::LogFull, Action::Wait);
            job.enforced = meta.enforced;
        }
        ended::record_later(cx, &why);
        return;
    }
    let Some(mut job) = cx.jobs.take::<Job>(serial) else {
        return;
    };
    cx.reactor.timers.cancel_job(serial);
    let request = job.plan.request.as_ref().map(|(id, _)| id.clone());
    // A program can exit with 0 although it was stopped.
    let failed = !meta.ending.as_ref().is_some_and(Ending::has_succeeded);
    match job.start {
        Start::Failed(_) => _ = count_check(cx, &job.plan, PlanCheckEnd::NotRun),
        Start::Unknown | Start::Executed => count_end(cx, &job.plan, !failed),
    }
    let is_unconfirmed = cx.confirmations.is_undone_by(job.plan.job);
    let (ending, stopped) = (meta.ending.as_ref(), job.acts_stopped.as_deref());
    let then = cx.acts.begin(&job.plan, ending, is_unconfirmed, stopped);
    let meta = JobMeta { then, ..meta };
    let profile = job.plan.bound.compiled.profile();
    let visibility = failed.then(|| Box::new(cx.sandbox.manager.visibility(profile)));
    ended::remember(cx, meta, request, visibility);
    match job.plan.life.advance(Event::EndRecorded) {
        Ok(Action::Release) => {
            let id = job.plan.job;
            let owner = job.plan.requester.subject.uid();
            let draft = job.plan.into_draft();
            match job.left {
                Some((view, bytes)) => {
                    let left = LeftView {
                        job: id,
                        owner,
                        uid: draft.uid,
                        view,
                        bytes,
                        ended: timers::since_boot(),
                        reader: None,
                    };
                    kept_views::keep(cx, left);
                }
                None => bus::release(cx, id, draft.uid),
            }
            drop(draft.kept);
            // One that has failed made no plan: the next one may, as with a disk that was full.
            match failed {
                true => kept_views::give_back(cx, id),
                false => kept_views::end_reader(cx, id),
            }
            cx.sandbox.release_ended(job.process, job.cgroup);
        }
        // Without a verified kill, the uid belongs to no other job.
        Ok(_) | Err(_) => unkillable::keep_stuck(cx, serial, job),
    }
}

/// Maximum bytes of a check's command for approvers.
const CHECK: usize = 300;

fn is_counted(plan: &Plan) -> bool {
    !plan.basis().is_of_daemon() && *plan.basis() != Basis::TryByRoot
}

/// Remembers the end of a check for the approvers of its plan. Returns false if it is no check of a plan.
fn count_check(cx: &mut JobCx<'_>, plan: &Plan, end: PlanCheckEnd) -> bool {
    let call = plan.call();
    let digest = call.plan_digest().filter(|_| plan.bound.staged.is_some());
    let Some(digest) = digest.filter(|_| is_counted(plan)) else {
        return false;
    };
    let check = PlanCheck {
        plan: digest.to_owned(),
        key: call.command_hash(),
        command: foreign(plan.command(), CHECK),
        job: Some(plan.job),
        end,
        is_in_copy: plan.bound.compiled.base() == Base::Plan,
        ended: timers::since_boot(),
    };
    cx.jobs.checks.on_ended(plan.requester.subject.uid(), check);
    true
}

/// Counts the end of a job that ran, for the floor, the breakers, and approvers of its plan.
fn count_end(cx: &mut JobCx<'_>, plan: &Plan, is_well: bool) {
    if !is_counted(plan) {
        return;
    }
    let call = plan.call();
    if plan.bound.effect == Effect::Change {
        let change = (&plan.requester.subject, call.name_in_rules());
        cx.reports.on_change_ended(change, is_well);
    }
    let end = match is_well {
        true => PlanCheckEnd::Well,
        false => PlanCheckEnd::Failed,
    };
    if count_check(cx, plan, end) {
        return;
    }
    if let (Some(command), []) = (plan.definition(), call.args()) {
        cx.jobs
            .required
            .on_ended(command, is_well, timers::since_boot());
    }
}

pub fn record_waiting_ends(cx: &mut JobCx<'_>) {
    for serial in cx.jobs.serials() {
        follow_life(cx, serial, Event::LogReady);
    }
    ended::record_waiting_unrun(cx);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k05_pauses_between_kills_grow_to_a_second() {
        let pauses = std::iter::successors(Some(pause_after(Duration::ZERO)), |pause| {
            Some(pause_after(*pause))
        });
        let pauses: Vec<_> = pauses.take(7).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
