//! What polkit permits, and what programs with set-id bits give.

use super::files::atom;
use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::{Facts, Permit};
use crate::machine::entry::{Holder, SEARCH};
use crate::rule::RuleId;
use crate::usual::checks_caller;

const SET_UID: u32 = 0o4000;

pub fn rules(facts: &Facts, clauses: &mut Clauses) {
    for permit in &facts.permits {
        let users = permit.users.iter().copied().map(Atom::Account);
        let groups = permit.groups.iter().copied().map(Atom::Member);
        let all = permit.is_for_all.then_some(Atom::Anyone);
        for holder in users.chain(groups).chain(all) {
            permitted(facts, permit, &holder, clauses);
        }
    }
    for one in &facts.set_ids {
        let Some(entry) = facts.files.get(&one.program) else {
            continue;
        };
        let name = std::str::from_utf8(one.program.name()).unwrap_or_default();
        if remit_programs::known(name).is_none() || checks_caller(name) {
            continue;
        }
        for holder in entry.holders(SEARCH) {
            if one.gives == Holder::Anyone {
                continue;
            }
            let enter = one.program.parent().map(Atom::Enter);
            let detail = format!(
                "{} is {}",
                one.program,
                super::files::describe(facts, entry)
            );
            let body = enter.into_iter().chain([atom(holder)]);
            let clause = Clause::new(atom(one.gives), body, RuleId::SetId);
            let clause = clause.detail(detail);
            let close = match one.gives {
                Holder::Group(_) => "chmod g-s",
                _ if entry.mode & SET_UID == 0 => "setcap -r",
                _ => "chmod u-s",
            };
            clauses.add(clause.fix(format!("{close} {}", one.program)));
        }
    }
}

fn permitted(facts: &Facts, permit: &Permit, holder: &Atom, clauses: &mut Clauses) {
    for (head, rule) in yes(facts, permit) {
        let clause = Clause::new(head, [holder.clone()], rule).detail(permit.source.to_string());
        let line = format!("{}:{}", permit.source.file, permit.source.line);
        clauses.add(clause.fix(format!("narrow {line}")));
    }
}

/// The atoms of what a permission lets do, each with its rule.
pub(super) fn yes(facts: &Facts, permit: &Permit) -> Vec<(Atom, RuleId)> {
    if permit.units.is_empty() {
        // It includes units that are made for the call (systemd-run(1)).
        return vec![(Atom::Account(0), permit.rule)];
    }
    let units = permit.units.iter();
    let started = units.flat_map(|unit| super::grants::starts(facts, unit, false));
    started.map(|atom| (atom, RuleId::PolkitUnit)).collect()
}
