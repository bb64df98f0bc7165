//! Whose reach is asked, and what is worth reaching: agents and approvers.

use std::collections::BTreeSet;

use remit_common::prove::{PermittedGrant, PermittedTo, PermittedWhat, Question};
use remit_policy::Policy;

use crate::accounts::Accounts;
use crate::facts::Facts;
use crate::grants::Grants;
use crate::report::{Goals, Subject};
use crate::rules::user;

#[derive(Debug, Default)]
pub struct People {
    /// Its agents are those by any of the policies: who may connect, and is no approver by all of them.
    pub goals: Goals,
}

impl People {
    pub fn of(question: &Question, accounts: &Accounts, policies: &[&Policy]) -> Self {
        let members = |group: &str| -> BTreeSet<u32> {
            let gid = accounts.gid(group).into_iter();
            let members = gid.flat_map(|gid| accounts.members(gid));
            let members = members.filter(|(name, _)| !name.starts_with('%'));
            members.map(|(_, uid)| uid).collect()
        };
        let administrators = members(&question.admin_group);
        let asked = |policy: &&Policy| {
            let words = policy.asking().flat_map(|asking| asking.approval.words());
            let mut asked = BTreeSet::new();
            for word in words {
                match word.strip_prefix('%') {
                    Some(group) => asked.extend(members(group)),
                    None => asked.extend(accounts.uid(word).or_else(|| number(word))),
                }
            }
            asked
        };
        let asked: Vec<BTreeSet<u32>> = policies.iter().map(asked).collect();
        let is_always_asked = |uid: &u32| asked.iter().all(|one| one.contains(uid));
        let mut agents = members(&question.socket_group);
        agents.retain(|uid| *uid != 0 && !administrators.contains(uid) && !is_always_asked(uid));
        let approvers = administrators.iter().chain(asked.iter().flatten());
        let goals = Goals {
            agents,
            approvers: approvers.copied().collect(),
        };
        Self { goals }
    }

    pub fn add(&mut self, others: Self) {
        let Self { goals } = others;
        self.goals.agents.extend(goals.agents);
        self.goals.approvers.extend(goals.approvers);
    }

    /// Returns whom a question is about. An error is a sentence.
    pub fn subjects(&self, question: &Question, facts: &Facts) -> Result<Vec<Subject>, String> {
        let Some(name) = &question.subject else {
            return Ok(self.all(facts));
        };
        let mut known = question.accounts.iter();
        let uid = facts.accounts.uid(name).or_else(|| {
            let known = known.find(|one| one.name == *name)?;
            Some(known.uid)
        });
        let uid = uid.ok_or_else(|| {
            format!("there is no '{name}' in the tables of accounts of this machine")
        })?;
        let name = name.clone();
        Ok(vec![Subject { name, uid }])
    }

    pub fn all(&self, facts: &Facts) -> Vec<Subject> {
        let agents = self.goals.agents.iter().map(|uid| Subject {
            name: user(facts, *uid),
            uid: *uid,
        });
        agents.collect()
    }

    /// Returns who is not judged, in sentences.
    pub fn limits(
        &self,
        policies: &[&Policy],
        accounts: &Accounts,
        grants: &[Grants],
    ) -> Vec<String> {
        let mut limits = Vec::new();
        let granted = policies.iter().flat_map(|policy| &policy.grants);
        let gids: BTreeSet<u32> = granted.flat_map(|rule| rule.to.gids()).collect();
        let known: BTreeSet<u32> = accounts.groups.values().map(|group| group.gid).collect();
        for gid in gids.difference(&known) {
            limits.push(format!(
                "members of group {gid}, which only a directory service knows, are not judged"
            ));
        }
        let left_out = grants.iter().map(|grants| grants.left_out).max();
        if let Some(left_out) = left_out.filter(|count| *count > 0) {
            limits.push(format!("{left_out} accounts are not judged"));
        }
        limits
    }
}

/// Returns why a temporary grant is not judged that a person is about to give.
pub fn unjudged(permitted: &[PermittedWhat], accounts: &Accounts) -> Option<String> {
    let gids = permitted.iter().filter_map(|one| match one {
        PermittedWhat::Grant(PermittedGrant {
            to: PermittedTo::Group(gid),
            ..
        }) => Some(*gid),
        PermittedWhat::Grant(_) | PermittedWhat::Call(_) => None,
    });
    let mut missing = gids.filter(|gid| !accounts.groups.values().any(|group| group.gid == *gid));
    missing
        .next()
        .map(|gid| format!("no member of group {gid} is known"))
}

/// The policy names an account without a name as `#uid`.
fn number(word: &str) -> Option<u32> {
    word.strip_prefix('#')?.parse().ok()
}
