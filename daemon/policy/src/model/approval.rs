//! Combines the approvals that grants ask for before each run.

use std::fmt;

use crate::decide::CallerIds;
use crate::model::rule::Grantees;
use serde::{Deserialize, Serialize};

/// An approval by one other person who is in each list. A rule has one list. A call has those of all its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    lists: Vec<Grantees>,
    expires_s: u32,
}

impl Approval {
    pub fn new(by: Grantees, expires_s: u32) -> Self {
        Self {
            lists: vec![by],
            expires_s,
        }
    }

    /// Combines approvals: one person must be in all lists, within the shortest time. Returns `None` for none.
    pub fn all<'a>(asked: impl Iterator<Item = &'a Self>) -> Option<Self> {
        asked.fold(None, |all, one| match all {
            None => Some(one.clone()),
            Some(all) => Some(all.and(one)),
        })
    }

    fn and(mut self, other: &Self) -> Self {
        self.expires_s = self.expires_s.min(other.expires_s);
        for list in &other.lists {
            // A list that contains another adds nothing.
            if self.lists.iter().any(|own| own.is_within(list)) {
                continue;
            }
            self.lists.retain(|own| !list.is_within(own));
            self.lists.push(list.clone());
        }
        self
    }

    pub fn is_met_by(&self, caller: CallerIds<'_>) -> bool {
        self.lists.iter().all(|list| list.include(caller))
    }

    pub fn lists(&self) -> &[Grantees] {
        &self.lists
    }

    pub fn gids(&self) -> impl Iterator<Item = u32> {
        self.lists().iter().flat_map(Grantees::gids)
    }

    /// Returns the approvers as written: users, `%groups`, `#uid`, `%#gid`; later lists with `and`: all must be met.
    pub fn by(&self) -> Vec<String> {
        match self.lists.as_slice() {
            [list] => list.words.clone(),
            lists => {
                let and = |at: usize| if at == 0 { "" } else { "and " };
                let lists = lists.iter().enumerate();
                lists
                    .map(|(at, list)| format!("{}{}", and(at), list_text(list)))
                    .collect()
            }
        }
    }

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
        match self.lists.as_slice() {
            [list] => write!(f, "needs approval by {}", list.words.join(", "))?,
            lists => {
                let lists: Vec<String> = lists.iter().map(list_text).collect();
                let lists = lists.join(" and ");
                write!(f, "needs approval by {lists} (one person who is in each)")?;
            }
        }
        write!(f, ", asked for at most {number} {unit}")
    }
}

/// One list among others: `%sre`, or `(ann, %sre)`.
fn list_text(list: &Grantees) -> String {
    match list.words.as_slice() {
        [word] => word.clone(),
        words => format!("({})", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rule::Principal;

    fn list(words: &[&str]) -> Grantees {
        let words = words.iter().map(|word| (*word).to_owned());
        let id = |word: &String| word.trim_start_matches(['%', '#']).len() as u32;
        Grantees {
            ids: words
                .clone()
                .map(|word| (Principal::User(id(&word)), word))
                .collect(),
            words: words.collect(),
            ..Grantees::default()
        }
    }

    #[test]
    fn approver_must_be_in_every_list() {
        let of = |words: &[&str], expires_s| Approval::new(list(words), expires_s);
        let (a, ab, bc) = (
            of(&["#a"], 90),
            of(&["#a", "#bb"], 60),
            of(&["#bb", "#ccc"], 600),
        );
        let all = |asked: &[&Approval]| Approval::all(asked.iter().copied()).unwrap();
        assert_eq!(all(&[&a, &ab]), all(&[&ab, &a]));
        assert_eq!(
            all(&[&a, &ab]).to_string(),
            "needs approval by #a, asked for at most 1 min"
        );
        let both = all(&[&ab, &bc, &ab]);
        assert_eq!(
            both.to_string(),
            "needs approval by (#a, #bb) and (#bb, #ccc) (one person who is in each), asked for at most 1 min"
        );
        assert_eq!(both.by(), ["(#a, #bb)", "and (#bb, #ccc)"]);
        let met = |uid| both.is_met_by(CallerIds { uid, gids: &[] });
        assert_eq!([met(1), met(2), met(3)], [false, true, false]);
        assert_eq!(Approval::all(std::iter::empty()), None);
    }

    #[test]
    fn approval_is_shown_as_text() {
        let text = |words: &[&str], expires_s| Approval::new(list(words), expires_s).to_string();
        assert_eq!(
            text(&["%sre"], 600),
            "needs approval by %sre, asked for at most 10 min"
        );
        assert_eq!(
            text(&["%sre", "#5"], 7200),
            "needs approval by %sre, #5, asked for at most 2 h"
        );
        assert_eq!(
            text(&["ann"], 90),
            "needs approval by ann, asked for at most 90 s"
        );
    }
}
