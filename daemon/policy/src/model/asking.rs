//! Finds grants that ask for an approval, and pairs of them whose approvers have to be the same people. It decides nothing.

use std::collections::BTreeSet;

use crate::decide::changes::meet;
use crate::model::approval::Approval;
use crate::model::machine::Machine;
use crate::model::membership::with_groups;
use crate::model::policy::{Named, Policy};
use crate::model::rule::{GrantRule, Grantees, Nature, Principal, RuleId};

#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    pub rule: &'a RuleId,
    pub approval: &'a Approval,
    to: &'a Grantees,
}

impl<'a> Asking<'a> {
    fn from_rule(rule: &'a GrantRule) -> Option<Self> {
        Some(Self {
            rule: &rule.id,
            approval: rule.approval.as_ref()?,
            to: &rule.to,
        })
    }

    pub fn uids(&self) -> impl Iterator<Item = u32> {
        self.to.uids()
    }

    pub fn gids(&self) -> impl Iterator<Item = u32> {
        self.to.gids()
    }
}

/// A rule, and the ids of its users with their groups.
struct Addressed<'a> {
    rule: &'a GrantRule,
    ids: BTreeSet<Principal>,
}

impl Addressed<'_> {
    /// Returns true if they have an id in common, or a user of one is in a group of the other.
    fn shares_people(&self, other: &Self) -> bool {
        let has = |rule: &GrantRule, ids: &BTreeSet<Principal>| {
            ids.iter().any(|one| rule.to.ids.contains_key(one))
        };
        has(self.rule, &other.ids) || has(other.rule, &self.ids)
    }

    /// Returns true if it may allow some people a plan with paths of this rule.
    fn shares_plans(&self, other: &Self) -> bool {
        self.shares_people(other) && meet(&self.rule.paths, &other.rule.paths)
    }
}

impl Policy {
    pub fn asking(&self) -> impl Iterator<Item = Asking<'_>> {
        self.grants.iter().filter_map(Asking::from_rule)
    }

    /// Returns at most `most` pairs of grants whose approvals concern the same calls: both must name the approver. It looks at
    /// no more grants that ask, and no more that allow commits.
    pub fn asking_together(&self, most: usize, machine: &dyn Machine) -> Vec<[Asking<'_>; 2]> {
        let addressed = |is_meant: &dyn Fn(&GrantRule) -> bool| -> Vec<Addressed<'_>> {
            let rules = self.grants.iter().filter(|rule| is_meant(rule)).take(most);
            let ids = |rule: &GrantRule| with_groups(&rule.to, machine);
            rules
                .map(|rule| Addressed {
                    rule,
                    ids: ids(rule),
                })
                .collect()
        };
        let commits = |rule: &GrantRule, named: Named<'_>| {
            named.nature() == Nature::Commits && rule.allows(named.name(), Nature::Commits)
        };
        let asking = addressed(&|rule| rule.approval.is_some());
        let committing = addressed(&|rule| self.all_named().any(|named| commits(rule, named)));
        let can_be_both = |one: &Addressed<'_>, other: &Addressed<'_>, named: Named<'_>| {
            // One rule has all paths of a plan, and it may be a third one.
            let has_plan = |third: &Addressed<'_>| {
                commits(third.rule, named) && third.shares_plans(one) && third.shares_plans(other)
            };
            one.rule.scope.meets(&other.rule.scope, named)
                && (named.nature() != Nature::Commits || committing.iter().any(has_plan))
        };
        let pairs = asking.iter().enumerate().flat_map(|(at, one)| {
            let others = asking.iter().skip(at + 1);
            others.map(move |other| (one, other))
        });
        let both = pairs.filter(|(one, other)| {
            one.shares_people(other)
                && self.meet_in(one.rule, other.rule, |named| can_be_both(one, other, named))
        });
        let both = both.filter_map(|(one, other)| {
            Some([Asking::from_rule(one.rule)?, Asking::from_rule(other.rule)?])
        });
        both.take(most).collect()
    }
}
