//! Queues jobs that wait for a slot, and starts them in turn.

pub(crate) mod rehash;

use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_link::{JobMeta, WaitReason};

use crate::audit::Unwritten;
use crate::event_loop::TURN;
use crate::event_loop::timers::{self, Timer};
use crate::job::life::{Action, Event};
use crate::job::pipeline::{self, Admission, NotStarted, Outcome};
use crate::job::recheck::{Check, recheck};
use crate::job::table::Jobs;
use crate::request::Plan;
use crate::startup::fault::{self, Point};
use crate::state::Warden;

/// Delay before the next start after a failed fork.
const FORK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Waiting {
    pub plan: Box<Plan>,
    since: Instant,
    asked_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobSlot {
    Now,
    Later,
}

impl Waiting {
    pub fn new(plan: Box<Plan>, asked_ms: u64) -> Self {
        Self {
            plan,
            since: Instant::now(),
            asked_ms,
        }
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

impl Jobs {
    /// Checks the bytes that waiting jobs hold. Each user has a share of them. A user with nothing waiting is
    /// admitted within a separate bound, so nobody keeps others out.
    /// Errors: `busy`: waiting jobs hold too many bytes.
    pub fn check_queued_bytes(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
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
            let plans = self.waiting().map(|waiting| &waiting.plan);
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
        if let Err(refusal) = self.jobs.check_queued_bytes(uid, plan.held) {
            self.release_plan(plan);
            return Err(refusal);
        }
        let mut waiting = Waiting::new(plan, timers::unix_ms());
        let (record, meta) = (waiting.plan.queued(), waiting.meta());
        let admitted = pipeline::admit(self, &mut waiting.plan, Admission::Slot, record, meta);
        if let Err(refusal) = admitted {
            self.release_plan(waiting.plan);
            return Err(refusal);
        }
        self.jobs.queue(waiting);
        Ok(Outcome::Started)
    }

    /// Queues an approved plan, and starts it if a slot is free.
    pub fn enqueue_approved(&mut self, plan: Box<Plan>, asked_ms: u64) {
        self.jobs.queue(Waiting::new(plan, asked_ms));
        self.start_all_queued();
        self.jobs.delay_queued();
    }

    /// Starts waiting jobs while there are free slots and time in this turn of the loop.
    pub fn start_all_queued(&mut self) {
        if let Err(refusal) = self.check_open() {
            // No job waits while the daemon is locked.
            let cause = format!("{}; it never ran", refusal.message);
            self.end_all_waiting(State::NotStarted, &cause);
            return;
        }
        if self.jobs.turns().is_empty() {
            return;
        }
        // The self-test takes only a moment.
        if self.sandbox.are_untried() || self.timers.has(Timer::Begin) {
            return;
        }
        let start = Instant::now();
        while start.elapsed() < TURN {
            let most = &self.config.jobs;
            let Some(waiting) = self.jobs.next_turn(|jobs, uid| {
                let (all, own) = jobs.slots(uid);
                all < most.max && own < most.max_per_user
            }) else {
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
        if let Err(unmet) = recheck(self, Check::Turn(&mut waiting.plan)) {
            let (state, cause) = unmet.end();
            self.end_waiting(waiting, state, cause);
            return true;
        }
        match waiting.plan.life.advance(Event::Turn) {
            Ok(Action::Hash) => {
                self.measure_again(waiting);
                return true;
            }
            Ok(_) => {}
            Err(wrong) => {
                let cause = NotStarted::OutOfOrder(wrong).cause();
                self.end_waiting(waiting, State::NotStarted, cause);
                return true;
            }
        }
        let Waiting {
            plan,
            since,
            asked_ms,
        } = waiting;
        let Err((plan, why)) = pipeline::start(self, plan) else {
            return true;
        };
        let mut waiting = Waiting {
            plan,
            since,
            asked_ms,
        };
        if let NotStarted::Record(later @ Unwritten::Later) = &why
            && waiting.plan.life.advance(why.event()).is_ok()
        {
            self.jobs.put_back(waiting);
            self.record_later(later);
            return false;
        }
        self.end_waiting(waiting, State::NotStarted, why.cause());
        let is_fork = matches!(why, NotStarted::Fork(_));
        if is_fork {
            // PID 1 may be dying: the delay protects the next jobs from the same failure.
            self.timers.add(FORK_AGAIN, Timer::Begin);
        }
        !is_fork
    }
}
