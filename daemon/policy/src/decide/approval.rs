//! Turns a [`Pending`] into a [`Grant`], only with the consent of a person whom the rule accepts. A grant for a time
//! works only if a use of it is spent.

use std::sync::Arc;

use crate::decide::{Basis, CallerIds, Grant, Terms};
use crate::model::approval::Approval;
use crate::model::command::{Command, Stdin};
use crate::model::policy::Policy;
use crate::model::profile::{Base, Profile};
use crate::model::rule::RuleId;

/// A request that needs an approval. It is not a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub(super) terms: Terms,
    pub(super) rule: RuleId,
    pub(super) approval: Approval,
}

#[derive(Debug, Clone, Copy)]
pub struct Consent<'a> {
    pub by: CallerIds<'a>,
    pub name: &'a str,
    pub requester: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotApprover {
    Requester,
    /// A rule that asks does not name them.
    NotNamed,
    /// It runs without a sandbox: each run is approved by itself, never for a time.
    Unconfined,
}

impl Pending {
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    pub fn profile(&self) -> &Arc<Profile> {
        self.terms.profile()
    }

    pub fn command(&self) -> Option<&Arc<Command>> {
        self.terms.command()
    }

    /// Checks that a person can approve it: each asking rule names them, and they are not the requester.
    pub fn may_approve(&self, consent: &Consent<'_>) -> Result<(), NotApprover> {
        if consent.by.uid == consent.requester {
            return Err(NotApprover::Requester);
        }
        match self.approval.is_met_by(consent.by) {
            true => Ok(()),
            false => Err(NotApprover::NotNamed),
        }
    }

    /// Returns the permission for this one request, approved by a person who [may approve](Self::may_approve) it.
    pub fn approved(self, consent: &Consent<'_>) -> Result<Grant, NotApprover> {
        self.may_approve(consent)?;
        let by = consent.name.to_owned();
        let rule = self.rule;
        Ok(Grant {
            terms: self.terms,
            basis: Basis::Approved { rule, by },
        })
    }

    /// Covers this one request by an approver's grant for a time. It permits nothing until a use of that grant is
    /// spent. Fails as [`Pending::may_approve`], and always for base host.
    pub fn granted(self, consent: &Consent<'_>, grant: u64) -> Result<Lifted, NotApprover> {
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

/// A request that a grant for a time covers. It is not a permission: only one use of that grant makes it a [`Grant`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Lifted {
    terms: Terms,
    rule: RuleId,
    by: String,
    grant: u64,
}

impl Lifted {
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn grant(&self) -> u64 {
        self.grant
    }

    pub fn basis(&self) -> Basis {
        Basis::TemporaryGrant {
            rule: self.rule.clone(),
            by: self.by.clone(),
            grant: self.grant,
        }
    }

    /// Returns the permission for this one request, once `take` has taken a use of the grant with this number. If
    /// `take` fails, there is no permission.
    pub fn spend<E>(self, take: impl FnOnce(u64) -> Result<(), E>) -> Result<Grant, E> {
        take(self.grant)?;
        let basis = self.basis();
        Ok(Grant {
            terms: self.terms,
            basis,
        })
    }
}

impl Policy {
    /// Returns the right to run the command of `approval.notify` in remit.toml, with the request on standard input. No
    /// rule is asked, as only root writes it. It has a sandbox: commands of base host read no standard input.
    pub fn notification(&self, name: &str) -> Result<Grant, String> {
        let command = self
            .command(name)
            .ok_or_else(|| format!("there is no command '{name}'"))?;
        if command.stdin != Stdin::Caller {
            return Err(format!("command '{name}' does not have stdin = \"caller\""));
        }
        command
            .bind(&[], true)
            .map_err(|refusal| format!("command '{name}' needs arguments: {}", refusal.message))?;
        Ok(Grant {
            terms: Terms {
                profile: Arc::clone(&command.profile),
                env: Vec::new(),
                command: Some(Arc::clone(command)),
            },
            basis: Basis::Notification,
        })
    }
}
