//! All jobs that run or are remembered, and whose output goes first.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::{Ending, JobSummary};
use remit_common::refusal::Refusal;

use crate::job::{Job, Lost};
use crate::spool::Spool;

/// The table. The warden bounds it: it says what to forget.
#[derive(Debug, Default)]
pub struct Jobs {
    all: RefCell<HashMap<JobId, Rc<Job>>>,
    /// Ended jobs that may have output, oldest end first.
    ended: RefCell<VecDeque<JobId>>,
}

impl Jobs {
    /// Adds a job.
    pub fn add(&self, job: Rc<Job>) {
        if job.has_ended() {
            self.ended.borrow_mut().push_back(job.id);
        }
        self.all.borrow_mut().insert(job.id, job);
    }

    /// Whatever job has this id.
    pub fn get(&self, id: JobId) -> Option<Rc<Job>> {
        self.all.borrow().get(&id).cloned()
    }

    /// The job, if it is `uid`'s.
    ///
    /// # Errors
    /// One answer for "not yours" and "not there".
    pub fn of(&self, uid: u32, id: JobId) -> Result<Rc<Job>, Refusal> {
        self.get(id)
            .filter(|job| job.owner == uid)
            .ok_or_else(Refusal::no_such_job)
    }

    /// The jobs of `uid`, newest first.
    pub fn list(&self, uid: u32, limit: u32) -> Vec<JobSummary> {
        let mut mine: Vec<_> = self
            .all
            .borrow()
            .values()
            .filter(|job| job.owner == uid)
            .cloned()
            .collect();
        mine.sort_by_key(|job| (std::cmp::Reverse(job.started_ms), job.id));
        mine.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        mine.iter().map(|job| job.summary()).collect()
    }

    /// The end of a job is recorded.
    pub fn end(&self, id: JobId, ending: Ending) {
        if let Some(job) = self.get(id) {
            self.ended.borrow_mut().push_back(id);
            job.end(ending);
        }
    }

    /// Drops a job and its output.
    pub fn forget(&self, id: JobId, spool: &Spool) {
        self.all.borrow_mut().remove(&id);
        self.ended.borrow_mut().retain(|ended| *ended != id);
        spool.forget(id);
    }

    /// How much may be kept now, after the output of the oldest ended jobs went if need be.
    pub fn make_room(&self, spool: &Spool) -> u64 {
        while spool.used() >= caps::SPOOL {
            let Some(oldest) = self.ended.borrow_mut().pop_front() else {
                return 0;
            };
            if let Some(job) = self.get(oldest).filter(|job| job.kept() > 0) {
                spool.note_lost(oldest, job.written());
                spool.remove(oldest);
                job.lose(Lost::Removed);
            }
        }
        caps::SPOOL.saturating_sub(spool.used())
    }
}
