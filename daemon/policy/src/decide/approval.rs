//! What waits for an approval, and who can give it. Whoever reaches for a [`Pending`] gets a [`Grant`] only
//! with somebody's consent that the rule takes; by what was given beforehand, only where a use of that is
//! spent.

use std::sync::Arc;

use crate::decide::{Basis, Grant, Terms, Who};
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::profile::{Base, Profile};
use crate::model::rule::RuleId;

/// A permission that waits for an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub(super) terms: Terms,
    pub(super) rule: RuleId,
    pub(super) approval: Approval,
}

/// Somebody who says yes, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Consent<'a> {
    /// Who approves.
    pub by: Who<'a>,
    /// Their name.
    pub name: &'a str,
    /// The uid of who asked.
    pub requester: u32,
}

/// Why somebody cannot approve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotApprover {
    /// It is their own.
    Requester,
    /// A rule that asks does not name them.
    NotNamed,
    /// No sandbox holds it: each run is approved by itself, never beforehand.
    Unconfined,
}

impl Pending {
    /// What the rule says of it.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Who must agree: what all rules ask for that ask about it.
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// The first of the rules that ask for it.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// The sandbox that it would run in.
    pub fn profile(&self) -> &Arc<Profile> {
        self.terms.profile()
    }

    /// The command that the policy defines; `None` for a program, a script and a built-in command.
    pub fn command(&self) -> Option<&Arc<Command>> {
        self.terms.command()
    }

    /// Whether somebody can approve it: one whom each rule names that asks, and never who asks.
    ///
    /// # Errors
    /// Why not.
    pub fn may_approve(&self, consent: &Consent<'_>) -> Result<(), NotApprover> {
        if consent.by.uid == consent.requester {
            return Err(NotApprover::Requester);
        }
        match self.approval.is_met_by(consent.by) {
            true => Ok(()),
            false => Err(NotApprover::NotNamed),
        }
    }

    /// The permission for this one request, approved by a person.
    ///
    /// # Errors
    /// As [`Pending::may_approve`].
    pub fn approved(self, consent: &Consent<'_>) -> Result<Grant, NotApprover> {
        self.may_approve(consent)?;
        let by = consent.name.to_owned();
        let rule = self.rule;
        Ok(Grant {
            terms: self.terms,
            basis: Basis::Approved { rule, by },
        })
    }

    /// What somebody who can approve it gave for a time covers this one request. It permits nothing until
    /// a use of that grant is spent on it.
    ///
    /// # Errors
    /// As [`Pending::may_approve`]; and always for what runs in base host.
    pub fn given(self, consent: &Consent<'_>, grant: u64) -> Result<Lifted, NotApprover> {
        self.may_approve(consent)?;
        if self.profile().base == Base::Host {
            return Err(NotApprover::Unconfined);
        }
        Ok(Lifted {
            terms: self.terms,
            rule: self.rule,
            by: consent.name.to_owned(),
            grant,
        })
    }
}

/// A request that a grant for a time covers. It is no permission: it becomes a [`Grant`] by one use of
/// that grant, and by nothing else.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Lifted {
    terms: Terms,
    rule: RuleId,
    by: String,
    grant: u64,
}

impl Lifted {
    /// What the rule says of it.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The number of what was given.
    pub fn grant(&self) -> u64 {
        self.grant
    }

    /// What its permission would rest on.
    pub fn basis(&self) -> Basis {
        Basis::Given {
            rule: self.rule.clone(),
            by: self.by.clone(),
            grant: self.grant,
        }
    }

    /// The permission for this one request, once `take` has taken a use of the grant of this number.
    ///
    /// # Errors
    /// Those of `take`: there is no permission.
    pub fn spend<E>(self, take: impl FnOnce(u64) -> Result<(), E>) -> Result<Grant, E> {
        take(self.grant)?;
        let basis = self.basis();
        Ok(Grant {
            terms: self.terms,
            basis,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Ask, Verdict};
    use crate::{MachineTable, Source, load};

    /// A request of uid 1000 that user 7 and the members of group 70 can approve; so can who asks,
    /// by the rule.
    fn pending() -> Pending {
        let text = "[[grant]]\nname = 'look'\nto = ['#1000']\nallow = ['run']\n\
                    approval = { by = ['#7', '%#70', '#1000'] }\n";
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
        let ask = Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[],
        };
        let (uid, gids) = (1000, &[][..]);
        match policy.decide(Who { uid, gids }, &ask) {
            Verdict::Ask(pending) => pending,
            other @ (Verdict::Allow(_) | Verdict::Deny(_)) => panic!("{other:?}"),
        }
    }

    fn consent(uid: u32, gids: &[u32], requester: u32) -> Consent<'_> {
        Consent {
            by: Who { uid, gids },
            name: "ann",
            requester,
        }
    }

    #[test]
    fn only_somebody_else_whom_the_rule_names_can_approve() {
        let (no, own) = (Err(NotApprover::NotNamed), Err(NotApprover::Requester));
        for (uid, gids, expect) in [
            (7, &[][..], Ok(())),
            (8, &[70], Ok(())),
            (8, &[1, 2, 70], Ok(())),
            // Root is not implied, nor is a gid of the same number as a uid or the other way.
            (0, &[0], no),
            (8, &[7], no),
            (70, &[], no),
            (8, &[], no),
            // Who asks never can, though the rule names them twice.
            (1000, &[], own),
            (1000, &[70], own),
        ] {
            let consent = consent(uid, gids, 1000);
            assert_eq!(pending().may_approve(&consent), expect, "{uid} {gids:?}");
            let approved = pending().approved(&consent).map(|_| ());
            assert_eq!(approved, expect, "{uid} {gids:?}");
            let given = pending().given(&consent, 3).map(|_| ());
            assert_eq!(given, expect, "{uid} {gids:?}");
        }
    }

    #[test]
    fn what_no_sandbox_holds_is_approved_each_time() {
        let mut pending = pending();
        pending.terms = Terms::fake_in(Profile::host(), &[]);
        let consent = consent(7, &[], 1000);
        let given = pending.clone().given(&consent, 3);
        assert_eq!(given, Err(NotApprover::Unconfined));
        assert!(pending.approved(&consent).is_ok());
    }

    #[test]
    fn a_permission_says_by_whom_it_is_one() {
        let consent = consent(7, &[], 1000);
        let approved = pending().approved(&consent).unwrap();
        let basis = approved.basis().to_string();
        assert_eq!(basis, "look (a.toml:1), approved by ann");
        let lifted = pending().given(&consent, 3).unwrap();
        assert_eq!((lifted.grant(), lifted.terms()), (3, pending().terms()));
        let given = lifted.spend(|_| Ok::<_, ()>(())).unwrap();
        let basis = given.basis().to_string();
        assert_eq!(basis, "look (a.toml:1), grant 3 given by ann");
        assert_eq!(*given.terms(), *pending().terms());
    }

    #[test]
    fn no_use_no_permission() {
        let lifted = || pending().given(&consent(7, &[], 1000), 3).unwrap();
        let mut taken = Vec::new();
        let mut take = |number| {
            taken.push(number);
            if taken.len() == 1 {
                Ok(())
            } else {
                Err("none is left")
            }
        };
        assert!(lifted().spend(&mut take).is_ok());
        assert_eq!(lifted().spend(&mut take), Err("none is left"));
        assert_eq!(taken, [3, 3]);
    }
}
