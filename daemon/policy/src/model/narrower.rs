//! Checks if a policy allows no more than another: one may replace the one in force without a reload by an administrator,
//! or without a look at what it opens. That compares rule by rule and is conservative: a policy of other files is not
//! narrower, whatever it decides.

use std::ptr;

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
        let accepts = self.accepts.iter().all(|new| old.accepts.contains(new));
        grants
            && denies
            && accepts
            && self.commands == old.commands
            && self.profiles == old.profiles
    }

    /// Returns true if rules of `old` are gone or have fewer grantees, and denials are new or have more, in the same files.
    /// No command is allowed to more people or with fewer questions; a run may get the profile of another rule.
    pub fn takes_only_away(&self, old: &Self) -> bool {
        let mut left = old.grants.iter();
        let mut is_of_old = |new: &GrantRule| {
            for was in left.by_ref() {
                let is_same = is_narrower_anywhere(new, was);
                let all_stay = is_same && new.to.includes(&was.to);
                if !all_stay && old.is_strict_for_others(was) {
                    return false;
                }
                if is_same {
                    return true;
                }
            }
            false
        };
        let denies = old.denies.iter().all(|was| {
            let mut news = self.denies.iter();
            news.any(|new| is_wider_anywhere(new, was))
        });
        let mut commands = self.commands.iter();
        let mut profiles = self.profiles.iter();
        self.grants.iter().all(&mut is_of_old)
            && left.all(|gone| !old.is_strict_for_others(gone))
            && denies
            && commands.all(|(name, new)| old.commands.get(name) == Some(new))
            && profiles.all(|(name, new)| old.profiles.get(name) == Some(new))
    }

    /// Returns true if another rule may allow what this one of its rules asks about: who leaves it would then be asked less.
    /// Two rules that are written on one line have one id.
    fn is_strict_for_others(&self, rule: &GrantRule) -> bool {
        let mut others = self.grants.iter().filter(|other| !ptr::eq(*other, rule));
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

/// The same at any line, under any name. The file counts: patterns reach more of its own commands.
fn is_narrower_anywhere(new: &GrantRule, was: &GrantRule) -> bool {
    let same = GrantRule {
        id: was.id.clone(),
        ..new.clone()
    };
    new.id.file == was.id.file && is_narrower(&same, was)
}

fn is_wider_anywhere(new: &DenyRule, was: &DenyRule) -> bool {
    let same = DenyRule {
        id: was.id.clone(),
        ..new.clone()
    };
    is_wider(&same, was)
}

fn is_asked_of_fewer(new: &Approval, was: &Approval) -> bool {
    new.expires_s() == was.expires_s()
        && new.signed() >= was.signed()
        && new.count() == was.count()
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
