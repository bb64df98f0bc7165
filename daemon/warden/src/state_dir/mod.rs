//! What outlives the daemon in the state directory: ledger, history, lock; and what a start makes of it.

pub mod history;
pub mod ledger;
pub mod leftover_processes;
pub mod lock;
pub mod quarantine;
pub mod recovery;
