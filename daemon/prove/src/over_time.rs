//! Temporary grants end: what may be in force together, and what accounts may do then.

use std::cmp::Reverse;
use std::rc::Rc;

use remit_common::prove::{PermittedGrant, PermittedWhat, Question};
use remit_policy::Policy;

use crate::grants::{Grants, ProgramFact, Rights, names_that_matter, programs};
use crate::sources::FirstLook;

/// Temporary grants in force that are compared: each is a time of its own.
const GRANTS: usize = 32;

/// Returns sets of the temporary grants that may be in force together later: each ends by its time, by its runs, by a reboot,
/// or by a person. What ends hides no path that would stay. Not each set of many is one.
pub fn times<'q>(
    in_force: &'q [PermittedGrant],
    policies: [&Policy; 2],
) -> Result<Vec<Vec<&'q PermittedGrant>>, String> {
    let matter = policies.map(names_that_matter);
    let matters = |grant: &&PermittedGrant| {
        let mut matter = matter.iter();
        matter.any(|names| !names.is_disjoint(&grant.commands))
    };
    let mut all: Vec<&PermittedGrant> = in_force.iter().filter(matters).collect();
    // Of the same permissions the one that lasts longest.
    all.sort_by_key(|one| (one.is_counted, Reverse(one.left_ms)));
    let mut whats = Vec::new();
    all.retain(|one| {
        let what = (
            one.to,
            &one.commands,
            &one.args,
            &one.paths,
            one.survives_reboot,
        );
        let is_new = !whats.contains(&what);
        whats.push(what);
        is_new
    });
    if all.len() > GRANTS {
        return Err(format!(
            "over {GRANTS} temporary grants may take part: remit grants"
        ));
    }
    let prefixes = |sorted: &[&'q PermittedGrant]| -> Vec<Vec<&'q PermittedGrant>> {
        let counts = 1..=sorted.len();
        counts
            .map(|count| sorted.iter().copied().take(count).collect())
            .collect()
    };
    let mut by_time = all.clone();
    by_time.sort_by_key(|one| Reverse(one.left_ms));
    let alone = all.iter().map(|one| vec![*one]);
    let without = |left_out: &&PermittedGrant| {
        let rest = all.iter().filter(|one| !std::ptr::eq(**one, *left_out));
        rest.copied().collect()
    };
    let survive = all.iter().filter(|one| one.survives_reboot);
    let mut found: Vec<Vec<&PermittedGrant>> = vec![Vec::new(), survive.copied().collect()];
    found.extend(prefixes(&all));
    found.extend(prefixes(&by_time));
    found.extend(alone);
    found.extend(all.iter().map(without));
    Ok(found)
}

/// The rights under one policy, at each of the times.
pub struct RightsOverTime<'q> {
    pub policy: &'q Policy,
    pub programs: Rc<[ProgramFact]>,
    rights: Vec<Rights<'q>>,
}

impl<'q> RightsOverTime<'q> {
    pub fn new(
        question: &Question,
        policy: &'q Policy,
        times: &[Vec<&'q PermittedGrant>],
        new: &'q [PermittedWhat],
    ) -> Self {
        let granted = new.iter().filter_map(|one| match one {
            PermittedWhat::Grant(grant) => Some(grant),
            PermittedWhat::Call(_) => None,
        });
        let calls = new.iter().filter_map(|one| match one {
            PermittedWhat::Call(call) => Some(call),
            PermittedWhat::Grant(_) => None,
        });
        let programs = programs(policy);
        let rights = times.iter().map(|in_force| Rights {
            policy,
            programs: Rc::clone(&programs),
            in_advance: in_force.iter().copied().chain(granted.clone()).collect(),
            calls: calls.clone().collect(),
            asks_for_changes: question.asks_for_changes,
        });
        let rights = rights.collect();
        Self {
            policy,
            programs,
            rights,
        }
    }

    pub fn grants(&self, first: &FirstLook<'_>) -> Vec<Grants> {
        let facts = first.facts();
        let rights = self.rights.iter();
        rights
            .map(|rights| Grants::of(rights, &facts.accounts, &facts.units))
            .collect()
    }
}
