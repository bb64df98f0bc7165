//! Instances of templates that no file of their own has: something names them.

use std::collections::BTreeSet;

use super::graph::pulled;
use super::layout::Layout;
use super::{ROUNDS, executions, files, unit};
use crate::facts::{SudoCommand, When, template};
use crate::grants::unit_name;
use crate::look::Look;
use crate::path::FilePath;

/// Those that are read at a time.
const INSTANCES: usize = 1000;

/// Reads instances of templates that the policy, sudo, polkit or a program of root names to be started, and those that they
/// pull in.
pub fn named_instances(look: &mut Look<'_>, of_policy: &[String]) {
    let mut named: Vec<String> = of_policy.to_vec();
    let permits = look.facts.permits.iter();
    named.extend(permits.flat_map(|permit| permit.units.clone()));
    let args = look
        .facts
        .sudo
        .iter()
        .filter_map(|rule| match &rule.command {
            SudoCommand::Program { args, .. } => args.as_deref(),
            SudoCommand::All | SudoCommand::Edit(_) => None,
        });
    named.extend(args.flat_map(|args| {
        String::from_utf8_lossy(args)
            .split(' ')
            .map(unit_name)
            .collect::<Vec<_>>()
    }));
    let mut read = 0;
    for _ in 0..ROUNDS {
        let starts = look.facts.starts.get(read..).unwrap_or_default();
        named.extend(
            starts
                .iter()
                .flat_map(|(_, words, _)| words.iter().map(|word| unit_name(word))),
        );
        read = look.facts.starts.len();
        let layout = std::mem::take(&mut look.units);
        let known = &look.facts.units;
        let new = new_instances(look, &layout, named.drain(..), |name| known.contains(name));
        for name in &new {
            let Some(unit) = unit(look, &layout, name) else {
                continue;
            };
            look.facts.units.insert(name.clone());
            let when = When::Started(name.clone());
            files(look, &unit, &when);
            executions(look, name, &unit, &when);
            for (other, source) in pulled(name, &unit) {
                named.push(other.clone());
                look.facts.pulls.push((name.clone(), other, source));
            }
        }
        look.units = layout;
        if new.is_empty() {
            return;
        }
    }
}

/// Returns the instances among these names, of templates that there are.
pub(super) fn new_instances(
    look: &Look<'_>,
    layout: &Layout,
    names: impl Iterator<Item = String>,
    is_known: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let is_of_template = |name: &String| {
        let template = template(name).filter(|_| !is_known(name));
        template.is_some_and(|template| layout.files.contains_key(&template))
    };
    let mut found: BTreeSet<String> = names.filter(is_of_template).collect();
    if let Some(first) = found.iter().nth(INSTANCES).cloned() {
        let why = format!(
            "over {INSTANCES} instances of templates are named: the rest of them is left out"
        );
        look.machine
            .unknown(&FilePath::fixed("/etc/systemd/system"), why);
        found.split_off(&first);
    }
    found
}
