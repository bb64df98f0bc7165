//! The jobs: those that live, and those that ended not long ago.

mod ended;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::outcome::{Ending, Enforced, State};
use remit_common::refusal::{Code, Refusal};
use remit_confine::floor::Usage;
use remit_confine::{Cgroup, Spawned, StepReader};
use remit_link::{JobMeta, Owner, Totals};

use crate::clock;
use crate::plan::{Draft, Plan};
use crate::stuck::AllStuck;
use crate::unstarted::Failure;
use crate::walls::Walled;
use ended::AllEnded;

/// Where a living job is.
#[derive(Debug)]
pub enum Phase {
    /// Its first process lives.
    Running,
    /// Its first process has ended; the others are being ended.
    Emptying,
    /// Nothing of it lives (or the kill could not be verified); its output is being drained.
    Draining,
    /// Its end record waits for room in the trail.
    Recording,
}

/// Why a job is ended by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The state it will have.
    pub state: State,
    /// In words.
    pub cause: String,
}

/// How the way to the exec ended.
#[derive(Debug)]
pub enum Start {
    /// Not known yet.
    Unknown,
    /// The program was executed.
    Executed,
    /// Nothing ran.
    Failed(Failure),
}

/// A living job.
#[derive(Debug)]
pub struct Job {
    /// What it runs, and for whom.
    pub plan: Box<Plan>,
    /// Of its first process.
    pub process: Spawned,
    /// All of its processes are in there.
    pub cgroup: Cgroup,
    /// Whether what happens in it is watched.
    pub cgroup_watched: bool,
    /// Reads `process.steps`.
    pub reader: StepReader,
    /// Whether they are watched.
    pub steps_watched: bool,
    /// The way to the exec.
    pub start: Start,
    /// What was enforced, once it runs.
    pub enforced: Option<Enforced>,
    /// Where it is.
    pub phase: Phase,
    /// Why we end it, if we do.
    pub stop: Option<Stop>,
    /// How its first process ended.
    pub status: Option<(std::process::ExitStatus, Usage)>,
    /// When that was.
    pub exited: Option<Instant>,
    /// Whether nothing of it lives any more, checked.
    pub empty: bool,
    /// Its output in numbers, once the broker has all of it.
    pub totals: Option<Totals>,
    /// When it started.
    pub started: Instant,
    /// The same for people.
    pub started_ms: u64,
}

impl Job {
    /// A job that was just forked.
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
            phase: Phase::Running,
            stop: None,
            status: None,
            exited: None,
            empty: false,
            totals: None,
            started: Instant::now(),
            started_ms: clock::unix_ms(),
        }
    }

    /// What the broker needs to know.
    pub fn meta(&self) -> JobMeta {
        JobMeta {
            has_secrets: self.plan.bound.has_secrets(),
            job: self.plan.job,
            owner: self.plan.requester.subject.owner(),
            command: self.plan.command().to_owned(),
            waits: None,
            number: self.plan.number,
            started_ms: self.started_ms,
            age_ms: clock::millis(self.started.elapsed()),
            waited_ms: self.plan.waited_ms().unwrap_or(0),
            enforced: self.enforced.clone(),
            ending: None,
        }
    }

    /// How long its first process ran, or has been running.
    pub fn runtime(&self) -> Duration {
        let until = self.exited.unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.started)
    }

    /// What is remembered of it once it has ended. What was enforced is taken out of the job for that.
    pub fn ended(&mut self, ending: Ending) -> JobMeta {
        let enforced = self.enforced.take();
        JobMeta {
            age_ms: 0,
            enforced,
            ending: Some(ending),
            ..self.meta()
        }
    }

    /// Notes why it is being ended; the first reason stays. A job that has ended by itself
    /// keeps its ending, unless it left too much output.
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

