//! The records of many hosts, which a collector (systemd-journal-remote) received.

mod fault;
mod files;
mod heads;
mod host;
mod page;
mod reading;
mod verify;

pub use verify::verify;
