//! Reads the steps of a job until its exec.

use std::os::fd::AsFd;

use remit_link::ToBroker;
use remit_spawn::Progress;

use crate::event_loop::epoll::{Interest, Token};
use crate::job::context::JobCx;
use crate::job::exit::watch_exit;
use crate::job::live::Start;

pub fn on_steps_timeout(cx: &mut JobCx<'_>, serial: u64) {
    watch_exit(cx, serial);
    read_steps(cx, serial);
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    match job.start {
        // If it cannot be watched, the steps are read when the job ends.
        Start::Unknown => {
            let (steps, token) = (&job.process.steps, Token::Steps(serial));
            job.steps_watched = cx.reactor.add(steps, token, Interest::Read).is_ok();
        }
        Start::Executed => tell_running(cx, serial),
        Start::Failed(_) => {}
    }
}

pub fn read_steps(cx: &mut JobCx<'_>, serial: u64) {
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    if !matches!(job.start, Start::Unknown) {
        return;
    }
    let steps = match job.reader.read(job.process.steps.as_fd()) {
        Progress::More => return,
        Progress::Executed(steps) => Ok(steps),
        Progress::Failed(failure, _) => Err(failure),
    };
    let is_late = std::mem::take(&mut job.steps_watched);
    if is_late {
        cx.reactor.remove(&job.process.steps);
    }
    match steps {
        Err(failure) => job.start = Start::Failed(failure),
        Ok(steps) => {
            job.start = Start::Executed;
            job.enforced = cx.sandbox.manager.enforced(&job.plan, &steps);
            if is_late {
                tell_running(cx, serial);
            }
        }
    }
}

fn tell_running(cx: &mut JobCx<'_>, serial: u64) {
    if let Some(job) = cx.jobs.get(serial)
        && let Some(enforced) = job.enforced.clone()
    {
        let (job, enforced) = (job.plan.job, Box::new(enforced));
        cx.reports.tell(&ToBroker::Running { job, enforced });
    }
}
