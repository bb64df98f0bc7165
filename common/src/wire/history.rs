//! A user's history: the daemon's own short record, separate from the audit log.

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::refusal::{Code, Refusal};

/// Which part of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryQuery {
    /// Only what came before this number: the `next` of an earlier page.
    pub before: Option<u64>,
    /// Only what came at this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only events of this kind.
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

/// A kind of event in the history.
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

/// A page of the past, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HistoryPage {
    /// Newest first.
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
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    pub kind: Kind,
    pub user: String,
    pub job_id: Option<String>,
    /// The argv, made printable and cut short.
    pub command: Option<String>,
    /// `allow`, the code of a refusal, or the state in which a job ended.
    pub verdict: String,
    /// In words: why it was refused, or how it ended.
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
