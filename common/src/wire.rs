//! Types of the client protocol that the warden uses, too. The crate `remit-wire` has the protocol.

mod access {
    //! Request and answer about what a caller may do.

    use serde::{Deserialize, Serialize};

    use crate::bounded_vec;
    use crate::wire::Bytes;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Access {
        /// Would running this be allowed?
        #[serde(deserialize_with = "bounded_vec::optional_argv")]
        pub argv: Option<Vec<Bytes>>,
        /// In this profile; `read` when absent.
        pub profile: Option<String>,
        /// Explain this named command, and whether it would be allowed. Not together with `argv`.
        pub name: Option<String>,
        /// Only commands with these words in name or summary, best first; [`crate::caps::NAME`] bytes. Not with `name`.
        pub query: Option<String>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub struct AccessReport {
        /// The caller's name on this machine, or `#uid`.
        pub user: String,
        pub uid: u32,
        /// At most [`crate::caps::ACCESS_BYTES`], first those of the policy.
        pub grants: Vec<GrantView>,
        /// Grants that are not shown.
        pub more_grants: u32,
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

    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
    )]
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

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub struct GrantView {
        /// The grant's name, or file and line.
        pub rule: String,
        pub allow: Vec<String>,
        pub profile: String,
        pub env: Vec<String>,
        pub approval: Option<String>,
        /// Of one that a person gave for a time: what is left of it, in words.
        pub left: Option<String>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub struct ProfileView {
        pub name: String,
        /// A summary of what it shows and what it refuses.
        pub summary: String,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub struct Asked {
        /// Allowed without anybody's approval.
        pub allowed: bool,
        pub rule: Option<String>,
        pub why: String,
        pub lift: Option<String>,
        /// The approvers, in words, if it needs an approval.
        pub approval: Option<String>,
    }
}
mod history {
    //! A user's history: the daemon's own short record, separate from the audit log.

    use serde::{Deserialize, Serialize};

    use crate::caps;
    use crate::refusal::{Code, Refusal};

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct HistoryQuery {
        /// Only what came before this number: the `next` of an earlier page.
        pub before: Option<u64>,
        /// Only what came at this time or later, in milliseconds since 1970.
        pub since_ms: Option<u64>,
        pub kind: Option<Kind>,
        /// At most this many, itself at most [`crate::caps::HISTORY_PAGE`].
        pub limit: u32,
    }

    impl HistoryQuery {
        /// Fails with `invalid_args` if the page is empty or too long.
        pub fn check(&self) -> Result<(), Refusal> {
            let (limit, cap) = (self.limit, caps::HISTORY_PAGE);
            if (1..=cap).contains(&limit) {
                return Ok(());
            }
            let text = format!("limit is {limit}, but must be 1 to {cap}");
            Err(Refusal::new(Code::InvalidArgs, text).object("limit"))
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    #[serde(rename_all = "snake_case")]
    pub enum Kind {
        /// Something was asked for that another person has to approve.
        Asked,
        /// Somebody approved or denied it, or it was not approved in time, or is void.
        Decided,
        /// A program was about to be executed.
        Started,
        /// It ended.
        Ended,
        /// A request was refused.
        Refused,
    }

    impl Kind {
        pub const ALL: [Self; 5] = [
            Self::Asked,
            Self::Decided,
            Self::Started,
            Self::Ended,
            Self::Refused,
        ];

        #[must_use]
        pub const fn as_str(self) -> &'static str {
            match self {
                Self::Asked => "asked",
                Self::Decided => "decided",
                Self::Started => "started",
                Self::Ended => "ended",
                Self::Refused => "refused",
            }
        }
    }

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub struct HistoryPage {
        pub entries: Vec<HistoryEntry>,
        /// The `before` of the next page. Absent on the last.
        #[serde(default)]
        pub next: Option<u64>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub struct HistoryEntry {
        /// The number of its record in the audit log.
        pub seq: u64,
        pub at_ms: u64,
        pub kind: Kind,
        pub user: String,
        pub job_id: Option<String>,
        pub command: Option<String>,
        /// `allow`, the code of a refusal, or the state in which a job ended.
        pub verdict: String,
        pub cause: Option<String>,
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_page_of_the_past_is_bounded() {
            for (limit, expect) in [
                (0, false),
                (1, true),
                (caps::HISTORY_PAGE, true),
                (caps::HISTORY_PAGE + 1, false),
                (u32::MAX, false),
            ] {
                let query = HistoryQuery {
                    limit,
                    ..HistoryQuery::default()
                };
                let refused = query.check().err().map(|refusal| refusal.code);
                let code = (!expect).then_some(Code::InvalidArgs);
                assert_eq!(refused, code, "{limit}");
            }
        }
    }
}

use serde::{Deserialize, Serialize};
pub use serde_bytes::ByteBuf as Bytes;

use crate::refusal::Refusal;

pub use self::access::{Access, AccessReport, Asked, CommandView, Effect, GrantView, ProfileView};
pub use self::history::{HistoryEntry, HistoryPage, HistoryQuery, Kind};

/// Purpose of a run, which decides what permits it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Read only. The policy must grant it, and a named command must have the effect `read`.
    #[default]
    Use,
    /// Change of the host: a named command with the effect `change` that the policy grants.
    Change {
        /// Reason from the caller: 1 to [`crate::caps::REASON`] bytes.
        reason: String,
    },
    /// Test of a profile by root. No grant is needed, and denials do not apply.
    Try,
}

const VARIANT: u8 = 3;

/// Reason why the warden closes a connection. It has the bytes of `ToClient::Goodbye` in `remit-wire`.
#[derive(Debug, Serialize)]
pub struct Goodbye(u8, Refusal);

impl Goodbye {
    #[must_use]
    pub const fn new(refusal: Refusal) -> Self {
        Self(VARIANT, refusal)
    }
}
