//! Requests that wait for an approval on many hosts, as their approver sees them.
//!
//! **Invariant:** what a host says is about itself only. An approval names the job and the digest that this host sent with
//! the page that was shown of it, over its own ssh.

pub mod page;
pub mod request;
