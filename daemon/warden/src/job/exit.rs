//! Takes the end of a job's first process. The broker's report that the output has ended says so for most jobs, the pidfd for the
//! others: it is watched from a few milliseconds after the start on.

use std::io;
use std::time::Instant;

use remit_common::outcome::State;
use remit_sys::sys;

use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::job::context::JobCx;
use crate::job::life::Event;
use crate::job::live::Job;
use crate::job::termination::follow_life;
use crate::job::{steps, unkillable};

/// Has the loop report the end of the first process. Fails if that is not possible.
pub fn try_watch_exit(reactor: &Reactor, job: &mut Job, serial: u64) -> io::Result<()> {
    let (pidfd, token) = (&job.process.pidfd, Token::Job(serial));
    match job.exit_watched {
        // It was reported once, too early.
        true => reactor.set(pidfd, token, Interest::ReadOnce),
        false => {
            reactor.add(pidfd, token, Interest::ReadOnce)?;
            job.exit_watched = true;
            Ok(())
        }
    }
}

/// Has the loop report the end of the first process. A job that cannot be watched is killed.
pub fn watch_exit(cx: &mut JobCx<'_>, serial: u64) {
    let Some(job) = cx.jobs.get(serial).filter(|job| job.status.is_none()) else {
        return;
    };
    if let Err(error) = try_watch_exit(cx.reactor, job, serial) {
        say!("cannot watch a job: {error}");
        job.stop(State::Interrupted, "it could not be watched");
        follow_life(cx, serial, Event::Kill);
    }
}

/// Takes the end of the first process if it has ended. Otherwise has it reported.
pub fn on_job_exited(cx: &mut JobCx<'_>, serial: u64) {
    let Some(job) = cx.jobs.get(serial) else {
        return unkillable::on_stuck_exited(cx, serial);
    };
    // Its number may be another process's by now.
    if job.status.is_some() {
        return;
    }
    let Some(status) = sys::reap(job.process.pid) else {
        steps::read_steps(cx, serial);
        return watch_exit(cx, serial);
    };
    job.status = Some(status);
    job.exited = Some(Instant::now());
    if std::mem::take(&mut job.exit_watched) {
        cx.reactor.remove(&job.process.pidfd);
    }
    let event = match job.cgroup.populated() {
        Ok(false) => Event::ExitedLast,
        Ok(true) | Err(_) => Event::Exited,
    };
    // After its end: what it reported last counts.
    steps::read_steps(cx, serial);
    follow_life(cx, serial, event);
}
