//! Queues jobs that wait for a slot: adds them, starts them in turn, or ends them without a run.

pub(crate) mod ended;
pub(crate) mod recheck;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_link::{JobMeta, ToBroker, WaitReason};
use remit_policy::Basis;

use crate::audit::Unwritten;
use crate::audit::backpressure::unrecorded;
use crate::event_loop::TURN;
use crate::event_loop::timers::{self, Timer};
use crate::identity::accounts::People;
use crate::identity::peer::Subject;
use crate::job::fair_queue::Turns;
use crate::job::pipeline::{self, Outcome};
use crate::job::queue::ended::{LATE, UnrecordedJobEnd};
use crate::job::queue::recheck::MeasuringAgain;
use crate::request::Plan;
use crate::startup::error::chain;
use crate::startup::fault::{self, Point};
use crate::state::{Decided, Warden, used_slots};
use crate::state_dir::ledger::Ledger;

/// Delay before the next start after a failed fork.
const FORK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Waiting {
    pub plan: Box<Plan>,
    since: Instant,
    asked_ms: u64,
}

/// All waiting plans, and ended ones whose end waits for the audit log.
#[derive(Debug, Default)]
pub struct Queue {
    turns: Turns<Waiting>,
    /// Approved plans whose turn has come.
    looking: BTreeMap<u64, MeasuringAgain>,
    /// The job whose requester and files were checked just now.
    looked_at: Option<JobId>,
    unrecorded: Vec<UnrecordedJobEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobSlot {
    Now,
    Later,
}

impl Waiting {
    fn is_late(&self, now: Duration) -> bool {
        let approved = self.plan.approved.as_ref();
        approved.is_some_and(|approved| approved.deadline <= now)
    }

    pub fn meta(&self) -> JobMeta {
        JobMeta {
            has_secrets: self.plan.bound.has_secrets(),
            job: self.plan.job,
            owner: self.plan.requester.subject.owner(),
            command: self.plan.command().to_owned(),
            waiting: Some(WaitReason::QueuePosition),
            number: self.plan.number,
            started_ms: self.asked_ms,
            age_ms: timers::millis(self.since.elapsed()),
            waited_ms: 0,
            enforced: None,
            ending: None,
        }
    }
}

impl Queue {
    /// Returns all waiting plans, and those whose end is not recorded yet: it is unreported until then.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        let unrun = self.unrecorded.iter().map(|unrun| &unrun.waiting);
        let looking = self.looking.values().map(|looking| &looking.waiting);
        self.turns.iter().chain(looking).chain(unrun)
    }

    /// Does not count plans that are being checked or recorded.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    pub fn of(&self, uid: u32) -> usize {
        self.turns.of(uid)
    }

    pub fn users(&self) -> impl Iterator<Item = u32> {
        self.turns.users()
    }

    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.iter().map(|waiting| &waiting.plan.requester.subject)
    }

    pub fn is_done(&self) -> bool {
        self.turns.is_empty() && self.looking.is_empty() && self.unrecorded.is_empty()
    }

    pub fn get(&self, job: JobId) -> Option<&Waiting> {
        self.iter().find(|waiting| waiting.plan.job == job)
    }

    /// Returns the jobs of users whose account changed or that lost a group of `named`, each with the reason.
    pub fn of_lost(&self, named: &BTreeSet<u32>, people: &People) -> Vec<(JobId, String)> {
        let lost = self.iter().filter_map(|waiting| {
            let why = people.has_lost(&waiting.plan.requester.subject, named)?;
            Some((waiting.plan.job, why))
        });
        lost.collect()
    }

    /// Checks the bytes that waiting jobs hold. Each user has a share of them. A user with nothing waiting is
    /// admitted within a separate bound, so nobody keeps others out.
    /// Errors: `busy`: waiting jobs hold too many bytes.
    pub fn check_capacity(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        if self.may_hold(uid, bytes) {
            return Ok(());
        }
        let text = "the queued jobs hold the maximum number of bytes";
        Err(Refusal::new(Code::Busy, text)
            .object(caps::QUEUED_BYTES.to_string())
            .next("wait for a job to end"))
    }

    fn may_hold(&self, uid: u32, bytes: usize) -> bool {
        let held = |own: &dyn Fn(u32) -> bool| -> usize {
            let plans = self.iter().map(|waiting| &waiting.plan);
            let own = plans.filter(|plan| own(plan.requester.subject.uid()));
            own.map(|plan| plan.held).sum()
        };
        fits(held(&|other| other == uid), held(&|_| true), bytes)
    }
}

