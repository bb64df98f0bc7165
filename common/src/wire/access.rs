//! Request and answer about what a caller may do.

use serde::{Deserialize, Serialize};

use crate::bounded_vec;
use crate::wire::Bytes;

/// A question about what the caller may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Would running this be allowed?
    #[serde(deserialize_with = "bounded_vec::optional_argv")]
    pub argv: Option<Vec<Bytes>>,
    /// In this profile; `read` when absent.
    pub profile: Option<String>,
    /// Explain this named command, and whether it would be allowed. Not together with `argv`.
    pub name: Option<String>,
    /// Only commands with one of these words in their name or summary, those with the most first; at most
    /// [`crate::caps::NAME`] bytes. Not together with `name`.
    pub query: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AccessReport {
    /// The caller's name on this machine, or `#uid`.
    pub user: String,
    /// The caller's uid as the kernel gave it.
    pub uid: u32,
    pub grants: Vec<GrantView>,
    /// The answer about the argv or name asked for.
    pub asked: Option<Asked>,
    /// Names and a sentence each for the profiles named in the grants.
    pub profiles: Vec<ProfileView>,
    /// Named commands that this caller may use, at most [`crate::caps::ACCESS_BYTES`]; for a query the best
    /// [`crate::caps::ACCESS_FOUND`]; or the one asked for.
    pub commands: Vec<CommandView>,
    /// Commands that are not shown: ask with a query.
    pub more_commands: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommandView {
    /// Its name, and its arguments as `key=VALUE`, optional ones in brackets.
    pub usage: String,
    pub summary: String,
    /// Each argument in a line, where one command is asked for.
    pub args: Vec<String>,
    /// Its effect, which decides the tool: it only reads, or changes the host.
    pub effect: Effect,
    pub profile: String,
    /// The approvers of each run, in words; absent if it runs at once.
    pub approval: Option<String>,
}

impl CommandView {
    #[must_use]
    pub fn name(&self) -> &str {
        self.usage.split(' ').next().unwrap_or_default()
    }
}

/// The effect of a named command on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It looks: `run` takes it.
    #[default]
    Read,
    /// It changes the host: `change` takes it.
    Change,
}

impl Effect {
    /// Its name in policy files and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change => "change",
        }
    }
}

/// One grant as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GrantView {
    /// The grant's name, or file and line.
    pub rule: String,
    pub allow: Vec<String>,
    pub profile: String,
    /// Variables a run may set.
    pub env: Vec<String>,
    /// The approvers of each run, in words; absent if it runs at once.
    pub approval: Option<String>,
    /// Of one that a person gave for a time: what is left of it, in words.
    pub left: Option<String>,
}

/// A profile in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProfileView {
    pub name: String,
    /// A summary of what it shows and what it refuses.
    pub summary: String,
}

/// The answer to: would this be allowed?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Asked {
    /// Allowed without anybody's approval.
    pub allowed: bool,
    pub rule: Option<String>,
    pub why: String,
    /// What a person can type to allow it.
    pub lift: Option<String>,
    /// The approvers, in words, if it needs an approval.
    pub approval: Option<String>,
}
