//! Cleans up after jobs whose end was already reported. Most clients send the next request at once and would wait
//! while a cgroup is removed. So the cleanup runs after the next job has started, or after a short delay.

use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_link::ToBroker;
use remit_spawn::Spawned;
use remit_sys::Cgroup;

use crate::event_loop::timers::Timer;
use crate::job::uid_pool::JobUid;
use crate::sandbox;
use crate::startup::error::chain;
use crate::state::Warden;

/// Delay before the cleanup.
const REST: Duration = Duration::from_millis(10);
/// Timeout for killed processes to be gone.
const ENDING: Duration = Duration::from_secs(10);
/// Jobs that start the cleanup at once. Each holds six descriptors.
const MOST: usize = 16;

#[derive(Debug, Default)]
pub struct Leftovers {
    /// Descriptors and cgroups of jobs whose cgroup was verified empty.
    ended: Vec<(Spawned, Cgroup)>,
    forgotten: Vec<JobId>,
    /// Cgroups and uids of pre-forked children that were killed without a job, with the time of the kill.
    unused: Vec<(Instant, Cgroup, JobUid)>,
}

impl Leftovers {
    /// Returns how many uids become free soon.
    pub fn unused(&self) -> usize {
        self.unused.len()
    }
}

impl Warden {
    /// No process of the job may be left.
    pub fn release_ended(&mut self, process: Spawned, cgroup: Cgroup) {
        self.leftovers.ended.push((process, cgroup));
        self.clean_up_soon();
    }

    pub fn release_forgotten(&mut self, job: JobId) {
        self.leftovers.forgotten.push(job);
        self.clean_up_soon();
    }

    /// Kills the pre-forked child in this cgroup. Its uid is free once the cgroup is empty.
    pub fn release_unused(&mut self, cgroup: Cgroup, uid: JobUid) {
        if let Err(error) = cgroup.kill() {
            say!("{}", chain(&error));
        }
        self.leftovers.unused.push((Instant::now(), cgroup, uid));
        self.clean_up_soon();
    }

    fn clean_up_soon(&mut self) {
        if self.leftovers.ended.len() >= MOST || self.leftovers.forgotten.len() >= MOST {
            self.clean_up();
        } else if !self.timers.has(Timer::Leftovers) {
            self.timers.add(REST, Timer::Leftovers);
        }
    }

    pub fn clean_up(&mut self) {
        let Leftovers {
            ended,
            forgotten,
            unused,
        } = std::mem::take(&mut self.leftovers);
        for (since, cgroup, uid) in unused {
            self.clean_up_unused(since, cgroup, uid);
        }
        for (_, cgroup) in ended {
            if let Err(error) = cgroup.remove() {
                say!("{}", chain(&error));
            }
        }
        for job in forgotten {
            self.ledger.forget(job);
            self.tell(&ToBroker::Forgotten { job });
        }
    }

    /// Cleans up when nothing can be postponed: the last uids are in use, or the daemon ends.
    pub fn clean_up_all(&mut self) {
        let unused = &self.leftovers.unused;
        unused
            .iter()
            .for_each(|(_, cgroup, _)| sandbox::empty(cgroup));
        self.clean_up();
    }

    fn clean_up_unused(&mut self, since: Instant, cgroup: Cgroup, uid: JobUid) {
        if !cgroup.populated().unwrap_or(true) {
            if let Err(error) = cgroup.remove() {
                say!("{}", chain(&error));
            }
            self.uids.give_back(uid);
        } else if since.elapsed() < ENDING {
            // Before Linux 6.14, a fork during the first kill may have escaped it.
            let _ = cgroup.kill();
            self.leftovers.unused.push((since, cgroup, uid));
            self.clean_up_soon();
        } else {
            say!(
                "cannot kill a pre-forked child: uid {} is not used again",
                uid.get()
            );
        }
    }
}
