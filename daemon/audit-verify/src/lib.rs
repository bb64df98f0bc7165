//! Verifies that the records of an audit log are complete, ordered and unchanged. `remit audit verify` reads with it.
//!
//! The code is pure. The root process does not link it.

#![forbid(unsafe_code)]

mod entry;
mod report;
mod verify;

pub use entry::Entry;
pub use remit_trail::Expected;
pub use report::{Finding, Kind, Note, Report};
pub use verify::Verifier;

use remit_trail::Hash;