/// Returns whether `bytes` more may wait, if the user holds `own` and all users `all`.
pub fn fits(own: usize, all: usize, bytes: usize) -> bool {
    let (own_most, most) = match own {
        // A user who holds nothing is admitted within twice the bound of all. One request fits the answer that shows it.
        0 => (caps::QUEUED_BYTES, caps::QUEUED_BYTES * 2),
        _ => (caps::QUEUED_BYTES / 4, caps::QUEUED_BYTES),
    };
    own.saturating_add(bytes) <= own_most && all.saturating_add(bytes) <= most
}

impl Warden {
    /// Queues a plan: it is recorded, and kept across restarts as any job. Fails if it cannot be recorded, or waiting
    /// jobs hold too many bytes.
    pub fn enqueue(&mut self, plan: Box<Plan>) -> Result<Outcome, Refusal> {
        let uid = plan.requester.subject.uid();
        if let Err(refusal) = self.queue.check_capacity(uid, plan.held) {
            self.release_plan(plan);
            return Err(refusal);
        }
        let plan = pipeline::write_ledger(self, plan, Ledger::queue)?;
        if let Err(why) = self.audit.write(plan.queued()) {
            self.release_plan(plan);
            return Err(unrecorded(&why));
        }
        fault::point(self, Point::AfterQueue);
        self.jobs.claim(&plan);
        let ticket = plan.requester.ticket;
        let waiting = Waiting {
            plan,
            since: Instant::now(),
            asked_ms: timers::unix_ms(),
        };
        self.tell(&ToBroker::Job {
            secrets: waiting.plan.secrets(),
            ticket: Some(ticket),
            meta: Box::new(waiting.meta()),
        });
        self.queue.turns.push(uid, waiting);
        Ok(Outcome::Started)
    }

    /// Queues an approved plan, and starts it if a slot is free.
    pub fn enqueue_approved(&mut self, plan: Box<Plan>, asked_ms: u64) {
        let uid = plan.requester.subject.uid();
        let since = Instant::now();
        let waiting = Waiting {
            plan,
            since,
            asked_ms,
        };
        self.queue.looked_at = Some(waiting.plan.job);
        self.queue.turns.push(uid, waiting);
        self.start_all_queued();
        self.queue.looked_at = None;
    }

    /// Starts waiting jobs while there are free slots and time in this turn of the loop.
    pub fn start_all_queued(&mut self) {
        if self.queue.turns.is_empty() && self.queue.looking.is_empty() {
            return;
        }
        if let Err(refusal) = self.check_open() {
            // No job waits while the daemon is locked.
            let cause = format!("{}; it never ran", refusal.message);
            self.end_all_waiting(State::NotStarted, &cause);
            return;
        }
        // The self-test takes only a moment.
        if self.sandbox.are_untried() || self.timers.has(Timer::Begin) {
            return;
        }
        let start = Instant::now();
        while start.elapsed() < TURN {
            let (jobs, parked, max) = (&self.jobs, &self.parked, &self.config.jobs);
            let looking = &self.queue.looking;
            let may = |uid| {
                let (all, own) = used_slots(jobs, parked, recheck::slots(looking, uid), uid);
                all < max.max && own < max.max_per_user
            };
            let Some(waiting) = self.queue.turns.next(may) else {
                return;
            };
            if !self.start_queued(waiting) {
                return;
            }
        }
        // Other events come first.
        self.timers.add(Duration::ZERO, Timer::Begin);
    }

