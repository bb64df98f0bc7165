//! What permissions of sudo lead to.

use remit_common::service::has_units_started;
use remit_programs::Class;

use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::{Facts, SudoCommand, SudoRule};
use crate::grants::{has_value, unit_name};
use crate::path::FilePath;
use crate::rule::RuleId;

pub fn rules(facts: &Facts, clauses: &mut Clauses) {
    for rule in &facts.sudo {
        for (name, user) in &facts.accounts.users {
            // An account without a password cannot give one. One with a password gives it to who controls its shell.
            if rule.of.contains(&user.uid) && (!rule.password || user.has_password) {
                clauses_of(facts, rule, name, user.uid, clauses);
            }
        }
    }
}

fn clauses_of(facts: &Facts, rule: &SudoRule, name: &str, uid: u32, clauses: &mut Clauses) {
    let account = Atom::Account(uid);
    let head = Atom::Account(rule.runas);
    let mut add = |head: Atom, body: Vec<Atom>, id: RuleId| {
        let detail = format!("{name} may: {}", rule.source);
        let fix = format!("take back {}:{}", rule.source.file, rule.source.line);
        clauses.add(Clause::new(head, body, id).detail(detail).fix(fix));
    };
    match &rule.command {
        SudoCommand::All => add(head, vec![account], RuleId::SudoAll),
        SudoCommand::Edit(path) => {
            add(
                Atom::Change(path.clone()),
                vec![account.clone()],
                RuleId::SudoEdit,
            );
            // sudoedit keeps the owner and the mode of the file.
            add(
                super::files::as_root(facts, path),
                vec![account],
                RuleId::SudoEdit,
            );
        }
        SudoCommand::Program { path, args } => {
            let run = Atom::Sudo(path.clone(), rule.runas);
            add(run, vec![account.clone()], RuleId::SudoCall);
            if rule.sets_variables {
                add(head.clone(), vec![account.clone()], RuleId::SudoVariables);
            }
            if executes_arguments(path, args.as_deref()) {
                add(head, vec![account.clone()], RuleId::SudoArguments);
            }
            for unit in units(facts, path, args.as_deref()) {
                add(unit, vec![account.clone()], RuleId::SudoUnit);
            }
        }
    }
}

/// Returns true if an argument that the permission leaves free is code, or a program that is started: any argument, a
/// star, which matches several words, or a regular expression (`remit-programs`).
fn executes_arguments(path: &FilePath, args: Option<&[u8]>) -> bool {
    let name = std::str::from_utf8(path.name()).unwrap_or_default();
    let Some(program) = remit_programs::known(name) else {
        return false;
    };
    let Some(args) = args else {
        return true;
    };
    let args = String::from_utf8_lossy(args);
    let verb = args.split_ascii_whitespace().next().unwrap_or_default();
    let is_verb_fixed = match &program.class {
        Class::Tool(tool) => tool.verb && !verb.contains('*') && !tool.verbs.contains(&verb),
        _ => false,
    };
    args.starts_with('^') || args.contains('*') && !is_verb_fixed
}

/// The units that `systemctl start X` and the like have started.
fn units(facts: &Facts, path: &FilePath, args: Option<&[u8]>) -> Vec<Atom> {
    let text = std::str::from_utf8(args.unwrap_or_default()).unwrap_or_default();
    let all: Vec<&str> = text.split_ascii_whitespace().collect();
    let before = std::iter::once("").chain(all.iter().copied());
    let mut words = all
        .iter()
        .zip(before)
        .filter(|(word, before)| !word.starts_with('-') && !has_value(before))
        .map(|(word, _)| *word);
    let verb = words.next().unwrap_or_default();
    let starts = has_units_started(verb) || all.contains(&"--now");
    if path.name() != b"systemctl" || !starts {
        return Vec::new();
    }
    let units = words.map(unit_name);
    units
        .flat_map(|unit| super::grants::starts(facts, &unit, true))
        .collect()
}
