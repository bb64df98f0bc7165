//! What the warden told of a job. Of one that has ended it is kept as bytes: a thousand of them are remembered, and
//! each of their many short lines would take a piece of memory of its own.

use remit_common::denial::Sight;
use remit_common::outcome::{Ending, Enforced};

/// Facts about a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was enforced, once the exec has happened.
    pub enforced: Option<Enforced>,
    /// How it ended, once it has.
    pub ending: Option<Ending>,
    /// What its profile lets it do, once it has failed.
    pub sight: Option<Sight>,
}

/// The same, as it is kept.
#[derive(Debug)]
pub enum Told {
    /// Of a job that has not ended.
    Open(Box<Facts>),
    /// The three in their order, encoded.
    Packed(Box<[u8]>),
}

impl From<Facts> for Told {
    fn from(facts: Facts) -> Self {
        Self::Open(Box::new(facts))
    }
}

impl Told {
    /// The facts.
    pub fn facts(&self) -> Facts {
        match self {
            Self::Open(facts) => facts.as_ref().clone(),
            Self::Packed(bytes) => unpacked(bytes),
        }
    }

    /// Something more was told.
    pub fn tell(&mut self, change: impl FnOnce(&mut Facts)) {
        if let Self::Packed(bytes) = self {
            *self = unpacked(bytes).into();
        }
        if let Self::Open(facts) = self {
            change(facts);
        }
    }

    /// Nothing more is told.
    pub fn pack(&mut self) {
        if let Self::Open(facts) = self {
            let three = (&facts.enforced, &facts.ending, &facts.sight);
            // What came in a message can be encoded again; if not, it stays as it is.
            if let Ok(bytes) = postcard::to_extend(&three, Vec::with_capacity(512)) {
                *self = Self::Packed(bytes.into());
            }
        }
    }
}

fn unpacked(bytes: &[u8]) -> Facts {
    // These are our own bytes.
    let (enforced, ending, sight) = postcard::from_bytes(bytes).unwrap_or_default();
    Facts {
        enforced,
        ending,
        sight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain;
    use crate::jobs::tests::ending;

    #[test]
    fn what_was_told_is_the_same_before_and_after_it_is_packed() {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 7,
            walls: vec!["landlock".into(), String::new()],
            landlock: 6,
            limits: vec!["memory 1 (cgroup)".into()],
        };
        let facts = Facts {
            enforced: Some(enforced),
            ending: Some(ending()),
            sight: Some(explain::sight_of_read()),
        };
        for facts in [facts, Facts::default()] {
            let mut told = Told::from(facts.clone());
            assert_eq!(told.facts(), facts);
            told.pack();
            assert!(matches!(told, Told::Packed(_)));
            assert_eq!(told.facts(), facts);
            told.tell(|facts| facts.enforced = None);
            let less = Facts {
                enforced: None,
                ..facts
            };
            assert_eq!(told.facts(), less);
        }
    }
}
