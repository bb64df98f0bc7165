//! Types that all parts of remit share: wire format, refusals, outcomes, names and bounds.
//!
//! The root process links all of it: no decisions, no privilege, and no IO except on a given stream and in
//! [`client`].

#![forbid(unsafe_code)]

pub mod admin;
pub mod builtin;
pub mod bytes;
pub mod calendar;
pub mod caps;
pub mod client;
pub mod denial;
pub mod disks;
pub mod escape;
pub mod frame;
pub mod host;
pub mod id_prefix;
pub mod names;
pub mod outcome;
pub mod panics;
pub mod refusal;
pub mod request_id;
pub mod result;
pub mod service;
pub mod shebang;
pub mod span;
pub mod text;
pub mod traceparent;
pub mod wire;

/// Version that every part of remit reports.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
