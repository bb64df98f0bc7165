//! What a policy means other than the one before.

use std::fmt;

use remit_common::{caps, text};
use remit_policy::Policy;
use serde::{Deserialize, Serialize};

/// Of a change, on its line.
const LINE: usize = 400;

/// Who gains and who loses what, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// At most [`caps::POLICY_CHANGES`].
    pub lines: Vec<String>,
    /// How many more there are.
    pub more: u32,
}

impl Changes {
    /// The difference between two policies, within its bound.
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

    /// These, and then `later`.
    pub fn and(mut self, later: Self) -> Self {
        self.lines.extend(later.lines);
        let over = self.lines.len().saturating_sub(caps::POLICY_CHANGES);
        self.lines.truncate(caps::POLICY_CHANGES);
        let more = self.more.saturating_add(later.more);
        self.more = more.saturating_add(count(over));
        self
    }
}

/// A line each; one line where there is none.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lines.as_slice(), self.more) {
            ([], 0) => f.write_str("nobody gains or loses anything"),
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
    fn changes_of_two_loads_are_told_together_within_their_bound() {
        let changes = |count: usize, more| Changes {
            lines: vec!["x".to_owned(); count],
            more,
        };
        assert_eq!(changes(2, 0).and(changes(1, 0)), changes(3, 0));
        let most = caps::POLICY_CHANGES;
        assert_eq!(changes(most, 7).and(changes(2, 1)), changes(most, 10));
        assert_eq!(changes(0, 0).to_string(), "nobody gains or loses anything");
        assert_eq!(changes(1, 2).to_string(), "x\nand 2 more changes");
    }
}
