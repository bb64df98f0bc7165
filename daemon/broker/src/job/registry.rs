//! The table of waiting, running and remembered jobs.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::rc::Rc;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_link::Owner;
use remit_wire::outcome::{Ending, JobSummary, QueuePosition};

use crate::job::{BOTH, Job};
use crate::output::spool::{Lost, LostRange, Spool};
use crate::redact::RecentRedactors;

/// The most bytes of one summary in an answer, without its command, and of an answer without summaries.
const SUMMARY: usize = 96;

/// The warden limits the table: it says which jobs to forget.
#[derive(Debug, Default)]
pub struct Jobs {
    all: RefCell<HashMap<JobId, Rc<Job>>>,
    /// Ended jobs, oldest end first.
    ended: RefCell<VecDeque<JobId>>,
    /// Jobs that have been queued so far.
    queued: Cell<u64>,
    pub redactors: Rc<RecentRedactors>,
}

impl Jobs {
    pub fn add(&self, job: Rc<Job>) {
        if job.has_ended() {
            self.ended.borrow_mut().push_back(job.id);
        }
        if job.is_queued() {
            self.put_last(&job);
        }
        self.all.borrow_mut().insert(job.id, job);
    }

    /// A job that has all its approvals waits for a slot, behind those that do.
    pub fn approved(&self, id: JobId) {
        if let Some(job) = self.get(id) {
            self.put_last(&job);
            job.approved();
        }
    }

    /// The warden queues in this order, and sends queued jobs to a new broker in it. It does not say when it puts a job
    /// back: a command that follows a commit may start before others that have an earlier position here.
    fn put_last(&self, job: &Job) {
        let last = self.queued.get().saturating_add(1);
        self.queued.set(last);
        job.queued_as.set(last);
    }

    pub fn get(&self, id: JobId) -> Option<Rc<Job>> {
        self.all.borrow().get(&id).cloned()
    }

    /// Returns the job if it is `owner`'s. The error is the same for a job of another user and for an unknown one.
    pub fn of(&self, owner: &Owner, id: JobId) -> Result<Rc<Job>, Refusal> {
        self.get(id)
            .filter(|job| job.owner == *owner)
            .ok_or_else(Refusal::no_such_job)
    }

    /// Returns the jobs of `owner`, newest first, as many as fit into a frame: jobs that have not ended have priority. The
    /// order is by number, because a clock can go back.
    pub fn list(&self, owner: &Owner, limit: u32) -> Vec<JobSummary> {
        let mut mine: Vec<_> = self
            .all
            .borrow()
            .values()
            .filter(|job| job.owner == *owner)
            .cloned()
            .collect();
        let newest_first = |job: &Rc<Job>| Reverse((job.number, job.id));
        mine.sort_by_key(newest_first);
        mine.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        mine.sort_by_key(|job| job.has_ended());
        let mut left = caps::FRAME - SUMMARY;
        let fits = |summary: &JobSummary| {
            let rest = left.checked_sub(SUMMARY + summary.command.len());
            rest.is_some_and(|rest| {
                left = rest;
                true
            })
        };
        let summaries: Vec<_> = mine
            .iter()
            .map(|job| job.summary())
            .take_while(fits)
            .collect();
        let mut listed: Vec<_> = mine.into_iter().zip(summaries).collect();
        listed.sort_by_key(|(job, _)| newest_first(job));
        listed.into_iter().map(|(_, summary)| summary).collect()
    }

    pub fn queue_position(&self, job: &Job) -> Option<QueuePosition> {
        if !job.is_queued() {
            return None;
        }
        let all = self.all.borrow();
        let queued = all.values().filter(|other| other.is_queued());
        let own = queued
            .filter(|other| other.owner == job.owner)
            .map(|other| other.queued_as.get());
        let mut queue_position = QueuePosition { position: 1, of: 0 };
        for queued_as in own {
            queue_position.of += 1;
            queue_position.position += u32::from(queued_as < job.queued_as.get());
        }
        Some(queue_position)
    }

    pub fn end(&self, id: JobId, ending: Ending) {
        if let Some(job) = self.get(id) {
            // A broker that was started while commands followed it knows its end already.
            if !job.has_ended() {
                self.ended.borrow_mut().push_back(id);
            }
            job.end(ending);
        }
    }

