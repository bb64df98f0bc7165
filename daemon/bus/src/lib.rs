//! `remit-bus`: a filter between jobs and the system bus. It answers the connect(2) of a job with a connection of its
//! own, forwards calls that read, and refuses all others. It starts nothing and keeps no reply.

pub mod confine;
mod connection;
mod greeting;
pub mod header;
mod limits;
mod listener;
pub mod message;
mod names;
mod orders;
mod replies;
mod serve;
pub mod table;

pub use orders::inherited;
pub use serve::{Server, Settings};
