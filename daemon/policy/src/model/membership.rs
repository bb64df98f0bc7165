//! Compares the subjects of rules by the groups in which the machine lists their users. It decides nothing: a process may have
//! other groups.

use std::collections::BTreeSet;

use crate::model::machine::Machine;
use crate::model::rule::{Grantees, Principal};

/// Returns the ids of these subjects, and the groups of their users. Users by number are in no group here.
pub fn with_groups(list: &Grantees, machine: &dyn Machine) -> BTreeSet<Principal> {
    let ids = list.ids.iter();
    ids.flat_map(|(one, word)| ids_of(*one, word, machine))
        .collect()
}

/// Returns true if each of these subjects is one of the others, or a user in one of their groups.
pub fn is_within(list: &Grantees, others: &Grantees, machine: &dyn Machine) -> bool {
    list.ids.iter().all(|(one, word)| {
        let mut ids = ids_of(*one, word, machine).into_iter();
        ids.any(|id| others.ids.contains_key(&id))
    })
}

fn ids_of(one: Principal, word: &str, machine: &dyn Machine) -> Vec<Principal> {
    let is_named = matches!(one, Principal::User(_)) && !word.starts_with('#');
    let groups = is_named.then(|| machine.groups_of(word));
    let groups = groups.into_iter().flatten().map(Principal::Group);
    [one].into_iter().chain(groups).collect()
}