/// All jobs. A living one has a serial number for the loop, every one its id for clients.
#[derive(Debug, Default)]
pub struct Jobs {
    next: u64,
    /// The newest job's place in the order of all.
    number: u64,
    live: BTreeMap<u64, Job>,
    /// How many of them each user has.
    own: BTreeMap<u32, usize>,
    serials: BTreeMap<JobId, u64>,
    ended: AllEnded,
    requests: BTreeMap<(Owner, String), (JobId, [u8; 32])>,
    /// What is left of some that have ended.
    pub stuck: AllStuck,
}

impl Jobs {
    /// Takes in a job that was just forked.
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

    /// The number of a new job: more than every one before, also before a restart.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// From now on the request id of this draft stands for its job.
    pub fn claim(&mut self, draft: &Draft) {
        if let Some((request, content)) = &draft.request {
            let owner = draft.requester.subject.owner();
            self.requests
                .insert((owner, request.clone()), (draft.job, *content));
        }
    }

    /// The job that a user's request id stands for already.
    ///
    /// # Errors
    /// `conflict_request_id` when it was used for something else.
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

    /// A living job.
    pub fn get(&mut self, serial: u64) -> Option<&mut Job> {
        self.live.get_mut(&serial)
    }

    /// A living job by its id.
    pub fn serial(&self, job: JobId) -> Option<u64> {
        self.serials.get(&job).copied()
    }

    /// Whether a user has this job, living or ended.
    pub fn owned(&self, job: JobId, owner: &Owner) -> bool {
        let live = self
            .serials
            .get(&job)
            .and_then(|serial| self.live.get(serial));
        live.is_some_and(|job| job.plan.requester.subject.owner() == *owner)
            || self
                .ended
                .iter()
                .any(|meta| meta.job == job && meta.owner == *owner)
    }

    /// All living jobs.
    pub fn live(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.live.iter().map(|(serial, job)| (*serial, job))
    }

    /// Serials of all living jobs.
    pub fn serials(&self) -> Vec<u64> {
        self.live.keys().copied().collect()
    }

    /// Serials of those behind walls of this base.
    pub fn behind(&self, walled: Walled) -> Vec<u64> {
        let base = |job: &Job| Walled::of(job.plan.bound.compiled.base());
        let behind = self.live().filter(|(_, job)| base(job) == Some(walled));
        behind.map(|(serial, _)| serial).collect()
    }

    /// How many live.
    pub fn count_live(&self) -> usize {
        self.live.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// How many live, and how many of them are one user's. What is stuck takes a place.
    pub fn count(&self, uid: u32) -> (usize, usize) {
        let stuck = self.stuck.owners().filter(|owner| *owner == uid);
        let own = self.own.get(&uid).copied().unwrap_or_default();
        (self.live.len() + self.stuck.len(), own + stuck.count())
    }

    /// Jobs that have ended, oldest first, without what was enforced.
    pub fn ended(&self) -> impl Iterator<Item = &JobMeta> {
        self.ended.iter()
    }

    /// The same with all that is known of them.
    pub fn ended_whole(&self) -> impl Iterator<Item = JobMeta> {
        self.ended.whole()
    }

    /// Takes a job out of those that live.
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

    /// Remembers a job that has ended, whose request id was this. Gives the id of one that is now forgotten, if any is.
    pub fn keep(&mut self, meta: JobMeta, request: Option<String>) -> Option<JobId> {
        let forgotten = self.ended.push(meta, request)?;
        if let Some(key) = forgotten.request
            && let Entry::Occupied(request) = self.requests.entry(key)
            // It may stand for a later job: one that the ledger could not forget is read back beside it.
            && request.get().0 == forgotten.job
        {
            request.remove();
        }
        Some(forgotten.job)
    }

    /// A job that a daemon before this one knew: it can be asked for, and its request is not done again.
    /// Gives the id of one that is now forgotten, if any is.
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

/// The read ends of a job's output, for the broker.
pub fn output(process: &Spawned) -> [&OwnedFd; 2] {
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
            waits: None,
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
    fn a_request_stands_for_its_newest_job_also_when_an_older_one_is_forgotten() {
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
