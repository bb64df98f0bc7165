//! Tracks jobs that are recorded as ended while a process of theirs is stuck in the kernel. Each keeps its slot and
//! its uid until no process is left. Nothing waits for it.

use std::os::fd::OwnedFd;

use remit_sys::{Cgroup, sys};

use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::job::life::{Action, Event, Life};
use crate::job::table::Job;
use crate::job::termination::AGAIN_MOST;
use crate::job::uid_pool::JobUid;
use crate::startup::error::chain;
use crate::state::Warden;

#[derive(Debug)]
pub struct Stuck {
    pub owner: u32,
    uid: JobUid,
    /// The first process, unless it is reaped.
    first: Option<(i32, OwnedFd)>,
    pub cgroup: Cgroup,
    life: Life,
}

impl Warden {
    pub fn keep_stuck(&mut self, serial: u64, job: Job) {
        let process = job.process;
        let first = job.status.is_none().then_some((process.pid, process.pidfd));
        let cgroup = job.cgroup;
        let (events, token) = (cgroup.events(), Token::Cgroup(serial));
        let _ = self.reactor.add(events, token, Interest::Change);
        let draft = job.plan.into_draft();
        let stuck = Stuck {
            owner: draft.requester.subject.uid(),
            uid: draft.uid,
            first,
            cgroup,
            life: draft.life,
        };
        self.jobs.insert(serial, stuck);
        self.timers.add(AGAIN_MOST, Timer::KillAgain(serial));
        // The state may have changed before it was watched.
        self.check_stuck(serial);
    }

    pub fn on_stuck_exited(&mut self, serial: u64) {
        let Some(stuck) = self.jobs.find_mut::<Stuck>(serial) else {
            return;
        };
        if let Some((pid, pidfd)) = &stuck.first {
            match sys::reap(*pid) {
                Some(_) => stuck.first = None,
                // The reactor reports it again.
                None => drop(
                    self.reactor
                        .set(pidfd, Token::Job(serial), Interest::ReadOnce),
                ),
            }
        }
        self.check_stuck(serial);
    }

    pub fn check_stuck(&mut self, serial: u64) {
        let Some(stuck) = self.jobs.find_mut::<Stuck>(serial) else {
            return;
        };
        let empty = stuck.first.is_none() && matches!(stuck.cgroup.populated(), Ok(false));
        if empty && stuck.life.on(Event::Empty) == Some(Action::Release) {
            self.release_stuck(serial);
        }
    }

    /// No process is left: frees the slot and the uid.
    fn release_stuck(&mut self, serial: u64) {
        let Some(stuck) = self.jobs.take::<Stuck>(serial) else {
            return;
        };
        self.timers.cancel(Timer::KillAgain(serial));
        say!("a process that was stuck in the kernel has ended; its job's slot is free");
        self.uids.give_back(stuck.uid);
        self.reactor.remove(stuck.cgroup.events());
        if let Err(error) = stuck.cgroup.remove() {
            say!("{}", chain(&error));
        }
    }
}
