//! The audit trail's chain: what a record's hash covers, and whether records are all there, in order, as written.
//!
//! Pure: the warden writes by it, `remit audit` reads by it.
#![forbid(unsafe_code)]

mod event;
mod hash;
mod verify;

pub use event::Event;
pub use hash::{Hash, hash, hex, unhex};
pub use verify::{Entry, Expected, Finding, Kind, Note, Report, Verifier};
