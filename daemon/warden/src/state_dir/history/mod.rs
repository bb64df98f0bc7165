//! Short record of what each user did, for them and for auditors. It is not a second audit log: a record goes to
//! the audit log first. A failure here is logged, and delays or refuses nothing. A forked child reads the files
//! ([`questions`]), so the event loop never waits for that.

mod entry;
mod frame;
mod page;
mod questions;
mod store;

use std::path::Path;

use frame::Kept;
use store::HistoryStore;

pub use questions::Questions;

use crate::audit::Record;

/// Entries that wait to be written.
const WAITING: usize = 64;

#[derive(Debug)]
pub struct History {
    store: Result<HistoryStore, String>,
    waiting: Vec<Kept>,
    /// A failure was logged already.
    failing: bool,
}

impl History {
    pub fn open(state: &Path) -> Self {
        let store = HistoryStore::open(&state.join("warden"));
        if let Err(why) = &store {
            say!("cannot keep a history: {why}");
        }
        Self {
            store,
            waiting: Vec::new(),
            failing: false,
        }
    }

    /// Buffers an entry. [`Self::keep`] writes it when nobody waits for the recorded action.
    pub fn add(&mut self, record: &Record, seq: u64, at_ms: u64) {
        if self.store.is_err() {
            return;
        }
        self.waiting.extend(entry::kept(record, seq, at_ms));
        if self.waiting.len() >= WAITING {
            self.keep();
        }
    }

    /// Writes buffered entries: before the loop waits, and before anybody reads.
    pub fn keep(&mut self) {
        let Ok(store) = &mut self.store else {
            return;
        };
        for kept in self.waiting.drain(..) {
            match store.add(&kept) {
                Ok(()) => self.failing = false,
                Err(error) => {
                    if !self.failing {
                        say!("the history cannot be written (the audit log is): {error}");
                    }
                    self.failing = true;
                }
            }
        }
    }
}
