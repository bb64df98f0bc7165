//! Types that all parts of remit share: refusals, outcomes, names, bounds, and what of the wire the warden needs. The
//! root process links all of it: no decisions, no privilege, and no IO except on a given stream.

#![forbid(unsafe_code)]

pub mod admin;
pub mod bounded_vec;
pub mod builtin;
pub mod bus;
pub mod calendar;
pub mod caps;
pub mod denial;
pub mod disks;
pub mod escape;
pub mod frame;
pub mod id_prefix;
pub mod names;
pub mod outcome;
pub mod panics;
pub mod refusal;
pub mod service;
pub mod shebang;
pub mod span;
pub mod text;
pub mod token_bucket;
pub mod traceparent;
pub mod wire;

/// Version that every part of remit reports.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
