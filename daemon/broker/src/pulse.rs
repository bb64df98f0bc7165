//! A timer that runs while calls come.
//!
//! The runtime wakes itself by a write and a read of a descriptor when a timer is armed that is due before all
//! others. Each call arms one (its first sign of life), and most are over long before it is due. Beside one that was
//! armed earlier, theirs are never the first.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::broker::Broker;

/// No longer than any timer that calls arm.
const PERIOD: Duration = Duration::from_secs(1);

/// The timer. It rests where no call came for a period: a broker without work is never woken.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: Cell<bool>,
    wanted: Cell<bool>,
}

impl Pulse {
    /// A call has come: the timer of `broker`, whose this is, is wanted for another period.
    pub fn beat(&self, broker: &Rc<Broker>) {
        self.wanted.set(true);
        if !self.beats.replace(true) {
            let broker = Rc::clone(broker);
            spawn_local(async move {
                while broker.pulse.wanted.replace(false) {
                    sleep(PERIOD).await;
                }
                broker.pulse.beats.set(false);
            });
        }
    }
}