    /// Starts a waiting job. Returns false if the audit log cannot be written now, or nothing can be forked.
    fn start_queued(&mut self, mut waiting: Waiting) -> bool {
        fault::point(self, Point::BeforeBegin);
        waiting.plan.waited = Some(waiting.since.elapsed());
        if let Err(refusal) = self.recheck_grant(waiting.plan.basis()) {
            let cause = format!("{}; it never ran", refusal.message);
            self.end_waiting(waiting, State::Denied, cause);
            return true;
        }
        if waiting.is_late(timers::since_boot()) {
            self.end_waiting(waiting, State::Expired, format!("{LATE}; it never ran"));
            return true;
        }
        if let Err(refusal) = self.recheck_policy(&mut waiting.plan) {
            let cause = format!("the policy has changed: {}; it never ran", refusal.message);
            self.end_waiting(waiting, State::Denied, cause);
            return true;
        }
        if let Err(refusal) = self
            .sandbox
            .check_usable(waiting.plan.bound.compiled.base())
        {
            let cause = format!("{}; it never ran", refusal.message);
            self.end_waiting(waiting, State::NotStarted, cause);
            return true;
        }
        if waiting.plan.approved.is_some() && self.queue.looked_at != Some(waiting.plan.job) {
            self.measure_again(waiting);
            return true;
        }
        if let Err(error) = self.ledger.open(&waiting.plan) {
            let cause = format!("cannot write the ledger of jobs: {error}; it never ran");
            self.end_waiting(waiting, State::NotStarted, cause);
            return true;
        }
        let Waiting {
            mut plan,
            since,
            asked_ms,
        } = waiting;
        let ready = plan.ready.take();
        let again = |plan| Waiting {
            plan,
            since,
            asked_ms,
        };
        let recorded = match self.audit.intent(plan) {
            Ok(recorded) => recorded,
            Err((mut plan, why @ Unwritten::Later)) => {
                plan.ready = ready;
                let uid = plan.requester.subject.uid();
                self.queue.turns.put_back(uid, again(plan));
                self.record_later(&why);
                return false;
            }
            Err((mut plan, why)) => {
                plan.ready = ready;
                let cause = format!("{}; it never ran", unrecorded(&why).message);
                self.end_waiting(again(plan), State::NotStarted, cause);
                return true;
            }
        };
        if let Err((plan, error)) = pipeline::launch(self, recorded, ready) {
            let cause = format!("{}; nothing ran", chain(&error));
            self.end_waiting(again(plan), State::NotStarted, cause);
            // PID 1 may be dying: the delay protects the next jobs from the same failure.
            self.timers.add(FORK_AGAIN, Timer::Begin);
            return false;
        }
        true
    }

    /// Asks the policy in force about a plan of an earlier policy, and binds it to the command as defined now.
    fn recheck_policy(&self, plan: &mut Plan) -> Result<(), Refusal> {
        if plan.policy() == self.policy.digest {
            return Ok(());
        }
        let void = |text: String| Err(Refusal::new(Code::ApprovalVoid, text));
        match plan.basis() {
            Basis::TemporaryGrant { grant, .. } => {
                return void(format!("grant {grant} was given under the earlier policy"));
            }
            Basis::Approved { by, .. } => {
                return void(format!("{by} approved it under the earlier policy"));
            }
            Basis::Rule(_) | Basis::TryByRoot | Basis::Notification => {}
        }
        match self.decide(&plan.requester.subject, plan.call())? {
            Decided::Granted(grant) => plan.rebind(grant, &self.setting()),
            Decided::Lifted(lifted) => void(format!(
                "it needs an approval now; if asked again, it runs by grant {}",
                lifted.grant()
            )),
            Decided::Asks(pending) => Err((*pending).into()),
        }
    }
}
