//! What is left of jobs after their end was told: put away when nobody waits.
//!
//! Who was answered asks again, mostly, and would wait while a cgroup is removed. So that is done beside the next job,
//! once that is on its way, or a moment later.

use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_confine::{Cgroup, Spawned};
use remit_link::ToBroker;

use crate::clock::Timer;
use crate::error::chain;
use crate::uids::JobUid;
use crate::walls;
use crate::warden::Warden;

/// How long it may lie there.
const REST: Duration = Duration::from_millis(10);
/// How long what was killed may take to be gone.
const ENDING: Duration = Duration::from_secs(10);
/// How much of it: jobs. Each holds six descriptors.
const MOST: usize = 16;

/// All that is there to put away.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Descriptors and cgroups of jobs that were seen to be empty.
    ended: Vec<(Spawned, Cgroup)>,
    /// Jobs that are remembered no more.
    forgotten: Vec<JobId>,
    /// Cgroups and uids that no job had, of what waited for one and was killed.
    unused: Vec<(Instant, Cgroup, JobUid)>,
}

impl Leftovers {
    /// How many uids will be free soon.
    pub fn unused(&self) -> usize {
        self.unused.len()
    }
}

impl Warden {
    /// Leaves what an ended job had. Nothing of it lives.
    pub fn leave(&mut self, process: Spawned, cgroup: Cgroup) {
        self.leftovers.ended.push((process, cgroup));
        self.put_away_soon();
    }

    /// Leaves a job that is remembered no more, for the ledger and the broker to forget.
    pub fn leave_forgotten(&mut self, job: JobId) {
        self.leftovers.forgotten.push(job);
        self.put_away_soon();
    }

    /// Leaves a cgroup in which something waited for a job and was killed. Its uid is free when nothing lives in there.
    pub fn leave_unused(&mut self, cgroup: Cgroup, uid: JobUid) {
        if let Err(error) = cgroup.kill() {
            say!("{}", chain(&error));
        }
        self.leftovers.unused.push((Instant::now(), cgroup, uid));
        self.put_away_soon();
    }

    fn put_away_soon(&mut self) {
        if self.leftovers.ended.len() >= MOST || self.leftovers.forgotten.len() >= MOST {
            self.put_away();
        } else if !self.timers.has(Timer::Leftovers) {
            self.timers.add(REST, Timer::Leftovers);
        }
    }

    /// Puts all of it away.
    pub fn put_away(&mut self) {
        let Leftovers {
            ended,
            forgotten,
            unused,
        } = std::mem::take(&mut self.leftovers);
        for (since, cgroup, uid) in unused {
            self.put_unused_away(since, cgroup, uid);
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

    /// The same where nobody can wait for it: the last uids are in it, or there is no later.
    pub fn put_all_away(&mut self) {
        let unused = &self.leftovers.unused;
        unused
            .iter()
            .for_each(|(_, cgroup, _)| walls::empty(cgroup));
        self.put_away();
    }

    fn put_unused_away(&mut self, since: Instant, cgroup: Cgroup, uid: JobUid) {
        if !cgroup.populated().unwrap_or(true) {
            if let Err(error) = cgroup.remove() {
                say!("{}", chain(&error));
            }
            self.uids.give_back(uid);
        } else if since.elapsed() < ENDING {
            self.leftovers.unused.push((since, cgroup, uid));
            self.put_away_soon();
        } else {
            say!(
                "what waited for a job cannot be ended: no job gets uid {}",
                uid.get()
            );
        }
    }
}
