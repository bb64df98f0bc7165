//! Tracks living jobs and a bounded number of ended ones.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::outcome::{Ending, Enforced, State};
use remit_common::refusal::{Code, Refusal};
use remit_confine::sys::Usage;
use remit_confine::{Cgroup, OutputEnd, Spawned, StepReader};
use remit_link::{JobMeta, Owner, Totals};

use crate::event_loop::timers;
use crate::job::never_ran::NeverRan;
use crate::job::recently_ended::EndedJobs;
use crate::job::spawn_failure::Failure;
use crate::job::unkillable::StuckJobs;
use crate::request::{Draft, Plan};
use crate::sandbox::ConfinedBase;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub state: State,
    pub cause: String,
}

#[derive(Debug)]
pub enum Start {
    Unknown,
    Executed,
    /// No program was executed.
    Failed(Failure),
}

#[derive(Debug)]
pub struct Job {
    pub plan: Box<Plan>,
    pub process: Spawned,
    pub cgroup: Cgroup,
    pub cgroup_watched: bool,
    pub reader: StepReader,
    pub steps_watched: bool,
    pub start: Start,
    pub enforced: Option<Enforced>,
    pub stop: Option<Stop>,
    /// Of the first process.
    pub status: Option<(std::process::ExitStatus, Usage)>,
    pub exited: Option<Instant>,
    /// Delay after a kill until all processes are killed again.
    pub kill_pause: Duration,
    /// Set once the broker has all of the output.
    pub totals: Option<Totals>,
    pub started: Instant,
    pub started_ms: u64,
}

impl Job {
    pub fn new(plan: Box<Plan>, process: Spawned, cgroup: Cgroup) -> Self {
        Self {
            plan,
            process,
            cgroup,
            cgroup_watched: false,
            reader: StepReader::new(),
            steps_watched: false,
            start: Start::Unknown,
            enforced: None,
            stop: None,
            status: None,
            exited: None,
            kill_pause: Duration::ZERO,
            totals: None,
            started: Instant::now(),
            started_ms: timers::unix_ms(),
        }
    }

    pub fn meta(&self) -> JobMeta {
        JobMeta {
            has_secrets: self.plan.bound.has_secrets(),
            job: self.plan.job,
            owner: self.plan.requester.subject.owner(),
            command: self.plan.command().to_owned(),
            waiting: None,
            number: self.plan.number,
            started_ms: self.started_ms,
            age_ms: timers::millis(self.started.elapsed()),
            waited_ms: self.plan.waited_ms().unwrap_or(0),
            enforced: self.enforced.clone(),
            ending: None,
        }
    }

    /// Returns how long the first process ran, or has been running.
    pub fn runtime(&self) -> Duration {
        let until = self.exited.unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.started)
    }

    /// Returns the metadata to keep after the end. Moves `enforced` out of the job.
    pub fn ended(&mut self, ending: Ending) -> JobMeta {
        let enforced = self.enforced.take();
        JobMeta {
            age_ms: 0,
            enforced,
            ending: Some(ending),
            ..self.meta()
        }
    }

    /// Sets the reason to end the job; the first reason is kept. If the first process has already exited, only
    /// `OutputLimit` can still set a reason.
    pub fn stop(&mut self, state: State, cause: impl Into<String>) {
        if self.status.is_some() && state != State::OutputLimit {
            return;
        }
        self.stop.get_or_insert_with(|| Stop {
            state,
            cause: cause.into(),
        });
    }
}

/// All jobs. The event loop uses serial numbers of living jobs; clients use job ids.
#[derive(Debug, Default)]
pub struct Jobs {
    next: u64,
    /// Number of the newest job, also across restarts.
    number: u64,
    live: BTreeMap<u64, Job>,
    own: BTreeMap<u32, usize>,
    serials: BTreeMap<JobId, u64>,
    ended: EndedJobs,
    requests: BTreeMap<(Owner, String), (JobId, [u8; 32])>,
    pub stuck: StuckJobs,
    /// Jobs that never ran, and whose end waits until the audit log can be written.
    pub never_ran: Vec<NeverRan>,
}

impl Jobs {
    pub fn add(&mut self, job: Job) -> u64 {
        self.next += 1;
        let id = job.plan.job;
        self.serials.insert(id, self.next);
        self.claim(&job.plan);
        let owner = job.plan.requester.subject.uid();
        *self.own.entry(owner).or_default() += 1;
        self.live.insert(self.next, job);
        self.next
    }

    /// Returns the next job number. Numbers only increase, also across restarts.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Maps the draft's request id to its job from now on.
    pub fn claim(&mut self, draft: &Draft) {
        if let Some((request, content)) = &draft.request {
            let owner = draft.requester.subject.owner();
            self.requests
                .insert((owner, request.clone()), (draft.job, *content));
        }
    }

    /// Returns the job that already has this request id.
    /// Errors: `conflict_request_id` if the id was used with other content.
    pub fn same_request(
        &self,
        owner: Owner,
        request: Option<(&str, [u8; 32])>,
    ) -> Result<Option<JobId>, Refusal> {
        let Some((id, content)) = request else {
            return Ok(None);
        };
        match self.requests.get(&(owner, id.to_owned())) {
            None => Ok(None),
            Some((job, same)) if *same == content => Ok(Some(*job)),
            Some((job, _)) => Err(Refusal::new(
                Code::ConflictRequestId,
                "this request_id was used for another request",
            )
            .object(job.to_string())
            .next("use a new request_id for a new request")),
        }
    }

