//! Prepares the next jobs in advance, while the daemon is idle: ids, uids, cgroups and pre-forked children.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use remit_common::names::JobId;
use remit_policy::Profile;

use crate::event_loop::epoll::{Interest, Token};
use crate::job::queue::JobSlot;
use crate::job::uid_pool::JobUid;
use crate::request::NewJob;
use crate::sandbox::{Compiled, PreforkedJob};
use crate::startup::error::chain;
use crate::state::{AdmissionState, Warden};

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
    asked: bool,
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

    /// Returns the prepared job with a child for this sandbox, otherwise one without a child.
    fn fitting(&self, compiled: &Compiled) -> Option<usize> {
        let sandbox = compiled.sandbox();
        let of =
            |fits: &dyn Fn(&PreforkedJob) -> bool| self.all.iter().position(|it| fits(&it.ready));
        of(&|ready| ready.serves(sandbox)).or_else(|| of(&PreforkedJob::is_bare))
    }
}

impl Warden {
    /// Prepares a slot in the ledger and one more part of a job. Returns false if nothing is left to do or it is not
    /// possible. If nothing may run, drops everything.
    pub fn prefork_one(&mut self) -> bool {
        if self.gate != AdmissionState::Open {
            self.drop_prefork_pool();
            return false;
        }
        if !self.broker.is_ready() {
            return false;
        }
        // If this fails, the next request does it.
        self.ledger.allocate();
        let Some(wanted) = self.prefork_pool.wanted.clone() else {
            return false;
        };
        let all = &mut self.prefork_pool.all;
        if let Some(at) = all.iter().position(|it| it.ready.is_bare() && !it.tried) {
            return self.prefork_into(at, &wanted);
        }
        // The last free uid is kept for a self-test or for a real request.
        if all.len() >= MOST || self.uids.free() < 2 {
            if self.prefork_pool.fitting(&wanted).is_some() {
                return false;
            }
            if let Some(oldest) = self.prefork_pool.all.pop_front() {
                self.release_prepared(Some(oldest.ready), oldest.uid);
            }
        }
        if self.uids.free() < 2 {
            return false;
        }
        let Ok(job) = self.new_id() else { return false };
        let Ok(ready) = self.sandbox.allocate(job) else {
            return false;
        };
        let Some(uid) = self.uids.take() else {
            return false;
        };
        self.prefork_pool.all.push_back(PreparedJob {
            job,
            uid,
            ready,
            tried: false,
        });
        self.prefork_into(self.prefork_pool.all.len() - 1, &wanted);
        true
    }

    /// Requests a child for this sandbox. Returns true if a worker is ready for that.
    fn prefork_into(&mut self, at: usize, wanted: &Compiled) -> bool {
        let Some(prepared) = self.prefork_pool.all.get_mut(at) else {
            return false;
        };
        prepared.tried = self
            .sandbox
            .prefork(&mut prepared.ready, wanted, prepared.uid.get());
        self.prefork_pool.asked |= prepared.tried;
        if let Some(end) = prepared.ready.end() {
            // If this fails, the end of the child is noticed when the job comes.
            let _ = self.reactor.add(end, Token::PreparedJob, Interest::End);
        }
        prepared.tried
    }

    /// Prepares everything and waits for the result, when a broker becomes ready.
    pub fn fill_prefork_pool(&mut self) {
        if self.prefork_pool.wanted.is_none() {
            self.want_default();
        }
        while self.prefork_one() {}
        let all = self.prefork_pool.all.iter_mut();
        all.for_each(|prepared| prepared.ready.wait_ready());
    }

    pub fn reap_prefork_pool(&mut self) {
        let all = self.prefork_pool.all.iter_mut();
        all.for_each(|prepared| prepared.ready.reap());
    }

    /// Expects the profile `read` until the first request by this policy.
    pub fn want_default(&mut self) {
        self.prefork_pool.wanted = self.sandboxes.get(&Profile::read()).ok();
    }

    pub fn drop_prefork_pool(&mut self) {
        for prepared in std::mem::take(&mut self.prefork_pool.all) {
            self.release_prepared(Some(prepared.ready), prepared.uid);
        }
        if std::mem::take(&mut self.prefork_pool.asked) {
            self.sandbox.drop_preforked();
        }
    }

    /// Releases what was prepared for a job that will not run. Its uid becomes free when no process is left.
    pub fn release_prepared(&mut self, ready: Option<PreforkedJob>, uid: JobUid) {
        let (waiting, cgroup) = ready.map_or((None, None), PreforkedJob::into_parts);
        // The pre-forked child ends after this, but maybe later.
        drop(waiting);
        match cgroup {
            Some(cgroup) if !matches!(cgroup.populated(), Ok(false)) => {
                self.release_unused(cgroup, uid);
            }
            Some(cgroup) => {
                if let Err(left) = cgroup.remove() {
                    say!("{}", chain(&left));
                }
                self.uids.give_back(uid);
            }
            None => self.uids.give_back(uid),
        }
    }

    /// Uses a prepared job for a start now. If uids are scarce, a later start gets one, too, but without its child.
    /// Fails if the kernel returns no random bytes.
    pub fn allocate_names(
        &mut self,
        slot: JobSlot,
        compiled: &Compiled,
    ) -> io::Result<Option<NewJob>> {
        let fitting = self
            .prefork_pool
            .fitting(compiled)
            .filter(|_| slot == JobSlot::Now);
        // The last free uid stays free as long as a prepared job has one.
        let scarce = self.uids.free() < 2;
        let at = fitting.or_else(|| scarce.then_some(0));
        let number = self.jobs.next_number();
        if let Some(PreparedJob {
            job, uid, ready, ..
        }) = at.and_then(|at| self.prefork_pool.all.remove(at))
        {
            return Ok(Some(NewJob {
                job,
                number,
                uid,
                ready: Some(match slot {
                    JobSlot::Now => ready,
                    JobSlot::Later => ready.bare(),
                }),
            }));
        }
        let job = self.new_id()?;
        let uid = self.uids.take().or_else(|| {
            self.clean_up_all();
            self.uids.take()
        });
        Ok(uid.map(|uid| NewJob {
            job,
            number,
            uid,
            ready: None,
        }))
    }

    pub fn free_uids(&self) -> usize {
        self.uids.free() + self.prefork_pool.all.len() + self.leftovers.unused()
    }

    fn new_id(&mut self) -> io::Result<JobId> {
        let mut id = [0; 16];
        self.random.read_exact(&mut id)?;
        Ok(JobId(id))
    }
}
