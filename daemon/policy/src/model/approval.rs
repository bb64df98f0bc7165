//! Combines the approvals that grants ask for before each run.

use std::fmt;

use remit_common::signed::{Signed, Touch, proves};
use serde::{Deserialize, Serialize};

use crate::decide::CallerIds;
use crate::model::rule::Grantees;

/// An approval by `count` different people, none of them the requester. Each of them is in each list. A rule has one
/// list. A call has those of all its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    lists: Vec<Grantees>,
    count: Count,
    signed: Option<Signed>,
    expires_s: u32,
}

/// How many people have to approve a request: `approval = { count = 2 }`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Count {
    #[default]
    One,
    Two,
    Three,
}

impl Count {
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    pub const fn get(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// A verified signature. `touch`: what a security key reports; absent for a key that is a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    pub touch: Option<Touch>,
}

impl Approval {
    /// Seconds until a request expires if neither its rule nor its setting says when.
    pub const EXPIRES_S: u32 = 600;

    pub fn new(by: Grantees, count: Count, expires_s: u32) -> Self {
        Self {
            lists: vec![by],
            count,
            signed: None,
            expires_s,
        }
    }

    /// Returns the same approval, which each approver has to sign if `signed` is something.
    #[must_use]
    pub fn with_signed(self, signed: Option<Signed>) -> Self {
        Self { signed, ..self }
    }

    /// Combines approvals: each person must be in all lists, within the shortest time; as many as the rule asks for that
    /// asks for most, and signed as the strictest rule asks. Returns `None` for none.
    pub fn all<'a>(asked: impl Iterator<Item = &'a Self>) -> Option<Self> {
        asked.fold(None, |all, one| match all {
            None => Some(one.clone()),
            Some(all) => Some(all.and(one)),
        })
    }

    fn and(mut self, other: &Self) -> Self {
        self.expires_s = self.expires_s.min(other.expires_s);
        self.count = self.count.max(other.count);
        self.signed = self.signed.max(other.signed);
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

    /// Returns the approvers of all lists, as written.
    pub fn words(&self) -> impl Iterator<Item = &String> {
        self.lists.iter().flat_map(|list| &list.words)
    }

    /// Returns how many people have to approve.
    pub fn count(&self) -> Count {
        self.count
    }

    /// Returns what each approver's signature has to prove, if they have to sign.
    pub fn signed(&self) -> Option<Signed> {
        self.signed
    }

    /// Returns whether an approver has signed as is asked for.
    pub fn is_signed_by(&self, proof: Option<Proof>) -> bool {
        self.signed
            .is_none_or(|asked| proof.is_some_and(|proof| proves(proof.touch, asked).is_ok()))
    }

    /// Returns the same approval by one person, who need not sign.
    #[must_use]
    pub fn by_one(&self) -> Self {
        Self {
            count: Count::One,
            signed: None,
            ..self.clone()
        }
    }

    /// Returns the approvers for people to read: users, `%groups`, `#uid`, `%#gid`; later lists with `and`: all must be met. If
    /// one person is not enough, the first begins with their number: `2 of %sre`.
    pub fn asked_of(&self) -> Vec<String> {
        match (self.count, self.lists.as_slice()) {
            (Count::One, [list]) => list.words.clone(),
            (_, lists) => {
                let and = |at: usize| if at == 0 { "" } else { "and " };
                let lists = lists.iter().enumerate();
                let mut by: Vec<String> = lists
                    .map(|(at, list)| format!("{}{}", and(at), list_text(list)))
                    .collect();
                if let (Count::Two | Count::Three, Some(first)) = (self.count, by.first_mut()) {
                    *first = format!("{} of {first}", self.count.get());
                }
                by
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
        match (self.count, self.lists.as_slice()) {
            (Count::One, [list]) => write!(f, "needs approval by {}", list.words.join(", "))?,
            (count, lists) => {
                let is_one = lists.len() == 1;
                let lists: Vec<String> = lists.iter().map(list_text).collect();
                let lists = lists.join(" and ");
                match count {
                    Count::One => {
                        write!(f, "needs approval by {lists} (one person who is in each)")?;
                    }
                    Count::Two | Count::Three => {
                        let number = count.get();
                        write!(f, "needs approval by {number} different people of {lists}")?;
                        if !is_one {
                            f.write_str(" (each of whom is in each)")?;
                        }
                    }
                }
            }
        }
        if let Some(signed) = self.signed {
            write!(f, ", each with {}", signed.asked())?;
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
        let of = |words: &[&str], expires_s| Approval::new(list(words), Count::One, expires_s);
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
        assert_eq!(both.asked_of(), ["(#a, #bb)", "and (#bb, #ccc)"]);
        let met = |uid| both.is_met_by(CallerIds { uid, gids: &[] });
        assert_eq!([met(1), met(2), met(3)], [false, true, false]);
        assert_eq!(Approval::all(std::iter::empty()), None);
    }

    #[test]
    fn number_of_approvers_is_the_largest_that_a_rule_asks_for() {
        let of = |words: &[&str], count| Approval::new(list(words), count, 60);
        let (one, two, three) = (
            of(&["#a", "#bb"], Count::One),
            of(&["#a", "#bb"], Count::Two),
            of(&["#bb"], Count::Three),
        );
        let all = |asked: &[&Approval]| Approval::all(asked.iter().copied()).unwrap();
        for (asked, count, text, by) in [
            (
                &[&one, &two][..],
                2,
                "needs approval by 2 different people of (#a, #bb), asked for at most 1 min",
                "2 of (#a, #bb)",
            ),
            (
                &[&two, &one],
                2,
                "needs approval by 2 different people of (#a, #bb), asked for at most 1 min",
                "2 of (#a, #bb)",
            ),
            (
                &[&two, &three],
                3,
                "needs approval by 3 different people of #bb, asked for at most 1 min",
                "3 of #bb",
            ),
            (
                &[&of(&["#a"], Count::Two), &of(&["#bb"], Count::One)],
                2,
                "needs approval by 2 different people of #a and #bb (each of whom is in each), asked for at most 1 min",
                "2 of #a and #bb",
            ),
        ] {
            let all = all(asked);
            assert_eq!(all.count().get(), count, "{asked:?}");
            assert_eq!(all.to_string(), text);
            assert_eq!(all.asked_of().join(" "), by);
        }
    }

    #[test]
    fn signature_is_what_the_strictest_rule_asks_for() {
        let of = |signed| Approval::new(list(&["#a"]), Count::One, 60).with_signed(signed);
        let (none, key, touch) = (of(None), of(Some(Signed::Key)), of(Some(Signed::Touch)));
        for (asked, expect) in [
            (&[&none, &none][..], None),
            (&[&none, &key], Some(Signed::Key)),
            (&[&touch, &key, &none], Some(Signed::Touch)),
        ] {
            let all = Approval::all(asked.iter().copied()).unwrap();
            assert_eq!(all.signed(), expect, "{asked:?}");
            assert_eq!(all.by_one().signed(), None);
        }
        assert_eq!(
            touch.to_string(),
            "needs approval by #a, each with a signature by a security key that was touched, asked for at most 1 min"
        );
    }

    #[test]
    fn approval_is_shown_as_text() {
        let text = |words: &[&str], expires_s| {
            Approval::new(list(words), Count::One, expires_s).to_string()
        };
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
