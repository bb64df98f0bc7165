//! Who is at the other end: sockets, peers, accounts, sessions. Nothing here decides what they may do.

pub mod accounts;
pub mod arrivals;
pub mod clients;
pub mod listeners;
pub mod lookups;
pub mod peer;
pub mod sessions;
pub mod user_names;
