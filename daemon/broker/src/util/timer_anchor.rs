//! A timer that runs while calls arrive. If a new timer is due before all others, the runtime wakes itself by a
//! write and a read. Each call sets one (for its first progress message), and most calls end long before. With an
//! earlier timer already set, theirs are never the first.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::state::Broker;

/// Not longer than any timer of a call.
const PERIOD: Duration = Duration::from_secs(1);

/// The timer stops after a period without calls, so an idle broker is never woken.
#[derive(Debug, Default)]
pub struct TimerAnchor {
    is_running: Cell<bool>,
    wanted: Cell<bool>,
}

impl TimerAnchor {
    /// Keeps the timer of `broker` for another period.
    pub fn touch(&self, broker: &Rc<Broker>) {
        self.wanted.set(true);
        if !self.is_running.replace(true) {
            let broker = Rc::clone(broker);
            spawn_local(async move {
                while broker.timer_anchor.wanted.replace(false) {
                    sleep(PERIOD).await;
                }
                broker.timer_anchor.is_running.set(false);
            });
        }
    }
}
