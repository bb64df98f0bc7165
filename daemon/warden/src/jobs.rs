//! The jobs: those that live, and those that ended not long ago.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Instant;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::{Ending, Enforced, State};
use remit_common::refusal::{Code, Refusal};
use remit_confine::floor::{self, Usage};
use remit_confine::{Cgroup, Killing, Spawned, Step, StepReader, Why};
use remit_link::{JobMeta, Owner, Totals};

use crate::clock;
use crate::plan::Plan;

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
    Failed {
        /// The step that failed.
        step: Step,
        /// Its errno, 0 without one.
        errno: i32,
        /// The kind.
        why: Why,
    },
}

/// A living job.
#[derive(Debug)]
pub struct Job {
    /// What it runs, and for whom.
    pub plan: Box<Plan>,
    /// Of its first process.
    pub process: Spawned,
    /// Where there are cgroups.
    pub cgroup: Option<Cgroup>,
    /// A kill by uid that is under way, where there are none.
    pub killing: Option<Killing>,
    /// Reads `process.steps`.
    pub reader: StepReader,
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
    pub fn new(plan: Box<Plan>, process: Spawned, cgroup: Option<Cgroup>) -> Self {
        Self {
            plan,
            process,
            cgroup,
            killing: None,
            reader: StepReader::new(),
            start: Start::Unknown,
            enforced: None,
            phase: Phase::Running,
            stop: None,
            status: None,
            empty: false,
            totals: None,
            started: Instant::now(),
            started_ms: clock::unix_ms(),
        }
    }

    /// What the broker needs to know.
    pub fn meta(&self) -> JobMeta {
        JobMeta {
            job: self.plan.job,
            owner: self.plan.requester.subject.owner(),
            command: self.plan.command().to_owned(),
            queued: false,
            number: 0,
            started_ms: self.started_ms,
            age_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            waited_ms: 0,
            enforced: self.enforced.clone(),
            ending: None,
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

/// A job that has ended and is recorded.
#[derive(Debug)]
struct Ended {
    meta: JobMeta,
    request: Option<(Owner, String)>,
}

/// All jobs. A living one has a serial number for the loop, every one its id for clients.
#[derive(Debug, Default)]
pub struct Jobs {
    next: u64,
    live: BTreeMap<u64, Job>,
    serials: HashMap<JobId, u64>,
    ended: VecDeque<Ended>,
    requests: HashMap<(Owner, String), (JobId, [u8; 32])>,
    /// First processes that did not end when they were killed, with whose they are.
    stuck: BTreeMap<u64, (u32, Spawned)>,
}

impl Jobs {
    /// Takes in a job that was just forked.
    pub fn add(&mut self, job: Job) -> u64 {
        self.next += 1;
        let id = job.plan.job;
        self.serials.insert(id, self.next);
        if let Some((request, content)) = &job.plan.request {
            let owner = job.plan.requester.subject.owner();
            self.requests
                .insert((owner, request.clone()), (id, *content));
        }
        self.live.insert(self.next, job);
        self.next
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
                .any(|ended| ended.meta.job == job && ended.meta.owner == *owner)
    }

    /// All living jobs.
    pub fn live(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.live.iter().map(|(serial, job)| (*serial, job))
    }

    /// Serials of all living jobs.
    pub fn serials(&self) -> Vec<u64> {
        self.live.keys().copied().collect()
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
        let live = self.live.values();
        let owners = live
            .map(|job| job.plan.requester.subject.uid())
            .chain(self.stuck.values().map(|(owner, _)| *owner));
        owners.fold((0, 0), |(all, own), owner| {
            (all + 1, own + usize::from(owner == uid))
        })
    }

    /// How many jobs that are recorded as ended have a process that did not end.
    pub fn count_stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Keeps the first process of a job that is recorded as ended, until it has.
    pub fn keep_stuck(&mut self, serial: u64, owner: u32, process: Spawned) {
        self.stuck.insert(serial, (owner, process));
    }

    /// Reaps such a process; gives it back when it has ended.
    pub fn reap_stuck(&mut self, serial: u64) -> Option<Spawned> {
        let (_, process) = self.stuck.get(&serial)?;
        floor::reap(process.pid)?;
        self.stuck.remove(&serial).map(|(_, process)| process)
    }

    /// Jobs that have ended, oldest first.
    pub fn ended(&self) -> impl Iterator<Item = &JobMeta> {
        self.ended.iter().map(|ended| &ended.meta)
    }

    /// Moves a job to the ended ones. Gives the job back, and the ids of those that are now forgotten.
    pub fn end(&mut self, serial: u64, ending: Ending) -> Option<(Job, Vec<JobId>)> {
        let job = self.live.remove(&serial)?;
        self.serials.remove(&job.plan.job);
        let meta = JobMeta {
            ending: Some(ending),
            ..job.meta()
        };
        let owner = meta.owner.clone();
        let request = job
            .plan
            .request
            .as_ref()
            .map(|(id, _)| (owner.clone(), id.clone()));
        self.ended.push_back(Ended { meta, request });
        let mut forgotten = Vec::new();
        if self
            .ended
            .iter()
            .filter(|ended| ended.meta.owner.uid == owner.uid)
            .count()
            > caps::ENDED_PER_UID
        {
            let oldest = self
                .ended
                .iter()
                .position(|ended| ended.meta.owner.uid == owner.uid);
            forgotten.extend(oldest.and_then(|at| self.forget(at)));
        } else if self.ended.len() > caps::ENDED {
            forgotten.extend(self.forget(0));
        }
        Some((job, forgotten))
    }

    /// A job that a daemon before this one began: it can be asked for, and its request is not done again.
    pub fn remember(&mut self, meta: JobMeta, request: Option<(String, [u8; 32])>) {
        let owner = meta.owner.clone();
        let request = request.map(|(id, content)| {
            self.requests
                .insert((owner.clone(), id.clone()), (meta.job, content));
            (owner, id)
        });
        self.ended.push_back(Ended { meta, request });
    }

    fn forget(&mut self, at: usize) -> Option<JobId> {
        let ended = self.ended.remove(at)?;
        if let Some(key) = ended.request {
            self.requests.remove(&key);
        }
        Some(ended.meta.job)
    }
}

/// The read ends of a job's output, for the broker.
pub fn output(process: &Spawned) -> [&OwnedFd; 2] {
    [&process.stdout, &process.stderr]
}
