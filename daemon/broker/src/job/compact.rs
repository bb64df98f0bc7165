//! Facts about a job that the warden reported. For ended jobs they are encoded: a thousand jobs are remembered, and
//! each of many short strings would need its own allocation.

use remit_common::denial::ProfileVisibility;
use remit_wire::outcome::{Ending, Enforced};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub enforced: Option<Enforced>,
    pub ending: Option<Ending>,
    /// Known after a failure.
    pub visibility: Option<ProfileVisibility>,
}

#[derive(Debug)]
pub enum StoredFacts {
    Open(Box<Facts>),
    /// The encoded fields of `Facts`, in their order.
    Packed(Box<[u8]>),
}

impl From<Facts> for StoredFacts {
    fn from(facts: Facts) -> Self {
        Self::Open(Box::new(facts))
    }
}

impl StoredFacts {
    pub fn facts(&self) -> Facts {
        match self {
            Self::Open(facts) => facts.as_ref().clone(),
            Self::Packed(bytes) => unpacked(bytes),
        }
    }

    pub fn update(&mut self, change: impl FnOnce(&mut Facts)) {
        if let Self::Packed(bytes) = self {
            *self = unpacked(bytes).into();
        }
        if let Self::Open(facts) = self {
            change(facts);
        }
    }

    /// Encodes the facts when no more will come.
    pub fn pack(&mut self) {
        if let Self::Open(facts) = self {
            let three = (&facts.enforced, &facts.ending, &facts.visibility);
            // Facts from a message can always be encoded. On an error they stay as they are.
            if let Ok(bytes) = postcard::to_extend(&three, Vec::with_capacity(512)) {
                *self = Self::Packed(bytes.into());
            }
        }
    }
}

fn unpacked(bytes: &[u8]) -> Facts {
    // These bytes were encoded by `pack`.
    let (enforced, ending, visibility) = postcard::from_bytes(bytes).unwrap_or_default();
    Facts {
        enforced,
        ending,
        visibility,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hints;
    use crate::job::registry::tests::ending;

    #[test]
    fn packed_facts_are_unchanged() {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 7,
            layers: vec!["landlock".into(), String::new()],
            landlock: 6,
            limits: vec!["memory 1 (cgroup)".into()],
        };
        let facts = Facts {
            enforced: Some(enforced),
            ending: Some(ending()),
            visibility: Some(hints::visibility_of_read()),
        };
        for facts in [facts, Facts::default()] {
            let mut stored = StoredFacts::from(facts.clone());
            assert_eq!(stored.facts(), facts);
            stored.pack();
            assert!(matches!(stored, StoredFacts::Packed(_)));
            assert_eq!(stored.facts(), facts);
            stored.update(|facts| facts.enforced = None);
            let less = Facts {
                enforced: None,
                ..facts
            };
            assert_eq!(stored.facts(), less);
        }
    }
}
