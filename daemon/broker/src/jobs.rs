//! All jobs that run or are remembered, and whose output goes first.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use remit_common::names::JobId;
use remit_common::outcome::{Ending, JobSummary};
use remit_common::refusal::Refusal;
use remit_link::Owner;

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

    /// The job, if it is `owner`'s.
    ///
    /// # Errors
    /// One answer for "not yours" and "not there".
    pub fn of(&self, owner: &Owner, id: JobId) -> Result<Rc<Job>, Refusal> {
        self.get(id)
            .filter(|job| job.owner == *owner)
            .ok_or_else(Refusal::no_such_job)
    }

    /// The jobs of `owner`, newest first.
    pub fn list(&self, owner: &Owner, limit: u32) -> Vec<JobSummary> {
        let mut mine: Vec<_> = self
            .all
            .borrow()
            .values()
            .filter(|job| job.owner == *owner)
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

    /// How much of `uid`'s output may be kept now, after output of the oldest ended jobs went if
    /// need be: its own where it has its share, else anybody's.
    pub fn make_room(&self, spool: &Spool, uid: u32) -> u64 {
        let own = loop {
            let own = spool
                .limits
                .per_user
                .saturating_sub(self.kept_of(spool, uid));
            if own > 0 {
                break own;
            }
            if !self.remove_oldest(spool, |job| job.owner.uid == uid) {
                return 0;
            }
        };
        while spool.used() >= spool.limits.total {
            if !self.remove_oldest(spool, |_| true) {
                return 0;
            }
        }
        own.min(spool.limits.total.saturating_sub(spool.used()))
    }

    /// Bytes of `uid` in the spool; at most what is in there.
    fn kept_of(&self, spool: &Spool, uid: u32) -> u64 {
        if spool.used() < spool.limits.per_user {
            return spool.used();
        }
        let (all, ended) = (self.all.borrow(), self.ended.borrow());
        let running = all.values().filter(|job| !job.has_ended());
        let ended = ended.iter().filter_map(|id| all.get(id));
        let own = running.chain(ended).filter(|job| job.owner.uid == uid);
        own.map(|job| job.kept()).sum()
    }

    /// Removes the output of the oldest ended job of this kind; false when there is none.
    fn remove_oldest(&self, spool: &Spool, kind: impl Fn(&Job) -> bool) -> bool {
        let mut ended = self.ended.borrow_mut();
        let known = |id: &JobId| self.get(*id).is_some_and(|job| kind(&job));
        let Some(oldest) = ended.iter().position(known).and_then(|at| ended.remove(at)) else {
            return false;
        };
        if let Some(job) = self.get(oldest).filter(|job| job.kept() > 0) {
            spool.note_lost(oldest, job.written());
            spool.remove(oldest);
            job.lose(Lost::Removed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::Scratch;
    use remit_common::caps;
    use remit_common::outcome::{State, Stream};
    use remit_link::JobMeta;
    use std::os::unix::fs::FileExt;

    fn ending() -> Ending {
        Ending {
            state: State::Exited,
            exit: Some(0),
            signal: None,
            cause: String::new(),
            kill_verified: true,
            cpu_usec: 0,
            memory_peak: 0,
            runtime_ms: 0,
        }
    }

    fn own(uid: u32) -> Owner {
        Owner {
            uid,
            user: format!("user{uid}"),
        }
    }

    /// A job that has kept `text` on its standard output.
    fn job(scratch: &Scratch, number: u8, owner: u32, text: &[u8]) -> Rc<Job> {
        let id = JobId([number; 16]);
        let file = scratch.spool.create(id, Stream::Stdout).unwrap();
        file.write_all_at(text, 0).unwrap();
        let meta = JobMeta {
            job: id,
            owner: own(owner),
            command: "true".into(),
            started_ms: u64::from(number),
            queued: false,
            number: 0,
            age_ms: 0,
            waited_ms: 0,
            enforced: None,
            ending: None,
        };
        Rc::new(Job::adopted(meta, Vec::new(), &scratch.spool))
    }

    #[test]
    fn the_oldest_ended_output_goes_first_and_running_jobs_keep_theirs() {
        let (scratch, jobs) = (Scratch::new(), Jobs::default());
        for number in 1..=3 {
            jobs.add(job(&scratch, number, 0, b"four"));
        }
        let [first, second, third] = [1, 2, 3].map(|number| JobId([number; 16]));
        jobs.end(second, ending());
        jobs.end(third, ending());
        let spool = &scratch.spool;
        spool.grew(caps::SPOOL - spool.used() - 1);
        assert_eq!(jobs.make_room(spool, 9), 1);
        spool.grew(1);
        assert_eq!(jobs.make_room(spool, 9), 4);
        let report = jobs.get(second).unwrap().report(spool);
        assert_eq!((report.stdout.total, report.stdout.omitted()), (4, 4));
        assert!(report.notes[0].contains("removed to make room"));
        assert_eq!(spool.noted_lost(second), Some([4, 0]));
        assert_eq!(
            jobs.get(third)
                .unwrap()
                .report(spool)
                .stdout
                .head
                .as_slice(),
            b"four"
        );
        spool.grew(8);
        assert_eq!(jobs.make_room(spool, 9), 0);
        assert_eq!(
            jobs.get(first)
                .unwrap()
                .report(spool)
                .stdout
                .head
                .as_slice(),
            b"four"
        );
        // A broker that starts now knows as much.
        let again = Job::adopted(
            JobMeta {
                job: second,
                owner: own(0),
                command: String::new(),
                started_ms: 0,
                queued: false,
                number: 0,
                age_ms: 0,
                waited_ms: 0,
                enforced: None,
                ending: Some(ending()),
            },
            Vec::new(),
            spool,
        );
        let report = again.report(spool);
        assert_eq!((report.stdout.total, report.notes.len()), (4, 1));
    }

    #[test]
    fn one_user_takes_no_more_than_its_share_and_that_from_nobody_else() {
        let (scratch, jobs) = (Scratch::new(), Jobs::default());
        let spool = &scratch.spool;
        for (number, owner) in [(1, 8), (2, 9), (3, 9), (4, 9)] {
            jobs.add(job(&scratch, number, owner, b"four"));
        }
        let [others, first, second] = [1, 2, 3].map(|number| JobId([number; 16]));
        for ended in [others, first, second] {
            jobs.end(ended, ending());
        }
        let running = jobs.get(JobId([4; 16])).unwrap();
        let more = caps::SPOOL_PER_UID - 12 - 1;
        running.output(Stream::Stdout).keep(more);
        spool.grew(more);
        assert_eq!(jobs.make_room(spool, 9), 1);
        running.output(Stream::Stdout).keep(5);
        spool.grew(5);
        assert_eq!(jobs.make_room(spool, 9), 4);
        running.output(Stream::Stdout).keep(8);
        spool.grew(8);
        assert_eq!(jobs.make_room(spool, 9), 0);
        assert_eq!(jobs.make_room(spool, 8), caps::SPOOL_PER_UID - 4);
        let shown = |id| jobs.get(id).unwrap().report(spool).stdout.head.len();
        assert_eq!([others, first, second].map(shown), [4, 0, 0]);
    }

    #[test]
    fn lists_are_newest_first_own_and_cut() {
        let (scratch, jobs) = (Scratch::new(), Jobs::default());
        for number in 1..=4 {
            jobs.add(job(&scratch, number, u32::from(number % 2), b""));
        }
        let list = |uid, limit| -> Vec<u64> {
            jobs.list(&own(uid), limit)
                .iter()
                .map(|job| job.started_ms)
                .collect()
        };
        assert_eq!(
            (list(0, 9), list(1, 1), list(2, 9)),
            (vec![4, 2], vec![3], vec![])
        );
        assert_eq!(list(1, 0), Vec::<u64>::new());
        assert!(jobs.of(&own(1), JobId([1; 16])).is_ok());
        // Nobody else's, and not that of who got the uid after an account was removed.
        let next = Owner {
            user: "next".into(),
            ..own(1)
        };
        assert!(jobs.list(&next, 9).is_empty());
        for other in [own(0), next] {
            assert_eq!(
                jobs.of(&other, JobId([1; 16])).unwrap_err(),
                Refusal::no_such_job()
            );
        }
        jobs.forget(JobId([1; 16]), &scratch.spool);
        assert_eq!(list(1, 9), [3]);
    }
}
