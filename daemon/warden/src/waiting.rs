//! Jobs that wait for a place: taken in, begun when it is their turn, or ended without having run.

mod looked;
mod over;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_link::{JobMeta, ToBroker, Waits};
use remit_policy::Basis;

use self::looked::Looking;
use self::over::{LATE, Unrun};
use crate::audit::Unwritten;
use crate::clock::{self, Timer};
use crate::error::chain;
use crate::event::TURN;
use crate::fault::{self, Point};
use crate::ledger::Ledger;
use crate::parking::unrecorded;
use crate::peer::Subject;
use crate::people::People;
use crate::pipeline::{self, Told};
use crate::plan::Plan;
use crate::turns::Turns;
use crate::warden::{Decided, Warden, taken};

/// Before the next one is begun when one could not be forked.
const FORK_AGAIN: Duration = Duration::from_secs(1);

/// A plan that waits for a place.
#[derive(Debug)]
pub struct Waiting {
    /// What is to run.
    pub plan: Box<Plan>,
    since: Instant,
    asked_ms: u64,
}

/// All that wait, and those of them whose end waits for room in the trail.
#[derive(Debug, Default)]
pub struct Queue {
    turns: Turns<Waiting>,
    /// Approved ones whose turn has come.
    looking: BTreeMap<u64, Looking>,
    /// The one whose requester and files were looked at in this very moment.
    looked_at: Option<JobId>,
    unrecorded: Vec<Unrun>,
}

/// Whether a job may run now or has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is a free place.
    Now,
    /// There is room in the queue.
    Later,
}

impl Waiting {
    /// Whether it was approved, and the time for that is over.
    fn is_late(&self, now: Duration) -> bool {
        let approved = self.plan.approved.as_ref();
        approved.is_some_and(|approved| approved.deadline <= now)
    }

    /// What the broker and administrators need to know.
    pub fn meta(&self) -> JobMeta {
        JobMeta {
            has_secrets: self.plan.bound.has_secrets(),
            job: self.plan.job,
            owner: self.plan.requester.subject.owner(),
            command: self.plan.command().to_owned(),
            waits: Some(Waits::Place),
            number: self.plan.number,
            started_ms: self.asked_ms,
            age_ms: clock::millis(self.since.elapsed()),
            waited_ms: 0,
            enforced: None,
            ending: None,
        }
    }
}

impl Queue {
    /// All that wait, also those whose end is not recorded yet: it is told to nobody before.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        let unrun = self.unrecorded.iter().map(|unrun| &unrun.waiting);
        let looking = self.looking.values().map(|looking| &looking.waiting);
        self.turns.iter().chain(looking).chain(unrun)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// How many of this user's wait.
    pub fn of(&self, uid: u32) -> usize {
        self.turns.of(uid)
    }

    /// Users of whom something waits.
    pub fn users(&self) -> impl Iterator<Item = u32> {
        self.turns.users()
    }

