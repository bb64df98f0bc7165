//! The request that an approver signs: its types and its bytes. The warden approves only the SHA-256 of these bytes. The
//! approver's client decodes and shows the same bytes (`remit-page`), and computes the digest itself. Pure.

#![forbid(unsafe_code)]

mod encode;
mod request;
pub mod signers;
mod statement;
pub mod verifier;

use std::collections::{BTreeMap, BTreeSet};

use remit_common::admin::{AuditHead, PendingView};
use remit_common::wire::Bytes;
use remit_policy::Profile;
use serde::{Deserialize, Serialize};

pub use encode::{VERSION, encode, kind_name};
pub use request::{
    ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPass, BoundPath, FileBinding,
    Loose, Unbound, arguments_sentence, name_of_argument, sentence, sentences,
};
pub use statement::Statement;

/// How a line of [`ApprovalRequest::does`] begins that says what becomes of a commit that nobody confirms.
pub const UNCONFIRMED: &str = "undone by itself ";

/// How the first line of [`ApprovalRequest::does`] of an undo begins: which commit it undoes follows.
pub const UNDOES: &str = "undoes ";

/// Copies whose content is part of an answer: the first of them.
pub const COPIES: usize = 16;

/// Jobs without a sandbox that an answer names.
pub const HOST_JOBS: usize = 8;

/// What an approver sees of a request and does not sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    pub pending: PendingView,
    pub loginuid: Option<u32>,
    /// `pid 77`.
    pub peer: String,
    pub client: String,
    pub summary: String,
    /// Its name and the policy's digest are signed.
    pub profile: Profile,
    pub runtime_source: String,
    /// Usual seconds, if the requester asked for another number.
    pub usual_runtime_s: Option<u32>,
    pub is_own_program: bool,
    pub loose: BTreeSet<Loose>,
    /// By argument: whether a copied file is still what was copied.
    pub today: BTreeMap<usize, Now>,
    /// When the commands that changes require have ended, a sentence each.
    pub required: Vec<String>,
    /// How checks of its plan ended.
    pub checks: Vec<CheckEnd>,
    /// Jobs without a sandbox that run now: the first [`HOST_JOBS`], then how many more.
    pub host_jobs: Vec<String>,
    /// What each command runs that follows a commit, in their order.
    pub acts: Vec<ActContext>,
    /// The newest record when the request was recorded, part of the text that an approver signs.
    pub head: AuditHead,
}

/// How a command ended that has seen the files of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckEnd {
    pub is_well: bool,
    /// `exit 0, 24 s ago [338250fe]: nginx.check`.
    pub text: String,
}

/// What a command runs that follows a commit of files. Its text is signed, as an argument of the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActContext {
    /// `service.reload unit=nginx.service`.
    pub text: String,
    pub argv: Vec<Bytes>,
    pub profile: Profile,
    pub is_own_program: bool,
}

/// A copied file, compared with the file that has its name now; `Other` if that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Now {
    Same,
    Other,
    Unknown,
}

/// Beginning of an answer. The signed bytes and then the contents follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    pub context: Context,
    pub request: u64,
    /// Lengths of the contents that there are: script, standard input, the first [`COPIES`] copies in slot order.
    pub contents: Vec<u64>,
    /// The copies are not among them, and a plan on standard input is not either: they are only for its possible approvers.
    pub is_withheld: bool,
}

impl AnswerHead {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail. An empty head would be refused.
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }
}
