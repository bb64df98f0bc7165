//! The protocol between the warden (root) and the broker (no privilege).
//!
//! A SOCK_SEQPACKET pair made before the broker starts: datagrams of postcard,
//! with descriptors beside them, from the warden to the broker alone. [`message`] is the closed table of what may
//! be said; [`socket`] carries it; [`memfd`] seals what must not change. [`foreign`] reads from
//! sockets of strangers, and [`closer`] closes them.
//! No decisions here. The warden treats whatever comes from the broker as a
//! stranger's bytes.
#![deny(unsafe_code)]

pub mod closer;
pub mod foreign;
pub mod memfd;
pub mod message;
mod parts;
pub mod socket;

pub use closer::Closer;
pub use foreign::ForeignSocket;
pub use message::{Answer, JobMeta, Owner, Spec, SpecWhat, ToBroker, ToWarden, Totals, Waits};
pub use socket::{Link, LinkError};
