//! The chain of the audit log: its events, the hash of a record, and the head.
//!
//! The code is pure. The warden writes with it; `remit-audit-verify` checks what it wrote.

#![forbid(unsafe_code)]

mod event;
mod hash;
mod head;

pub use event::Event;
pub use hash::{Hash, hash, hash_fields, hex, unhex};
pub use head::{BadHead, Expected, Head, Link};
