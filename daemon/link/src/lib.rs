//! The protocol between the warden (root) and the broker (no privilege).
//!
//! A SOCK_SEQPACKET pair made before the broker starts: datagrams of postcard,
//! with descriptors beside them. [`message`] is the closed table of what may
//! be said; [`socket`] carries it; [`memfd`] seals what must not change.
//! No decisions here. The warden treats whatever comes from the broker as a
//! stranger's bytes.
#![deny(unsafe_code)]

pub mod memfd;
pub mod message;
pub mod socket;

pub use message::{Answer, JobMeta, Owner, Spec, SpecWhat, ToBroker, ToWarden, Totals, Waits};
pub use socket::{Link, LinkError};
