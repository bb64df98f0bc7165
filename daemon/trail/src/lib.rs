//! The chain of the audit log: computes record hashes and verifies that records are complete, ordered and unchanged.
//!
//! The code is pure. The warden writes with it, and `remit audit` reads with it.

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
