//! Tracks ended jobs with a process stuck in the kernel: they keep slot and uid until none is left. Nothing waits.

use std::time::Duration;

use remit_sys::sys;

use crate::event_loop::bus;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::job::context::JobCx;
use crate::job::kept_views;
use crate::job::life::{Action, Event};
use crate::job::live::Job;
use crate::job::state::Stuck;
use crate::startup::error::chain;

/// Longest pause between two kills: before Linux 6.14, a fork during a kill may leave a process that is not killed.
pub const AGAIN_MOST: Duration = Duration::from_secs(1);

pub fn keep_stuck(cx: &mut JobCx<'_>, serial: u64, job: Job) {
    let process = job.process;
    let first = job.status.is_none().then_some((process.pid, process.pidfd));
    let cgroup = job.cgroup;
    let (events, token) = (cgroup.events(), Token::Cgroup(serial));
    let _ = cx.reactor.add(events, token, Interest::Change);
    let id = job.plan.job;
    let draft = job.plan.into_draft();
    let stuck = Stuck {
        job: id,
        owner: draft.requester.subject.uid(),
        uid: draft.uid,
        first,
        cgroup,
        life: draft.life,
        is_on_copy: draft.bound.is_on_copy(),
    };
    cx.jobs.insert(serial, stuck);
    cx.reactor.timers.add(AGAIN_MOST, Timer::KillAgain(serial));
    // The state may have changed before it was watched.
    check_stuck(cx, serial);
}

pub fn on_stuck_exited(cx: &mut JobCx<'_>, serial: u64) {
    let Some(stuck) = cx.jobs.find_mut::<Stuck>(serial) else {
        return;
    };
    if let Some((pid, pidfd)) = &stuck.first {
        match sys::reap(*pid) {
            Some(_) => stuck.first = None,
            // The reactor reports it again.
            None => drop(
                cx.reactor
                    .set(pidfd, Token::Job(serial), Interest::ReadOnce),
            ),
        }
    }
    check_stuck(cx, serial);
}

pub fn check_stuck(cx: &mut JobCx<'_>, serial: u64) {
    let Some(stuck) = cx.jobs.find_mut::<Stuck>(serial) else {
        return;
    };
    let empty = stuck.first.is_none() && matches!(stuck.cgroup.populated(), Ok(false));
    if empty && stuck.life.on(Event::Empty) == Some(Action::Release) {
        release_stuck(cx, serial);
    }
}

/// No process is left: frees the slot and the uid.
fn release_stuck(cx: &mut JobCx<'_>, serial: u64) {
    let Some(stuck) = cx.jobs.take::<Stuck>(serial) else {
        return;
    };
    cx.reactor.timers.cancel(Timer::KillAgain(serial));
    say!("a process that was stuck in the kernel has ended; its job's slot is free");
    // Otherwise its calls would be recorded as those of the next job of this uid.
    bus::release(cx, stuck.job, stuck.uid);
    kept_views::end_reader(cx, stuck.job);
    cx.reactor.remove(stuck.cgroup.events());
    if let Err(error) = stuck.cgroup.remove() {
        say!("{}", chain(&error));
    }
}
