//! One set: what is sent to each host, and the state of all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use remit_common::names::SetId;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::order::{self, Order, Stage};
use crate::engine::HostOutcome;
use crate::host_name::HostName;
use crate::link::HostCall;

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
    pub fn of(&self, host: &HostName) -> HostCall {
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
    pub call: SetCall,
    board: Mutex<Board>,
    /// Counts what has happened.
    pub news: watch::Sender<u64>,
    driver: Mutex<Option<AbortHandle>>,
    callers: AtomicUsize,
    /// A call has answered, so the client has the id.
    is_known: AtomicBool,
}

/// The state of all hosts, in their order.
#[derive(Clone, Debug)]
pub struct Board {
    pub stages: Vec<Stage>,
    pub outcomes: Vec<Option<HostOutcome>>,
    /// The job of a host that no longer answers about it. It may still wait or run there.
    pub lost: Vec<Option<String>>,
    pub is_stopped: bool,
}

impl Set {
    pub fn new(id: SetId, call: SetCall) -> Self {
        let count = call.hosts.len();
        Self {
            id,
            board: Mutex::new(Board {
                stages: vec![Stage::NotSent; count],
                outcomes: vec![None; count],
                lost: vec![None; count],
                is_stopped: false,
            }),
            call,
            news: watch::Sender::new(0),
            driver: Mutex::default(),
            callers: AtomicUsize::new(0),
            is_known: AtomicBool::new(false),
        }
    }

    pub fn called(&self) -> SetCaller<'_> {
        self.callers.fetch_add(1, Ordering::Relaxed);
        SetCaller(self)
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

    pub fn is_over(&self) -> bool {
        self.board().is_over(self.call.order)
    }

    /// Returns true if its user stopped it.
    pub fn is_stopped(&self) -> bool {
        self.board().is_stopped
    }

    /// Keeps the task that carries it, for [`Set::abandon`].
    pub fn is_driven_by(&self, driver: AbortHandle) {
        *self.driver.lock().unwrap_or_else(PoisonError::into_inner) = Some(driver);
    }

    /// Ends its task at once: hosts keep what they have got.
    pub fn abandon(&self) {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        driver.iter().for_each(AbortHandle::abort);
    }

    pub fn announce(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The content is valid even if poisoned, because no code panics with the lock held.
    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that starts the set, or repeats the start. If all of them are cancelled, the set stops: no client has its id.
#[derive(Debug)]
pub struct SetCaller<'a>(&'a Set);

impl SetCaller<'_> {
    pub fn answers(self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }
}

impl Drop for SetCaller<'_> {
    fn drop(&mut self) {
        let is_last = self.0.callers.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last && !self.0.is_known.load(Ordering::Relaxed) {
            self.0.stop();
        }
    }
}

impl Board {
    pub fn is_over(&self, order: Order) -> bool {
        order.step(&self.stages, self.is_stopped) == order::Step::Over
    }

    fn rests(&self, order: Order) -> bool {
        let is_open =
            |stage: &Stage| matches!(stage, Stage::Sent | Stage::Queued | Stage::Withdrawing);
        match order.step(&self.stages, self.is_stopped) {
            order::Step::Over => true,
            order::Step::Wait => !self.stages.iter().any(is_open),
            order::Step::Send(_) | order::Step::Withdraw(_) => false,
        }
    }
}