    /// Who asked for what waits.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.iter().map(|waiting| &waiting.plan.requester.subject)
    }

    /// Whether nothing waits, neither to run nor to be recorded.
    pub fn is_done(&self) -> bool {
        self.turns.is_empty() && self.looking.is_empty() && self.unrecorded.is_empty()
    }

    /// One of [`Self::iter`].
    pub fn get(&self, job: JobId) -> Option<&Waiting> {
        self.iter().find(|waiting| waiting.plan.job == job)
    }

    /// Jobs of those who are not who asked any more, or are without a group of those in `named`; each with
    /// the reason.
    pub fn of_lost(&self, named: &BTreeSet<u32>, people: &People) -> Vec<(JobId, String)> {
        let lost = self.iter().filter_map(|waiting| {
            let why = people.has_lost(&waiting.plan.requester.subject, named)?;
            Some((waiting.plan.job, why))
        });
        lost.collect()
    }

    /// Whether another one of this user may wait, by the bytes that all hold: a user has a part of
    /// them, and whoever has none waiting is let in. So nobody keeps others out.
    ///
    /// # Errors
    /// `busy`.
    pub fn has_room(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        if self.may_hold(uid, bytes) {
            return Ok(());
        }
        let text = "the jobs that wait hold as many bytes as they may";
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

/// Whether so many more bytes may wait, where a user's and all together hold so many.
pub fn fits(own: usize, all: usize, bytes: usize) -> bool {
    own == 0
        || own.saturating_add(bytes) <= caps::QUEUED_BYTES / 4
            && all.saturating_add(bytes) <= caps::QUEUED_BYTES
}

impl Warden {
    /// Takes in a plan that has to wait: recorded, and kept over restarts as any job.
    ///
    /// # Errors
    /// It cannot be recorded or kept, or those that wait hold too much already.
    pub fn wait_for_place(&mut self, plan: Box<Plan>) -> Result<Told, Refusal> {
        let uid = plan.requester.subject.uid();
        if let Err(refusal) = self.queue.has_room(uid, plan.held) {
            self.drop_plan(plan);
            return Err(refusal);
        }
        let plan = pipeline::noted(self, plan, Ledger::queue)?;
        if let Err(why) = self.audit.write(plan.queued()) {
            self.drop_plan(plan);
            return Err(unrecorded(&why));
        }
        fault::point(self, Point::AfterQueue);
        self.jobs.claim(&plan);
        let ticket = plan.requester.ticket;
        let waiting = Waiting {
            plan,
            since: Instant::now(),
            asked_ms: clock::unix_ms(),
        };
        self.tell(&ToBroker::Job {
            secrets: waiting.plan.secrets(),
            ticket: Some(ticket),
            meta: Box::new(waiting.meta()),
        });
        self.queue.turns.push(uid, waiting);
        Ok(Told::Started)
    }

    /// Gives a plan that was approved its turn, and begins it where there is a place.
    pub fn take_place(&mut self, plan: Box<Plan>, asked_ms: u64) {
        let uid = plan.requester.subject.uid();
        let since = Instant::now();
        let waiting = Waiting {
            plan,
            since,
            asked_ms,
        };
        self.queue.looked_at = Some(waiting.plan.job);
        self.queue.turns.push(uid, waiting);
        self.begin_waiting();
        self.queue.looked_at = None;
    }

    /// Begins what waits, as far as there are free places, and time in this turn of the loop.
    pub fn begin_waiting(&mut self) {
        if self.queue.turns.is_empty() && self.queue.looking.is_empty() {
            return;
        }
        if let Err(refusal) = self.open_for_work() {
            // A locked daemon keeps nobody waiting.
            let cause = format!("{}; it never ran", refusal.message);
            self.end_all_waiting(State::NotStarted, &cause);
            return;
        }
        // Walls being tried are a matter of a moment.
        if self.walls.are_untried() || self.timers.has(Timer::Begin) {
            return;
        }
        let start = Instant::now();
        while start.elapsed() < TURN {
            let (jobs, parked, max) = (&self.jobs, &self.parked, &self.config.jobs);
            let looking = &self.queue.looking;
            let may = |uid| {
                let (all, own) = taken(jobs, parked, looked::slots(looking, uid), uid);
                all < max.max && own < max.max_per_user
            };
            let Some(waiting) = self.queue.turns.next(may) else {
                return;
            };
            if !self.begin(waiting) {
                return;
            }
        }
        // Others have their turn.
        self.timers.add(Duration::ZERO, Timer::Begin);
    }

    /// Runs what has waited. False when the trail takes no record just now, or nothing can be forked.
    fn begin(&mut self, mut waiting: Waiting) -> bool {
        fault::point(self, Point::BeforeBegin);
        waiting.plan.waited = Some(waiting.since.elapsed());
        if let Err(refusal) = self.still_given(waiting.plan.basis()) {
            let cause = format!("{}; it never ran", refusal.message);
            self.end_waiting(waiting, State::Denied, cause);
            return true;
        }
        if waiting.is_late(clock::since_boot()) {
            self.end_waiting(waiting, State::Expired, format!("{LATE}; it never ran"));
            return true;
        }
        if let Err(refusal) = self.judge_anew(&mut waiting.plan) {
            let cause = format!("the policy has changed: {}; it never ran", refusal.message);
            self.end_waiting(waiting, State::Denied, cause);
            return true;
        }
        if let Err(refusal) = self.walls.open_for(waiting.plan.bound.compiled.base()) {
            let cause = format!("{}; it never ran", refusal.message);
            self.end_waiting(waiting, State::NotStarted, cause);
            return true;
        }
        if waiting.plan.approved.is_some() && self.queue.looked_at != Some(waiting.plan.job) {
            self.look_again(waiting);
            return true;
        }
        if let Err(error) = self.ledger.open(&waiting.plan) {
            let cause = format!("the ledger of jobs cannot be written: {error}; it never ran");
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
            // The keeper may be dying: what comes next shall not be lost to that, too.
            self.timers.add(FORK_AGAIN, Timer::Begin);
            return false;
        }
        true
    }

    /// Asks the policy in force about a plan that an earlier one granted, and takes what it makes of it:
    /// the command as it is defined now.
    ///
    /// # Errors
    /// It does not allow it, or not with these arguments.
    fn judge_anew(&self, plan: &mut Plan) -> Result<(), Refusal> {
        if plan.policy() == self.policy.digest {
            return Ok(());
        }
        let void = |text: String| Err(Refusal::new(Code::ApprovalVoid, text));
        match plan.basis() {
            Basis::Given { grant, .. } => {
                return void(format!("grant {grant} was for what the earlier one said"));
            }
            Basis::Approved { by, .. } => {
                return void(format!("{by} approved what the earlier one said"));
            }
            Basis::Rule(_) | Basis::TryByRoot | Basis::Notification => {}
        }
        match self.decide(&plan.requester.subject, plan.call())? {
            Decided::Granted(grant) => plan.bind_anew(grant, &self.setting()),
            Decided::Lifted(lifted) => void(format!(
                "it needs an approval now; asked for again, it runs by grant {}",
                lifted.grant()
            )),
            Decided::Asks(pending) => Err((*pending).into()),
        }
    }
}
