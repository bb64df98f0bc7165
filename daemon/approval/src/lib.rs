//! The request that an approver signs: its types, its bytes, and the bytes read back.
//!
//! The warden encodes a request and approves only the SHA-256 of these bytes. The approver's client decodes the same
//! bytes, shows what they say, and computes the digest itself. The code is pure and needs no privilege.

#![forbid(unsafe_code)]

mod answer;
mod decode;
mod encode;
mod request;
mod unbound;

pub use answer::{Answer, AnswerHead, COPIES, Context, Now};
pub use decode::{Undecodable, decode};
pub use encode::{VERSION, encode};
pub use request::{
    ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPass, BoundPath, FileBinding,
};
pub use unbound::{Loose, Unbound, arguments_sentence, sentence, sentences};

#[cfg(test)]
mod tests;

/// Returns the name of an argument in [`BoundFile::what`].
#[must_use]
pub fn name_of_argument(at: usize) -> String {
    format!("argument {at}")
}
