//! Changes that another person approves: asked for, measured, shown, approved or not.
//!
//! [`flow`] is the story of one request, in order. What is approved is a digest over all that will run
//! ([`digest`]); files are measured by a forked child, since the loop never waits for a disk ([`measure`]).

mod approver;
mod changed;
pub mod digest;
mod escape;
#[cfg(test)]
pub mod fixture;
mod flow;
pub mod measure;
mod over;
mod record;
mod risks;
pub mod shown;
mod table;
mod view;
mod wanted;
mod words;

pub use approver::{from_outside, not_a_jobs_user, still_administers};
pub use flow::{how_often, no_such_request};
pub use measure::AsFound;
pub use over::ASK_AGAIN;
pub use table::{Approvals, Request};
pub use wanted::wanted;
