//! Checks if a policy may replace the one in force without a reload by an administrator. It compares rule by rule and
//! is conservative: a policy of other files is not narrower, whatever it decides.

use crate::model::approval::Approval;
use crate::model::policy::Policy;
use crate::model::rule::{DenyRule, GrantRule};

impl Policy {
    /// Returns true if it differs from `old` only in fewer grantees or more denied subjects. `old` allows all of it.
    pub fn is_within(&self, old: &Self) -> bool {
        let grants = self.grants.len() == old.grants.len()
            && self.grants.iter().zip(&old.grants).all(|(new, was)| {
                is_narrower(new, was)
                    && (new.to.includes(&was.to) || !old.is_strict_for_others(was))
            });
        let denies = self.denies.len() == old.denies.len()
            && self
                .denies
                .iter()
                .zip(&old.denies)
                .all(|(new, was)| is_wider(new, was));
        grants && denies && self.commands == old.commands && self.profiles == old.profiles
    }

    /// Returns true if another rule may allow what this one asks about: who leaves this rule would then be asked less.
    fn is_strict_for_others(&self, rule: &GrantRule) -> bool {
        let mut others = self.grants.iter().filter(|other| other.id != rule.id);
        let asks = rule.approval.is_some() || rule.confirm_s.is_some();
        asks && others.any(|other| self.meet(rule, other))
    }
}

fn is_narrower(new: &GrantRule, was: &GrantRule) -> bool {
    let approval = match (&new.approval, &was.approval) {
        (Some(new), Some(was)) => is_asked_of_fewer(new, was),
        (new, was) => new.is_none() && was.is_none(),
    };
    let same = GrantRule {
        to: was.to.clone(),
        approval: was.approval.clone(),
        ..new.clone()
    };
    approval && same == *was && was.to.includes(&new.to)
}

fn is_asked_of_fewer(new: &Approval, was: &Approval) -> bool {
    new.expires_s() == was.expires_s()
        && new.lists().len() == was.lists().len()
        && new
            .lists()
            .iter()
            .zip(was.lists())
            .all(|(new, was)| was.includes(new))
}

fn is_wider(new: &DenyRule, was: &DenyRule) -> bool {
    let same = DenyRule {
        to: was.to.clone(),
        ..new.clone()
    };
    same == *was && new.to.includes(&was.to)
}
