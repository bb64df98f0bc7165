//! Progress notifications of one call.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use tokio::time::{Instant, sleep_until};

/// Time after which a client hears that a call goes on: some give up where they hear nothing.
const TICK: Duration = Duration::from_secs(2);

/// A part of one host or word, so that a later one is more.
const STEP: f64 = 1.0 / 64.0;

/// Progress of one call, if the client wants it. It always increases.
pub struct Progress {
    to: Option<(Peer<RoleServer>, ProgressToken)>,
    sent: Mutex<Sent>,
}

struct Sent {
    at: Instant,
    /// Hosts or words, and since the last of them a part of one for each tick.
    done: f64,
    total: Option<usize>,
}

impl Progress {
    pub fn new(to: Option<(Peer<RoleServer>, ProgressToken)>) -> Self {
        let sent = Sent {
            at: Instant::now(),
            done: 0.0,
            total: None,
        };
        Self {
            to,
            sent: Mutex::new(sent),
        }
    }

    pub fn is_wanted(&self) -> bool {
        self.to.is_some()
    }

    /// What is reported from now on counts up to so many.
    pub fn count_to(&self, total: usize) {
        self.sent().total = Some(total);
    }

    /// The content is valid even if poisoned, because no code panics with the lock held.
    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn report(&self, count: Option<usize>, words: &str) {
        let done = match count {
            Some(count) => number(count),
            None => self.sent().done + 1.0,
        };
        self.send(done, words).await;
    }

    /// Reports a call of which nothing else was reported for a while, until it is dropped.
    pub async fn ticks(&self) -> Infallible {
        if !self.is_wanted() {
            return pending().await;
        }
        let began = Instant::now();
        loop {
            let due = self.sent().at + TICK;
            sleep_until(due).await;
            if self.sent().at + TICK > due {
                continue;
            }
            let words = format!("running for {} s", began.elapsed().as_secs());
            self.send(0.0, &words).await;
        }
    }

    /// Reports `done`, or a little more than before if that is more.
    async fn send(&self, done: f64, words: &str) {
        let Some((peer, token)) = &self.to else {
            return;
        };
        let (done, total) = {
            let mut sent = self.sent();
            sent.at = Instant::now();
            sent.done = done.max(sent.done + STEP);
            (sent.done, sent.total.map(number))
        };
        let mut param = ProgressNotificationParam::new(token.clone(), done).with_message(words);
        param.total = total;
        // A client that is gone needs no progress.
        let _ = peer.notify_progress(param).await;
    }
}

fn number(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}
