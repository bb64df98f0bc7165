//! The question to `remit-prove`, and what it answers to the daemon. Frames of `remit_policy::exchange` carry both.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::Bytes;

pub const PROGRAM: &str = "remit-prove";

/// Which accounts could become root, or act as another account. Without `compared`, the answer is a report for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// That of the asking program: another may mean something else by the same bytes.
    pub release: String,
    /// The directory that is the machine's `/`.
    pub root: Bytes,
    /// `Policy::encode`.
    pub policy: Bytes,
    /// With it, the answer is `Result<Opened, String>`.
    pub compared: Option<Compared>,
    /// A user, or `%group` for a member of it alone. `None`: each agent.
    pub subject: Option<String>,
    /// Accounts that the tables of the machine may lack, as its user database knows them.
    pub accounts: Vec<KnownAccount>,
    /// Groups of `remit.toml`, by name or as `#gid`.
    pub socket_group: String,
    pub admin_group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAccount {
    pub name: String,
    pub uid: u32,
    /// The primary one first.
    pub gids: Vec<u32>,
}

/// What would be different: only paths that this opens are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The policy before. `None`: the same.
    pub before: Option<Bytes>,
    /// Changes of the machine's files.
    pub changes: Vec<FileChange>,
    /// Time for all looks. A bound that was reached is in the answer.
    pub milliseconds: u64,
}

impl Compared {
    pub const fn patience(&self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    pub path: Bytes,
    /// `None`: it is removed.
    pub after: Option<FileAfter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAfter {
    pub uid: u32,
    pub gid: u32,
    /// Permission, sticky and set-id bits.
    pub mode: u32,
    /// Capabilities that a program gives to its process: bits as in capabilities(7).
    pub capabilities: u64,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// As it is: owner and mode alone change.
    Same,
    Directory,
    File(Bytes),
    /// A file whose bytes are not known here.
    Unknown,
    /// A link with this text.
    Link(Bytes),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub paths: Vec<OpenedPath>,
    /// Parts of the machine that were not looked at.
    pub unknown: usize,
    /// The bound that was reached, and where: more paths may be opened.
    pub incomplete: Option<String>,
    /// What else was not compared, in sentences.
    pub limits: Vec<String>,
}

/// An account reaches what it did not reach before. All texts are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedPath {
    pub agent: String,
    /// `root`, `the account NAME` or `remit`.
    pub goal: String,
    pub steps: Vec<String>,
    /// Changes each of which closes it.
    pub closed_by: Vec<String>,
}
