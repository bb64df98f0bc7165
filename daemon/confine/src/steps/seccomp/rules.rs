//! Rules of a filter, sorted by number.

use super::bpf::{self, Program};
use super::rule::{Arch, Class, Instead, Rule};
use super::table;
use crate::spec::layer::EnabledLayers;
use crate::{Layer, Result};

pub(super) fn rules(arch: Arch, layers: EnabledLayers, class: Class) -> (Vec<(u32, Rule)>, Rule) {
    let mut rules: Vec<(u32, Rule)> = Vec::new();
    for group in table::GROUPS {
        let rule = match group.layer {
            Some(layer) if !layers.is_on(layer) => Rule::Allow,
            _ => group.rule,
        };
        rules.extend(
            group
                .rows
                .iter()
                .filter_map(|row| Some((arch.number(row)?, rule))),
        );
    }
    for Instead { group, .. } in table::INSTEAD
        .iter()
        .filter(|other| (other.applies_to)(class))
    {
        // A layer that is off lets all of it through already.
        if group.layer.is_some_and(|layer| !layers.is_on(layer)) {
            continue;
        }
        let numbers: Vec<u32> = group
            .rows
            .iter()
            .filter_map(|row| arch.number(row))
            .collect();
        let same = rules.iter_mut().filter(|(n, _)| numbers.contains(n));
        same.for_each(|(_, rule)| *rule = group.rule);
    }
    rules.sort_unstable_by_key(|(number, _)| *number);
    let unknown = if layers.is_on(Layer::SeccompUnknown) {
        Rule::Answer(libc::ENOSYS as u16)
    } else {
        Rule::Allow
    };
    (rules, unknown)
}

/// Compiles a filter of these rules alone. Other numbers answer EPERM.
pub(super) fn exactly(rules: impl Iterator<Item = (libc::c_long, Rule)>) -> Result<Program> {
    let mut rules: Vec<(u32, Rule)> = rules
        .filter_map(|(number, rule)| Some((u32::try_from(number).ok()?, rule)))
        .collect();
    rules.sort_unstable_by_key(|(number, _)| *number);
    Ok(bpf::assemble(
        Arch::here()?.audit(),
        &rules,
        Rule::Answer(libc::EPERM as u16),
        |_| true,
    ))
}
