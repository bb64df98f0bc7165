//! What programs of root write, of which others decide the content.

use std::collections::BTreeMap;

use remit_programs::Written;

use super::sudo_writes::{self, WritingProgram};
use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::{Facts, When, Writer};
use crate::rule::RuleId;

pub fn rules(facts: &Facts, clauses: &mut Clauses) {
    let chosen = BTreeMap::new();
    for writer in &facts.writers {
        let Writer {
            when,
            words,
            directory,
            has_input,
            source,
        } = writer;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((name, words)) = words.split_first() else {
            continue;
        };
        if matches!(when, When::Sudo { .. }) && remit_programs::has_shell_escape(name) {
            let clause = Clause::new(
                Atom::Account(0),
                super::obeys::condition(when),
                RuleId::SudoArguments,
            );
            clauses.add(clause.detail(format!("root starts {name} by {source}")));
        }
        let program = WritingProgram {
            runas: 0,
            name,
            words,
            is_free: false,
            has_input: *has_input,
            directory: directory.as_ref(),
            chosen: &chosen,
        };
        let takes_input = *has_input
            && matches!(
                remit_programs::written(name),
                Some(Written::Input | Written::Accounts)
            );
        for (target, decider) in sudo_writes::writes(facts, &program) {
            // What root alone decides leads to nothing.
            if decider.is_none() && !takes_input {
                continue;
            }
            let body: Vec<_> = decider
                .into_iter()
                .chain(super::obeys::condition(when))
                .collect();
            for head in sudo_writes::written_as(facts, &target) {
                let clause = Clause::new(head, body.clone(), RuleId::RootWrites);
                clauses.add(clause.detail(format!("root writes by {source}")));
            }
        }
    }
}
