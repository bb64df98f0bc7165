//! Cleans up after jobs whose end was already reported. Most clients send the next request at once and would wait
//! while a cgroup is removed. So the cleanup runs after the next job has started, or after a short delay.

use std::time::{Duration, Instant};

use remit_spawn::Spawned;
use remit_sys::Cgroup;

use crate::job::allocation::JobUid;
use crate::sandbox::pool::Sandboxing;
use crate::sandbox::{PreforkedJob, empty};
use crate::startup::error::chain;

const ENDING: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Leftovers {
    /// Descriptors and cgroups of jobs whose cgroup was verified empty.
    ended: Vec<(Spawned, Cgroup)>,
    /// Cgroups and uids of pre-forked children that were killed without a job, with the time of the kill.
    unused: Vec<(Instant, Cgroup, JobUid)>,
}

impl Leftovers {
    pub fn unused(&self) -> usize {
        self.unused.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.unused.is_empty()
    }

    pub fn ended(&self) -> usize {
        self.ended.len()
    }
}

impl Sandboxing {
    /// No process of the job may be left.
    pub fn release_ended(&mut self, process: Spawned, cgroup: Cgroup) {
        self.leftovers.ended.push((process, cgroup));
    }

    /// Releases what was prepared for a job that will not run. Its uid becomes free when no process is left.
    pub fn release_prepared(&mut self, ready: Option<PreforkedJob>, uid: JobUid) {
        let (waiting, cgroup) = ready.map_or((None, None), PreforkedJob::into_parts);
        // The pre-forked child ends after this, but maybe later.
        drop(waiting);
        match cgroup {
            Some(cgroup) if !matches!(cgroup.populated(), Ok(false)) => {
                if let Err(error) = cgroup.kill() {
                    say!("{}", chain(&error));
                }
                self.leftovers.unused.push((Instant::now(), cgroup, uid));
            }
            Some(cgroup) => {
                remove(cgroup);
                self.uids.give_back(uid);
            }
            None => self.uids.give_back(uid),
        }
    }

    pub fn clean_up(&mut self) {
        let Leftovers { ended, unused } = std::mem::take(&mut self.leftovers);
        for (since, cgroup, uid) in unused {
            self.clean_up_unused(since, cgroup, uid);
        }
        for (_, cgroup) in ended {
            remove(cgroup);
        }
    }

    /// Cleans up when nothing can be postponed: the last uids are in use, or the daemon ends.
    pub fn clean_up_all(&mut self) {
        let unused = &self.leftovers.unused;
        unused.iter().for_each(|(_, cgroup, _)| empty(cgroup));
        self.clean_up();
    }

    fn clean_up_unused(&mut self, since: Instant, cgroup: Cgroup, uid: JobUid) {
        if !cgroup.populated().unwrap_or(true) {
            remove(cgroup);
            self.uids.give_back(uid);
        } else if since.elapsed() < ENDING {
            // Before Linux 6.14, a fork during the first kill may have escaped it.
            let _ = cgroup.kill();
            self.leftovers.unused.push((since, cgroup, uid));
        } else {
            say!(
                "cannot kill a pre-forked child: uid {} is not used again",
                uid.get()
            );
        }
    }
}

fn remove(cgroup: Cgroup) {
    if let Err(error) = cgroup.remove() {
        say!("{}", chain(&error));
    }
}
