//! Prepares the next jobs in advance, while the daemon is idle: ids, uids, cgroups and pre-forked children. Cleans up after
//! jobs whose end was already reported. Most clients send the next request at once and would wait while a cgroup is
//! removed. So the cleanup runs after the next job has started, or after a short delay.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::admin::LayerCheck;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_policy::Profile;
use remit_sys::{Cgroup, Limits};

use crate::config::Config;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::job::admission::JobSlot;
use crate::job::allocation::{JobUid, JobUids};
use crate::request::NewJob;
use crate::sandbox::self_test::test_run::SelfTestRun;
use crate::sandbox::spawner::Spawned;
use crate::sandbox::{Compiled, PreforkedJob, SandboxManager, Sandboxes, empty};
use crate::startup::error::chain;

/// Prepared jobs, at most. With four, each job costs a quarter more, because old ones are in no cache any more.
const MOST: usize = 2;

#[derive(Debug)]
struct PreparedJob {
    job: JobId,
    uid: JobUid,
    ready: PreforkedJob,
    /// A child was requested for it. The request is not repeated until `want` is called.
    tried: bool,
}

#[derive(Debug, Default)]
pub struct PreforkPool {
    all: VecDeque<PreparedJob>,
    /// The sandbox of the last job, as a prediction for the next one.
    wanted: Option<Rc<Compiled>>,
}

impl PreforkPool {
    /// Expects the next job in this sandbox. Children that could not be forked are tried again.
    pub fn want(&mut self, compiled: &Rc<Compiled>) {
        if compiled.sandbox().can_wait() {
            self.wanted = Some(Rc::clone(compiled));
            self.all
                .iter_mut()
                .for_each(|prepared| prepared.tried = false);
        }
    }

    /// Expects the profile `read` until the first request by this policy.
    pub fn want_default(&mut self, sandboxes: &Sandboxes) {
        self.wanted = sandboxes.get(&Profile::read()).ok();
    }

    pub const fn wants_nothing(&self) -> bool {
        self.wanted.is_none()
    }

    pub fn wait_ready(&mut self) {
        let all = self.all.iter_mut();
        all.for_each(|prepared| prepared.ready.wait_ready());
    }

    pub fn reap(&mut self) {
        let all = self.all.iter_mut();
        all.for_each(|prepared| prepared.ready.reap());
    }

    /// Returns the prepared job with a child for this sandbox, otherwise one without a child.
    fn fitting(&self, compiled: &Compiled) -> Option<usize> {
        let sandbox = compiled.sandbox();
        let of =
            |fits: &dyn Fn(&PreforkedJob) -> bool| self.all.iter().position(|it| fits(&it.ready));
        of(&|ready| ready.serves(sandbox)).or_else(|| of(&PreforkedJob::is_bare))
    }
}

#[derive(Debug)]
pub struct Sandboxing {
    pub manager: SandboxManager,
    /// Of a job without a profile.
    pub limits: Limits,
    pub self_test: Option<SelfTestRun>,
    pub uids: JobUids,
    pub pool: PreforkPool,
    pub leftovers: Leftovers,
    pub random: File,
    /// What the daemon itself must not be able to do, as tried at its start.
    pub confined: Vec<LayerCheck>,
}

impl Sandboxing {
    pub fn new(manager: SandboxManager, config: &Config, limits: Limits, random: File) -> Self {
        Self {
            manager,
            limits,
            self_test: None,
            uids: JobUids::new(config.jobs.uid_first, config.jobs.uid_count),
            pool: PreforkPool::default(),
            leftovers: Leftovers::default(),
            random,
            confined: Vec::new(),
        }
    }

    pub fn prefork_one(&mut self, reactor: &Reactor) -> bool {
        let Some(wanted) = self.pool.wanted.clone() else {
            return false;
        };
        let all = &mut self.pool.all;
        if let Some(at) = all.iter().position(|it| it.ready.is_bare() && !it.tried) {
            return self.prefork_into(at, &wanted, reactor);
        }
        // The last free uid is kept for a self-test or for a real request.
        if all.len() >= MOST || self.uids.free() < 2 {
            if self.pool.fitting(&wanted).is_some() {
                return false;
            }
            if let Some(oldest) = self.pool.all.pop_front() {
                self.release_prepared(Some(oldest.ready), oldest.uid);
            }
        }
        if self.uids.free() < 2 {
            return false;
        }
        let Ok(job) = self.new_id() else { return false };
        let Ok(ready) = self.manager.allocate(job) else {
            return false;
        };
        let Some(uid) = self.uids.take() else {
            return false;
        };
        self.pool.all.push_back(PreparedJob {
            job,
            uid,
            ready,
            tried: false,
        });
        self.prefork_into(self.pool.all.len() - 1, &wanted, reactor);
        true
    }

    fn prefork_into(&mut self, at: usize, wanted: &Compiled, reactor: &Reactor) -> bool {
        let Some(prepared) = self.pool.all.get_mut(at) else {
            return false;
        };
        let uid = prepared.uid.get();
        prepared.tried = true;
        let is_asked = self.manager.prefork(&mut prepared.ready, wanted, uid);
        if let Some(end) = prepared.ready.end() {
            // If this fails, the end of the child is noticed when the job comes.
            let _ = reactor.add(end, Token::PreparedJob, Interest::End);
        }
        is_asked
    }

    /// Frees the uid of an ended job, at once or when its questions to the bus are known.
    pub fn release_uid(&mut self, job: JobId, uid: JobUid) {
        let free = match self.manager.bus_mut() {
            Some(bus) => bus.end(job, uid),
            None => Some(uid),
        };
        if let Some(uid) = free {
            self.uids.give_back(uid);
        }
    }

    pub fn drop_prefork_pool(&mut self) {
        for prepared in std::mem::take(&mut self.pool.all) {
            self.release_prepared(Some(prepared.ready), prepared.uid);
        }
    }

    /// Allocates an id and a uid. Uses a prepared job for a start now. If uids are scarce, a later start gets one, too,
    /// but without its child. Fails if no uid is free, or the kernel has no random bytes.
    pub fn allocate_job(
        &mut self,
        slot: JobSlot,
        compiled: &Compiled,
        number: u64,
    ) -> Result<NewJob, Refusal> {
        let fitting = self.pool.fitting(compiled).filter(|_| slot == JobSlot::Now);
        // The last free uid stays free as long as a prepared job has one.
        let scarce = self.uids.free() < 2;
        let at = fitting.or_else(|| scarce.then_some(0));
        if let Some(PreparedJob {
            job, uid, ready, ..
        }) = at.and_then(|at| self.pool.all.remove(at))
        {
            return Ok(NewJob {
                job,
                number,
                uid,
                ready: Some(match slot {
                    JobSlot::Now => ready,
                    JobSlot::Later => ready.bare(),
                }),
            });
        }
        let job = self
            .new_id()
            .map_err(|error| Refusal::new(Code::NotStarted, format!("no random bytes: {error}")))?;
        let uid = self.uids.take().or_else(|| {
            self.clean_up_all();
            self.uids.take()
        });
        let uid = uid.ok_or_else(|| {
            Refusal::new(Code::Busy, "no uid of the jobs' range is free")
                .next("wait for a job to end")
        })?;
        Ok(NewJob {
            job,
            number,
            uid,
            ready: None,
        })
    }

    pub fn free_uids(&self) -> usize {
        self.uids.free() + self.pool.all.len() + self.leftovers.unused()
    }

    fn new_id(&mut self) -> io::Result<JobId> {
        let mut id = [0; 16];
        self.random.read_exact(&mut id)?;
        Ok(JobId(id))
    }
}

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