    pub fn get(&mut self, serial: u64) -> Option<&mut Job> {
        self.live.get_mut(&serial)
    }

    pub fn serial(&self, job: JobId) -> Option<u64> {
        self.serials.get(&job).copied()
    }

    pub fn owned(&self, job: JobId, owner: &Owner) -> bool {
        let live = self
            .serials
            .get(&job)
            .and_then(|serial| self.live.get(serial));
        live.is_some_and(|job| job.plan.requester.subject.owner() == *owner)
            || self
                .ended
                .iter()
                .chain(self.never_ran())
                .any(|meta| meta.job == job && meta.owner == *owner)
    }

    pub fn live(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.live.iter().map(|(serial, job)| (*serial, job))
    }

    pub fn serials(&self) -> Vec<u64> {
        self.live.keys().copied().collect()
    }

    /// Returns the serials of jobs in a sandbox of this base.
    pub fn behind(&self, confined: ConfinedBase) -> Vec<u64> {
        let base = |job: &Job| ConfinedBase::of(job.plan.bound.compiled.base());
        let behind = self.live().filter(|(_, job)| base(job) == Some(confined));
        behind.map(|(serial, _)| serial).collect()
    }

    pub fn count_live(&self) -> usize {
        self.live.len()
    }

    pub fn is_done(&self) -> bool {
        self.live.is_empty() && self.never_ran.is_empty()
    }

    /// Returns jobs that never ran, as they are shown until their end is recorded.
    pub fn never_ran(&self) -> impl Iterator<Item = &JobMeta> {
        self.never_ran.iter().map(|end| &end.before)
    }

    /// Returns the number of living jobs, of all users and of `uid`. A stuck job counts because it keeps its slot.
    pub fn count(&self, uid: u32) -> (usize, usize) {
        let stuck = self.stuck.owners().filter(|owner| *owner == uid);
        let own = self.own.get(&uid).copied().unwrap_or_default();
        (self.live.len() + self.stuck.len(), own + stuck.count())
    }

    /// Returns ended jobs, oldest first, without `enforced`.
    pub fn ended(&self) -> impl Iterator<Item = &JobMeta> {
        self.ended.iter()
    }

    /// Returns ended jobs, oldest first, with `enforced`.
    pub fn ended_whole(&self) -> impl Iterator<Item = JobMeta> {
        self.ended.whole()
    }

    pub fn take(&mut self, serial: u64) -> Option<Job> {
        let job = self.live.remove(&serial)?;
        self.serials.remove(&job.plan.job);
        let owner = job.plan.requester.subject.uid();
        if let Entry::Occupied(mut own) = self.own.entry(owner) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
        Some(job)
    }

    /// Remembers an ended job and its request id. Returns the id of the job that is forgotten for it, if any.
    pub fn keep(&mut self, meta: JobMeta, request: Option<String>) -> Option<JobId> {
        let forgotten = self.ended.push(meta, request)?;
        if let Some(key) = forgotten.request
            && let Entry::Occupied(request) = self.requests.entry(key)
            // The request id may belong to a later job: a job that the ledger failed to forget is read back too.
            && request.get().0 == forgotten.job
        {
            request.remove();
        }
        Some(forgotten.job)
    }

    /// Remembers a job of an earlier daemon: it can be queried, and its request is not run again. Returns the id of
    /// the job that is forgotten for it, if any.
    pub fn remember(
        &mut self,
        meta: JobMeta,
        request: Option<(String, [u8; 32])>,
    ) -> Option<JobId> {
        let request = request.map(|(id, content)| {
            let key = (meta.owner.clone(), id.clone());
            self.requests.insert(key, (meta.job, content));
            id
        });
        self.number = self.number.max(meta.number);
        self.keep(meta, request)
    }
}

pub fn output(process: &Spawned) -> [&OutputEnd; 2] {
    [&process.stdout, &process.stderr]
}

#[cfg(test)]
pub mod tests {
    use remit_common::caps;

    use super::*;

    pub fn ended(number: u64) -> JobMeta {
        JobMeta {
            has_secrets: false,
            job: JobId(u128::from(number).to_le_bytes()),
            owner: owner(),
            command: "true".into(),
            waiting: None,
            number,
            started_ms: 0,
            age_ms: 0,
            waited_ms: 0,
            enforced: None,
            ending: None,
        }
    }

    fn owner() -> Owner {
        Owner {
            uid: 1000,
            user: "alice".into(),
        }
    }

    #[test]
    fn request_names_newest_job_after_older_is_forgotten() {
        let mut jobs = Jobs::default();
        let request = || Some(("once".to_owned(), [7; 32]));
        let known = |jobs: &Jobs| jobs.same_request(owner(), Some(("once", [7; 32]))).unwrap();
        assert!(jobs.remember(ended(1), request()).is_none());
        assert!(jobs.remember(ended(2), request()).is_none());
        let newest = ended(2).job;
        assert_eq!(known(&jobs), Some(newest));
        let last = caps::ENDED_PER_UID as u64 + 1;
        let forget = |jobs: &mut Jobs, number| jobs.remember(ended(number), None);
        for number in 3..last {
            assert!(forget(&mut jobs, number).is_none());
        }
        assert_eq!(forget(&mut jobs, last), Some(ended(1).job));
        assert_eq!(known(&jobs), Some(newest));
        assert_eq!(forget(&mut jobs, last + 1), Some(newest));
        assert_eq!(known(&jobs), None);
    }
}
