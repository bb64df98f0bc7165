//! Protocol between the warden (root) and the broker (no privilege): a SOCK_SEQPACKET pair with postcard datagrams.
//! Descriptors travel only from the warden to the broker. The warden trusts nothing from the broker.

// Whoever speaks a protocol or reads a format needs to know each part.

pub mod closer;
pub mod foreign;
pub mod memfd;
pub mod message;
mod parts;
pub mod socket;
mod sys;

pub use closer::{Closer, ForeignPipe};
pub use foreign::ForeignSocket;
pub use message::{
    Answer, HistoryMark, HistoryRecord, JobMeta, Owner, Spec, SpecWhat, ToBroker, ToWarden, Totals,
    WaitReason,
};
pub use parts::LinkError;
pub use socket::Link;
