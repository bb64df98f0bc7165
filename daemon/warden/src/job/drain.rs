//! The output of an exited job: the broker reads it to its end, within a time. Root reads none of it.

use std::time::{Duration, Instant};

use remit_link::{ToBroker, Totals};

use crate::event_loop::lifecycle::Lifecycle;
use crate::event_loop::timers::Timer;
use crate::job::context::JobCx;
use crate::job::exit::on_job_exited;
use crate::job::life::Event;
use crate::job::live::Job;
use crate::job::termination::follow_life;

/// Time for the broker to see the end of the pipes by itself. It usually does, which saves one wake-up.
const EXITED: Duration = Duration::from_millis(10);
/// Time for the broker to drain the pipes after the notice. Then the end is recorded without output numbers. In a stop that
/// ends all jobs it is all of the time, with or without a broker: the end has to be recorded before the daemon leaves.
const DRAIN: Duration = Duration::from_secs(5);
/// The same without a broker: time for the next one to start and to read them, however many end meanwhile.
const NO_BROKER: Duration = Duration::from_secs(15);

/// Returns how much longer the output of a job has to be read, of which the end has been due for the time `due`.
fn patience(due: Duration, has_reader: bool, ends_jobs: bool) -> Duration {
    let most = if ends_jobs { DRAIN } else { NO_BROKER };
    let left = most.saturating_sub(due);
    if has_reader { left.min(DRAIN) } else { left }
}

pub fn await_output(cx: &mut JobCx<'_>, serial: u64) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    // The last reference to it would keep file systems busy, and hold up the end of a daemon that is killed.
    drop(job.process.mount_ns.take());
    if std::mem::take(&mut job.cgroup_watched) {
        cx.reactor.remove(job.cgroup.events());
    }
    if job.totals.is_some() {
        // The broker has all of its output and waits for no notice.
        follow_life(cx, serial, Event::Drained);
    } else {
        cx.reactor.timers.add(EXITED, Timer::Exited(serial));
    }
}

/// Notifies the broker of the exit. It may wait for more output because another process holds the pipes.
pub fn tell_exited(cx: &mut JobCx<'_>, life: &Lifecycle, serial: u64) {
    if let Some(job) = cx.jobs.get(serial) {
        let job = job.plan.job;
        cx.reports.tell(&ToBroker::Exited { job });
        await_drain(cx, life, serial);
    }
}

fn await_drain(cx: &mut JobCx<'_>, life: &Lifecycle, serial: u64) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    let since = *job.drains_since.get_or_insert_with(Instant::now);
    let has_reader = cx.reports.broker.is_ready();
    let left = patience(since.elapsed(), has_reader, life.ends_jobs());
    cx.reactor.timers.add(left, Timer::Drain(serial));
}

/// Sets the time for the output of exited jobs again: their broker has ended, the next one is ready, or the daemon stops.
pub fn await_drains(cx: &mut JobCx<'_>, life: &Lifecycle) {
    let is_waited_for = |job: &Job| job.plan.life.has_exited() && job.totals.is_none();
    let live = cx.jobs.live().filter(|(_, job)| is_waited_for(job));
    let serials: Vec<u64> = live.map(|(serial, _)| serial).collect();
    for serial in serials {
        await_drain(cx, life, serial);
    }
}

/// The broker has not drained it in time. If that is because its main thread has ended, the next one has the rest of the time.
pub fn on_drain_timeout(cx: &mut JobCx<'_>, life: &Lifecycle, serial: u64) {
    cx.reports.broker.check_main_thread();
    let has_reader = cx.reports.broker.is_ready();
    let since = cx.jobs.get(serial).and_then(|job| job.drains_since);
    let due = since.map_or(Duration::MAX, |since| since.elapsed());
    match has_reader || patience(due, has_reader, life.ends_jobs()).is_zero() {
        true => follow_life(cx, serial, Event::Drained),
        false => await_drain(cx, life, serial),
    }
}

pub fn on_drained(cx: &mut JobCx<'_>, serial: u64, totals: Totals) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    job.totals = Some(totals);
    match job.plan.life.is_running() {
        // Most jobs have ended by then.
        true => on_job_exited(cx, serial),
        false => follow_life(cx, serial, Event::Drained),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    #[test]
    fn time_for_the_output_is_bounded_whatever_becomes_of_brokers() {
        for (due, has_reader, is_stopping, left) in [
            (0, true, false, 5),
            (0, false, false, 15),
            (4, true, false, 5),
            (4, false, false, 11),
            (12, true, false, 3),
            (15, true, false, 0),
            (16, false, false, 0),
            (0, true, true, 5),
            (0, false, true, 5),
            (4, false, true, 1),
            (12, true, true, 0),
        ] {
            let seen = patience(STEP * due, has_reader, is_stopping);
            assert_eq!(seen, STEP * left, "{due} {has_reader} {is_stopping}");
        }
    }

    /// Each that becomes ready, and each that ends, sets the time again.
    #[test]
    fn brokers_that_end_again_and_again_hold_no_end_back() {
        for (is_stopping, most) in [(false, NO_BROKER), (true, DRAIN)] {
            let (mut due, mut has_reader) = (Duration::ZERO, true);
            loop {
                let left = patience(due, has_reader, is_stopping);
                assert!(due + left <= most, "{due:?} {left:?}");
                if left.is_zero() {
                    break;
                }
                due += STEP;
                has_reader = !has_reader;
            }
            assert_eq!(due, most);
        }
    }
}
