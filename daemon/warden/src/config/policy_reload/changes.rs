//! The difference in meaning between two policies.

use std::fmt;

use remit_common::{caps, text};
use remit_policy::Policy;
use serde::{Deserialize, Serialize};

/// Bytes of one line.
const LINE: usize = 400;

/// What each user gains and loses, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// At most [`caps::POLICY_CHANGES`].
    pub lines: Vec<String>,
    pub more: u32,
}

impl Changes {
    pub fn between(old: &Policy, new: &Policy) -> Self {
        let all = remit_policy::diff(old, new);
        let lines = all.iter().take(caps::POLICY_CHANGES);
        Self {
            lines: lines
                .map(|line| text::line(line.as_bytes(), LINE))
                .collect(),
            more: count(all.len().saturating_sub(caps::POLICY_CHANGES)),
        }
    }

    pub fn and(mut self, later: Self) -> Self {
        self.lines.extend(later.lines);
        let over = self.lines.len().saturating_sub(caps::POLICY_CHANGES);
        self.lines.truncate(caps::POLICY_CHANGES);
        let more = self.more.saturating_add(later.more);
        self.more = more.saturating_add(count(over));
        self
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lines.as_slice(), self.more) {
            ([], 0) => f.write_str("no permission changes"),
            (lines, 0) => f.write_str(&lines.join("\n")),
            (lines, more) => write!(f, "{}\nand {more} more changes", lines.join("\n")),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_two_loads_are_merged_within_bound() {
        let changes = |count: usize, more| Changes {
            lines: vec!["x".to_owned(); count],
            more,
        };
        assert_eq!(changes(2, 0).and(changes(1, 0)), changes(3, 0));
        let most = caps::POLICY_CHANGES;
        assert_eq!(changes(most, 7).and(changes(2, 1)), changes(most, 10));
        assert_eq!(changes(0, 0).to_string(), "no permission changes");
        assert_eq!(changes(1, 2).to_string(), "x\nand 2 more changes");
    }
}
