//! Protocol between clients and the daemon on `remit.sock`, reports about the host, and what clients share.
//!
//! A client first sends [`FromClient::Hello`] and gets [`ToClient::Welcome`] or [`ToClient::Goodbye`]. It may then
//! have several calls in flight, identified by ids that it chooses. postcard is not self-describing: any change of
//! these types needs a new [`PROTOCOL`].
//!
//! The root process does not link this crate. Types that it needs as well are in [`remit_common::wire`] and
//! [`remit_common::outcome`].

#![forbid(unsafe_code)]

pub mod client;
pub mod host;
pub mod outcome;
pub mod protocol;
pub mod request_id;
pub mod result;
pub mod service;

pub use protocol::*;
