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
    /// Its list entry.
    pub pending: PendingView,
    /// Audit login uid of the requester's process.
    pub loginuid: Option<u32>,
    /// The requester's process: `pid 77`.
    pub peer: String,
    /// Name that the requester's client claims.
    pub client: String,
    /// Purpose of the command, from the policy.
    pub summary: String,
    /// The sandbox. Its name and the policy's digest are signed.
    pub profile: Profile,
    /// Setting that the runtime comes from.
    pub runtime_source: String,
    /// Usual seconds until it is ended, if the requester asked for another number.
    pub usual_runtime_s: Option<u32>,
    /// True if the package's own program runs.
    pub is_own_program: bool,
    /// Names whose content is not bound.
    pub loose: BTreeSet<Loose>,
    /// By argument: whether a copied file is still what was copied.
    pub today: BTreeMap<usize, Now>,
}

/// A copied file, compared with the file that has its name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Now {
    /// It is the same.
    Same,
    /// Changed or missing.
    Other,
    /// Not compared.
    Unknown,
}

/// Beginning of an answer. The signed bytes and then the contents follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// What is not signed.
    pub context: Context,
    /// Length of the signed bytes.
    pub request: u64,
    /// Lengths of the contents: script, standard input, then the first [`COPIES`] copies in the order of the slots;
    /// each if there is one.
    pub contents: Vec<u64>,
}

impl AnswerHead {
    /// Returns its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail. An empty head would be refused.
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }
}

/// The parts of an answer. None of them is checked.
#[derive(Debug)]
pub struct Answer<'a> {
    /// What is not signed.
    pub context: Context,
    /// The signed bytes.
    pub request: &'a [u8],
    /// The contents, as [`AnswerHead::contents`].
    pub contents: Vec<&'a [u8]>,
}

impl<'a> Answer<'a> {
    /// Returns the parts of `bytes`, or `None` if the lengths do not cover exactly all of them.
    #[must_use]
    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = postcard::take_from_bytes::<AnswerHead>(bytes).ok()?;
        let mut take = |length: u64| {
            let (part, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            Some(part)
        };
        let request = take(head.request)?;
        let contents = head.contents.iter().map(|length| take(*length));
        let contents = contents.collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(Self {
            context: head.context,
            request,
            contents,
        })
    }
}
