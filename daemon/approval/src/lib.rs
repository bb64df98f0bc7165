//! The request that an approver signs: its types and its bytes.
//!
//! The warden encodes a request and approves only the SHA-256 of these bytes. The approver's client decodes the same
//! bytes (`remit-page`), shows what they say, and computes the digest itself. The code is pure and needs no privilege.

#![forbid(unsafe_code)]

mod answer;
mod encode;
mod request;
mod unbound;

pub use answer::{AnswerHead, COPIES, Context, Now};
pub use encode::{VERSION, encode, kind_name};
pub use request::{
    ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPass, BoundPath, FileBinding,
};
pub use unbound::{Loose, Unbound, arguments_sentence, sentence, sentences};

/// Returns the name of an argument in [`BoundFile::what`].
#[must_use]
pub fn name_of_argument(at: usize) -> String {
    format!("argument {at}")
}
