//! Requests that another person must approve. [`flow`] is the sequence of one request. An approval is bound to a
//! digest of everything that will run ([`digest`]). A forked child hashes the files, because the event loop never
//! waits for a disk ([`file_hash`]).

pub mod approver;
pub mod copies;
pub mod digest;
pub(crate) mod end;
pub mod file_hash;
#[cfg(test)]
pub mod fixture;
pub(crate) mod flow;
pub(crate) mod grants;
pub(crate) mod notification;
mod shared;
mod table;
mod view;
mod wanted;

pub use crate::approval::file_hash::AsFound;
pub use approver::{from_outside, not_a_jobs_user, still_administers};
pub use shared::{Approvals, Comparing};
pub use table::{ASK_AGAIN, MeasuringRequest, Request, no_such_request};
pub use wanted::{copied, wanted};
