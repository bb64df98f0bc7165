//! What an approver reads of a request, made from the bytes whose digest is approved, by the program of the approver:
//! the daemon draws nothing of it. Pure. It must not show anything of a request that was not verified.

#![forbid(unsafe_code)]

mod decode;
mod describe;
#[cfg(test)]
mod fixture;
mod risks;
mod shown;
mod verified;
mod view;

use remit_plan::hex;

pub use decode::{Undecodable, decode};
pub use shown::{shown, whole};
pub use verified::{Answer, Unverified, Verified};
pub use view::{DOES, EntryView, FileView, OpensView, PlanView, ShownRequest, is_of_cut};
