//! The audit trail's chain: what a record's hash covers, and whether records are all there, in order, as written.
//!
//! Pure: the warden writes by it, `remit audit` reads by it.
#![forbid(unsafe_code)]

mod entry;
mod event;
mod hash;
mod head;
mod report;
mod verify;

pub use entry::Entry;
pub use event::Event;
pub use hash::{Hash, hash, hash_fields, hex, unhex};
pub use head::{BadHead, Head, Link};
pub use report::{Expected, Finding, Kind, Note, Report};
pub use verify::Verifier;
