//! Sets: one change on many hosts, each of which decides, records and asks for approval by itself. A canary comes first.
//!
//! **Invariant:** a set goes on only while this program lives. Nothing is sent after it has stopped or failed.

mod drive;
mod end;
mod id;
mod order;
mod report;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_common::names::SetId;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::engine::{Engine, HostOutcome};
use crate::host_name::HostName;
use crate::link::HostCall;

pub use id::of as id_of;
pub use order::{Order, Stage};
pub use report::{planned, report};

/// Hosts of one set. An answer of each is kept.
pub const HOSTS: usize = 64;
/// Sets that are kept. The oldest that are over go.
const SETS: usize = 16;

/// What is sent to each host.
#[derive(Debug)]
pub struct SetCall {
    pub hosts: Vec<HostName>,
    /// Of the first host.
    pub call: HostCall,
    /// The plan of each host, if the change names a plan that many hosts made.
    pub plans: Option<BTreeMap<HostName, String>>,
    pub order: Order,
}

impl SetCall {
    fn of(&self, host: &HostName) -> HostCall {
        let mut call = self.call.clone();
        if let Some(plan) = self.plans.as_ref().and_then(|plans| plans.get(host)) {
            call.arguments
                .insert("plan_id".to_owned(), Value::from(plan.as_str()));
        }
        call
    }
}

#[derive(Debug)]
pub struct Set {
    pub id: SetId,
    call: SetCall,
    board: Mutex<Board>,
    /// Counts what has happened.
    news: watch::Sender<u64>,
    driver: Mutex<Option<AbortHandle>>,
}

/// The state of all hosts, in their order.
#[derive(Clone, Debug)]
pub struct Board {
    pub stages: Vec<Stage>,
    pub outcomes: Vec<Option<HostOutcome>>,
    pub is_stopped: bool,
}

impl Set {
    fn new(id: SetId, call: SetCall) -> Self {
        let count = call.hosts.len();
        Self {
            id,
            board: Mutex::new(Board {
                stages: vec![Stage::NotSent; count],
                outcomes: vec![None; count],
                is_stopped: false,
            }),
            call,
            news: watch::Sender::new(0),
            driver: Mutex::default(),
        }
    }

    pub fn hosts(&self) -> &[HostName] {
        &self.call.hosts
    }

    pub fn order(&self) -> Order {
        self.call.order
    }

    pub fn snapshot(&self) -> Board {
        self.board().clone()
    }

    /// Sends nothing more, and withdraws what waits for an approval.
    pub fn stop(&self) {
        self.board().is_stopped = true;
        self.announce();
    }

    /// Waits until nothing moves without a person, or until then.
    pub async fn rests(&self, until: Instant) {
        let mut news = self.news.subscribe();
        let rests = async {
            while !self.board().rests(self.call.order) {
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        // Otherwise its state at this time is the answer.
        let _ = timeout_at(until, rests).await;
    }

    fn announce(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The content is valid even if poisoned, because no code panics with the lock held.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn is_over(&self, order: Order) -> bool {
        order.step(&self.stages, self.is_stopped) == order::Step::Over
    }

    fn rests(&self, order: Order) -> bool {
        let is_open = |stage: &Stage| matches!(stage, Stage::Sent | Stage::Withdrawing);
        match order.step(&self.stages, self.is_stopped) {
            order::Step::Over => true,
            order::Step::Wait => !self.stages.iter().any(is_open),
            order::Step::Send(_) | order::Step::Withdraw(_) => false,
        }
    }
}

/// The sets of one server, and the plans that many hosts made for it.
#[derive(Clone, Debug, Default)]
pub struct Sets(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    sets: VecDeque<Arc<Set>>,
    plans: VecDeque<(SetId, BTreeMap<HostName, String>)>,
    has_ended: bool,
}

impl Sets {
    /// Starts the set, or returns it if it is there.
    pub fn start(
        &self,
        engine: &Arc<Engine>,
        id: SetId,
        call: SetCall,
    ) -> Result<Arc<Set>, String> {
        let mut known = self.known();
        if let Some(set) = known.sets.iter().find(|set| set.id == id) {
            return Ok(Arc::clone(set));
        }
        if known.has_ended {
            return Err("the client is gone".to_owned());
        }
        if known.sets.len() >= SETS {
            let is_over = |set: &Arc<Set>| set.snapshot().is_over(set.call.order);
            let oldest = known.sets.iter().position(is_over).ok_or_else(|| {
                format!("{SETS} sets are open; end one with job_stop and its set")
            })?;
            known.sets.remove(oldest);
        }
        let set = Arc::new(Set::new(id, call));
        let driver = tokio::spawn(drive::drive(Arc::clone(engine), Arc::clone(&set)));
        *set.driver.lock().unwrap_or_else(PoisonError::into_inner) = Some(driver.abort_handle());
        known.sets.push_back(Arc::clone(&set));
        Ok(set)
    }

    pub fn find(&self, id: SetId) -> Option<Arc<Set>> {
        let known = self.known();
        known.sets.iter().find(|set| set.id == id).map(Arc::clone)
    }

    pub fn keep_plans(&self, id: SetId, plans: BTreeMap<HostName, String>) {
        let mut known = self.known();
        known.plans.retain(|(other, _)| *other != id);
        if known.plans.len() >= SETS {
            known.plans.pop_front();
        }
        known.plans.push_back((id, plans));
    }

    /// Returns the plan of each host, if this is the id of such plans.
    pub fn plans(&self, arguments: &Map<String, Value>) -> Option<BTreeMap<HostName, String>> {
        let id: SetId = arguments.get("plan_id")?.as_str()?.parse().ok()?;
        let known = self.known();
        let found = known.plans.iter().find(|(other, _)| *other == id);
        found.map(|(_, plans)| plans.clone())
    }

    /// Ends all of them at once: hosts keep what they have got, and nothing more is sent.
    pub fn end(&self) {
        let mut known = self.known();
        known.has_ended = true;
        for set in &known.sets {
            let driver = set.driver.lock().unwrap_or_else(PoisonError::into_inner);
            driver.iter().for_each(AbortHandle::abort);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
