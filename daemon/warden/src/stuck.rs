//! Jobs that are recorded as ended, while a process of theirs is still stuck in the kernel.
//!
//! Each takes a place, and its uid, until nothing of it lives any more. Nobody waits for it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use remit_confine::{Cgroup, floor};

use crate::error::chain;
use crate::jobs::Job;
use crate::reactor::{Interest, Token};
use crate::uids::JobUid;
use crate::warden::Warden;

/// What is left of a job.
#[derive(Debug)]
pub struct Stuck {
    owner: u32,
    uid: JobUid,
    /// Its first process, unless that is reaped.
    first: Option<(i32, OwnedFd)>,
    cgroup: Cgroup,
    /// The ends of its output. What is stuck may hold their locks: to close them could be to wait for it.
    _pipes: [OwnedFd; 2],
}

/// All of them, by the serials of their jobs.
#[derive(Debug, Default)]
pub struct AllStuck(BTreeMap<u64, Stuck>);

impl AllStuck {
    /// The users whose places they take.
    pub fn owners(&self) -> impl Iterator<Item = u32> {
        self.0.values().map(|stuck| stuck.owner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Warden {
    /// Keeps what is left of a job whose end could not be verified.
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
            _pipes: [process.stdout, process.stderr],
        };
        self.jobs.stuck.0.insert(serial, stuck);
        // It may have moved before it was watched.
        self.stuck_moved(serial);
    }

    /// The first process of such a job has ended at last.
    pub fn stuck_exited(&mut self, serial: u64) {
        let Some(stuck) = self.jobs.stuck.0.get_mut(&serial) else {
            return;
        };
        if let Some((pid, pidfd)) = &stuck.first {
            match floor::reap(*pid) {
                Some(_) => stuck.first = None,
                // It is told again.
                None => drop(
                    self.reactor
                        .set(pidfd, Token::Job(serial), Interest::ReadOnce),
                ),
            }
        }
        self.stuck_moved(serial);
    }

    /// Its cgroup may have become empty.
    pub fn stuck_moved(&mut self, serial: u64) {
        let empty = self.jobs.stuck.0.get(&serial).is_some_and(|stuck| {
            stuck.first.is_none() && matches!(stuck.cgroup.populated(), Ok(false))
        });
        if empty {
            self.unstuck(serial);
        }
    }

    /// Nothing of it lives any more: its place and its uid are free.
    fn unstuck(&mut self, serial: u64) {
        let Some(stuck) = self.jobs.stuck.0.remove(&serial) else {
            return;
        };
        say!("a process that was stuck in the kernel has ended; its job's place is free");
        self.uids.give_back(stuck.uid);
        self.reactor.remove(stuck.cgroup.events());
        if let Err(error) = stuck.cgroup.remove() {
            say!("{}", chain(&error));
        }
    }
}
