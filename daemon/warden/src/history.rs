//! The history: the daemon's own short record of what each user did, for them and for auditors.
//!
//! It is no second trail. A record goes into the audit first, and what cannot be kept here is said
//! and nothing else: nothing waits for it, and nothing is refused for its sake. Who asks is answered by
//! a forked child that reads the files ([`questions`]), so the loop waits for no disk and holds
//! nothing of it in memory.

mod frame;
mod page;
mod questions;
mod store;
mod told;

use std::path::Path;

use frame::Kept;
use store::Store;

pub use questions::Questions;
pub use told::Told;

use crate::audit::Record;

/// Entries that wait to be written, at most.
const WAITING: usize = 64;

/// What is kept, or why nothing is.
#[derive(Debug)]
pub struct History {
    store: Result<Store, String>,
    /// Entries that are still to be written.
    waiting: Vec<Kept>,
    /// Keeping it has failed, and that was said.
    failing: bool,
}

impl History {
    /// Opens the history in the state directory `state`. One that cannot be kept is said.
    pub fn open(state: &Path) -> Self {
        let store = Store::open(&state.join("warden"));
        if let Err(why) = &store {
            say!("no history is kept: {why}");
        }
        Self {
            store,
            waiting: Vec::new(),
            failing: false,
        }
    }

    /// Takes what a record tells of a user, where it tells any. `seq` and `at_ms` are its number in the trail and
    /// its time there. It is written when nobody waits any more for what the record is about: see [`Self::keep`].
    pub fn add(&mut self, record: &Record, seq: u64, at_ms: u64) {
        if self.store.is_err() {
            return;
        }
        self.waiting.extend(told::kept(record, seq, at_ms));
        if self.waiting.len() >= WAITING {
            self.keep();
        }
    }

    /// Writes what was added: before the loop waits, and before anybody reads.
    pub fn keep(&mut self) {
        let Ok(store) = &mut self.store else {
            return;
        };
        for kept in self.waiting.drain(..) {
            match store.add(&kept) {
                Ok(()) => self.failing = false,
                Err(error) => {
                    if !self.failing {
                        say!("the history cannot be kept, the audit trail is: {error}");
                    }
                    self.failing = true;
                }
            }
        }
    }
}
