//! Reads and decides for the proxy of a copy of the machine. No IO, no clock.

pub mod address;
pub mod lookup;
pub mod request;