    /// Drops a job. Returns true if the spool can contain its files.
    pub fn forget(&self, id: JobId) -> bool {
        let job = self.all.borrow_mut().remove(&id);
        let mut ended = self.ended.borrow_mut();
        // The job is near the front: the warden forgets the oldest change, or the oldest of the others.
        if let Some(at) = ended.iter().position(|ended| *ended == id) {
            ended.remove(at);
        }
        job.is_none_or(|job| job.has_files())
    }

    pub fn kept_of(&self, spool: &Spool, uid: u32) -> u64 {
        if spool.used() < spool.limits.per_user {
            return spool.used();
        }
        let all = self.all.borrow();
        let own = all.values().filter(|job| job.owner.uid == uid);
        own.map(|job| job.kept()).sum()
    }

    pub fn oldest_ended(&self, kind: impl Fn(&Job) -> bool) -> Option<Rc<Job>> {
        let ended = self.ended.borrow();
        let mut jobs = ended.iter().filter_map(|id| self.get(*id));
        jobs.find(|job| job.kept() > 0 && kind(job))
    }

    /// Removes a job's output; notes its counts, which must be known. The caller closes the files: [`Spool::remove`].
    pub fn remove_output(&self, job: &Job, spool: &Spool) -> [Option<File>; 2] {
        let note = || {
            BOTH.into_iter().try_for_each(|stream| {
                let output = job.output(stream);
                let gap = LostRange {
                    base: 0,
                    from: 0,
                    to: output.written(),
                    lines: output.lines(),
                };
                spool.note(job.id, stream)?.write(gap)
            })
        };
        let note_result = note();
        let mut files = BOTH.map(|stream| spool.remove(job.id, stream));
        if note_result.is_err() {
            // On a full disk the note can be written only after the removal.
            files = [None, None];
            if let Err(error) = note() {
                tracing::warn!(job = %job.id, "job {}: cannot write down how much output was removed: {error}", job.id);
            }
        }
        for stream in BOTH {
            job.output(stream).remove();
        }
        job.lose(Lost::Removed);
        files
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::hints::notes::About;
    use crate::output::spool::tests::Scratch;
    use remit_common::frame;
    use remit_link::{JobMeta, WaitReason, WaitingApproval};
    use remit_wire::outcome::{ApprovalView, State, Stream};
    use remit_wire::{Bytes, Reply, ToClient};
    use std::os::unix::fs::FileExt;

    pub fn ending() -> Ending {
        Ending {
            denials: Vec::new(),
            state: State::Exited,
            exit: Some(0),
            signal: None,
            cause: String::new(),
            kill_verified: true,
            cpu_usec: 0,
            memory_peak: 0,
            runtime_ms: 0,
            code: None,
            next: None,
        }
    }

    pub fn own(uid: u32) -> Owner {
        Owner {
            uid,
            user: format!("user{uid}"),
        }
    }

    pub fn meta(number: u8, owner: u32) -> JobMeta {
        JobMeta {
            then: Vec::new(),
            has_secrets: false,
            may_change: false,
            is_unread: false,
            job: JobId([number; 16]),
            owner: own(owner),
            command: "true".into(),
            waiting: None,
            number: u64::from(number),
            started_ms: u64::from(number),
            age_ms: 0,
            waited_ms: 0,
            enforced: None,
            ending: None,
        }
    }

    pub fn job(spool: &Spool, number: u8, owner: u32, text: &[u8]) -> Rc<Job> {
        let meta = meta(number, owner);
        let file = spool.create(meta.job, Stream::Stdout).unwrap();
        file.write_all_at(text, 0).unwrap();
        Rc::new(Job::adopted(meta, About::default(), spool))
    }

    pub fn with_secret(spool: &Spool, secret: &str, text: &[u8]) -> Job {
        let job = Rc::into_inner(job(spool, 1, 9, text)).unwrap();
        let recent = Rc::default();
        job.with_secrets(vec![Bytes::from(secret.as_bytes())], &recent)
    }

    #[test]
    fn lists_are_newest_first_own_and_cut() {
        let (scratch, jobs) = (Scratch::new(), Jobs::default());
        for number in 1..=4 {
            jobs.add(job(&scratch.spool, number, u32::from(number % 2), b""));
        }
        let late = JobMeta {
            started_ms: 0,
            ..meta(5, 0)
        };
        jobs.add(Rc::new(Job::new(late, About::default())));
        let list = |uid, limit| -> Vec<u8> {
            let listed = jobs.list(&own(uid), limit);
            listed.iter().map(|job| job.job_id.0[0]).collect()
        };
        assert_eq!(list(0, 9), [5, 4, 2]);
        assert_eq!((list(1, 1), list(2, 9)), (vec![3], vec![]));
        assert_eq!(list(1, 0), Vec::<u8>::new());
        assert!(jobs.of(&own(1), JobId([1; 16])).is_ok());
        // Neither jobs of other users nor those of an earlier user with the same uid.
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
        assert!(jobs.forget(JobId([1; 16])), "its output is in the spool");
        assert!(!jobs.forget(JobId([5; 16])), "it has written nothing");
        assert_eq!(list(1, 9), [3]);
    }

    #[test]
    fn list_has_all_jobs_that_fit_into_a_frame() {
        let jobs = Jobs::default();
        let all = 3000_u32;
        for number in 0..all {
            let meta = JobMeta {
                job: JobId(u128::from(number).to_le_bytes()),
                number: u64::from(number),
                started_ms: u64::MAX,
                command: "x".repeat(usize::try_from(number).unwrap().min(4200)),
                ..meta(0, 1)
            };
            let ending = (number > 0).then(ending);
            jobs.add(Rc::new(Job::new(
                JobMeta { ending, ..meta },
                About::default(),
            )));
        }
        let listed = jobs.list(&own(1), u32::MAX);
        let shown = u32::try_from(listed.len()).unwrap();
        assert!(shown > 1500 && shown < all, "{shown}");
        assert_eq!(listed[0].command.len(), 2999);
        // The oldest is the only one that has not ended.
        let oldest = listed.last().unwrap();
        assert_eq!(
            (oldest.job_id, oldest.state),
            (JobId([0; 16]), State::Running)
        );
        let reply = Ok(Reply::Jobs(listed));
        let bytes = frame::encode(
            &ToClient::Reply {
                id: u32::MAX,
                reply,
            },
            caps::FRAME,
        );
        assert!(bytes.unwrap().len() > caps::FRAME - 200_000);
        assert_eq!(jobs.list(&own(1), 700).len(), 700);
    }

    /// The warden queues a job when it is approved, and the number of a job is that of its request.
    #[test]
    fn queue_position_counts_jobs_of_same_owner_in_the_order_of_queueing() {
        let jobs = Jobs::default();
        let waiting = WaitReason::Approval(Box::new(WaitingApproval {
            view: ApprovalView {
                by: Vec::new(),
                expires_ms: 0,
                line: String::new(),
                digest: String::new(),
            },
            approved_by: Vec::new(),
            missing: 1,
            same: None,
        }));
        for (number, owner, waiting) in [
            (2, 1, Some(waiting)),
            (5, 1, Some(WaitReason::QueuePosition)),
            (3, 1, Some(WaitReason::QueuePosition)),
            (4, 2, Some(WaitReason::QueuePosition)),
            (1, 1, None),
            (9, 1, Some(WaitReason::QueuePosition)),
        ] {
            let meta = JobMeta {
                waiting,
                ..meta(number, owner)
            };
            jobs.add(Rc::new(Job::new(meta, About::default())));
        }
        let queue_position = |number| {
            let queue_position = jobs.queue_position(&jobs.get(JobId([number; 16])).unwrap());
            queue_position.map(|queue_position| (queue_position.position, queue_position.of))
        };
        assert_eq!(
            [5, 3, 9, 2].map(queue_position),
            [Some((1, 3)), Some((2, 3)), Some((3, 3)), None]
        );
        jobs.approved(JobId([2; 16]));
        assert_eq!(
            [5, 3, 9, 2].map(queue_position),
            [1, 2, 3, 4].map(|position| Some((position, 4)))
        );
        assert_eq!([4, 1].map(queue_position), [Some((1, 1)), None]);
        jobs.get(JobId([5; 16])).unwrap().set_started(7, 8);
        jobs.end(JobId([9; 16]), ending());
        assert_eq!(
            [5, 3, 9, 2].map(queue_position),
            [None, Some((1, 2)), None, Some((2, 2))]
        );
    }
}
