//! What every part of remit agrees on: the wire, refusals, outcomes, names, bounds.
//!
//! No decisions and no privilege here, and no IO beyond a stream it is given
//! (the [`client`] connects a socket). Everything here must be safe to link
//! into the root process.
#![forbid(unsafe_code)]

pub mod admin;
pub mod builtin;
pub mod calendar;
pub mod caps;
pub mod client;
pub mod denial;
pub mod frame;
pub mod host;
pub mod names;
pub mod outcome;
pub mod refusal;
pub mod request_id;
pub mod result;
pub mod service;
pub mod shebang;
pub mod span;
pub mod text;
pub mod traceparent;
pub mod wire;

/// The release, as every part reports it.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
