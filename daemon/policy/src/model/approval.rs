//! What a grant asks for before each run.

use std::fmt;

use crate::model::rule::Grantees;

/// Another person has to agree to each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub(crate) by: Grantees,
    pub(crate) expires_s: u32,
}

impl Approval {
    /// Who can approve, as the policy names them: users, `%groups`, `#uid`, `%#gid`.
    pub fn by(&self) -> &[String] {
        &self.by.words
    }

    /// Their uids.
    pub fn uids(&self) -> impl Iterator<Item = u32> {
        self.by.uids()
    }

    /// Gids, each of whose members can approve.
    pub fn gids(&self) -> impl Iterator<Item = u32> {
        self.by.gids()
    }

    /// How long they are asked, in seconds; then the request is void.
    pub fn expires_s(&self) -> u32 {
        self.expires_s
    }
}

/// `needs approval by %sre, asked for at most 10 min`.
impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.expires_s {
            s if s != 0 && s.is_multiple_of(3600) => (s / 3600, "h"),
            s if s != 0 && s.is_multiple_of(60) => (s / 60, "min"),
            s => (s, "s"),
        };
        write!(f, "needs approval by ")?;
        for (at, word) in self.by.words.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{word}")?;
        }
        write!(f, ", asked for at most {number} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_words() {
        let told = |words: &[&str], expires_s| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            let by = Grantees {
                words,
                ..Grantees::default()
            };
            Approval { by, expires_s }.to_string()
        };
        assert_eq!(
            told(&["%sre"], 600),
            "needs approval by %sre, asked for at most 10 min"
        );
        assert_eq!(
            told(&["%sre", "#5"], 7200),
            "needs approval by %sre, #5, asked for at most 2 h"
        );
        assert_eq!(
            told(&["ann"], 90),
            "needs approval by ann, asked for at most 90 s"
        );
    }
}
