//! Paths to more rights that an administrator has read and accepts: a reload does not refuse a policy for them.

use remit_common::text::is_plain;
use serde::{Deserialize, Serialize};

use crate::model::rule::RuleId;

/// Bytes of a text.
const TEXT: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedPath {
    pub id: RuleId,
    /// The name of the account that reaches it.
    pub agent: String,
    /// `root`, `remit`, or the name of an account.
    pub reaches: String,
    pub reason: String,
}

impl AcceptedPath {
    /// `goal`: as `remit-prove` names it: `root`, `remit`, `the account of agent NAME`.
    pub fn is_about(&self, agent: &str, goal: &str) -> bool {
        let of_account = goal.strip_prefix("the account of ");
        let account = of_account.and_then(|account| account.split_once(' '));
        let is_reached = match account {
            // An account of that name is not meant.
            Some((_, "root" | "remit")) => false,
            Some((_, name)) => self.reaches == name,
            None => self.reaches == goal,
        };
        self.agent == agent && is_reached
    }

    /// Returns the part of a sentence that says what is wrong with it.
    pub fn fault(&self) -> Option<&'static str> {
        let texts = [&self.agent, &self.reaches, &self.reason];
        match () {
            () if texts.iter().any(|text| text.is_empty()) => Some("has an empty text"),
            () if texts.iter().any(|text| text.len() > TEXT) => Some("has a text over 1000 bytes"),
            () if texts.iter().any(|text| text.contains(['\n', '\t'])) => {
                Some("has a text of several lines")
            }
            () if texts.iter().any(|text| !text.chars().all(is_plain)) => {
                Some("has a text with characters that cannot be seen")
            }
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_named_alone() {
        let accepted = |reaches: &str| AcceptedPath {
            id: RuleId {
                file: "a.toml".to_owned(),
                line: 1,
                name: None,
            },
            agent: "bot".to_owned(),
            reaches: reaches.to_owned(),
            reason: "x".to_owned(),
        };
        for (reaches, goal, is) in [
            ("root", "root", true),
            ("remit", "remit", true),
            ("alice", "the account of approver alice", true),
            ("alice", "the account of agent alice", true),
            ("alice", "the account of agent bob", false),
            ("approver alice", "the account of approver alice", false),
            ("root", "the account of agent root", false),
            ("remit", "the account of agent remit", false),
            ("alice", "root", false),
        ] {
            assert_eq!(
                accepted(reaches).is_about("bot", goal),
                is,
                "{reaches} {goal}"
            );
        }
        assert!(!accepted("root").is_about("cat", "root"));
    }
}
