//! The answer to an administrator who wants to see a request: facts that are not signed, the signed bytes, and the
//! contents whose hashes they have.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::admin::PendingView;
use remit_policy::Profile;
use serde::{Deserialize, Serialize};

use crate::Loose;

/// Copies whose content is part of an answer: the first of them.
pub const COPIES: usize = 16;

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
    /// Length of the signed bytes.
    pub request: u64,
    /// Lengths of the contents: script, standard input, then the first [`COPIES`] copies in the order of the slots;
    /// each if there is one.
    pub contents: Vec<u64>,
}

impl AnswerHead {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail. An empty head would be refused.
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }
}
