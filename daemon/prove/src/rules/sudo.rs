//! What permissions of sudo lead to.

use remit_common::service::has_units_started;
use remit_programs::{Class, Written, innermost};

use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::{Facts, SudoCommand, SudoRule};
use crate::grants::{has_value, unit_name};
use crate::machine::entry::End;
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
            let words = words_of(path, args.as_deref());
            let (program, words) = words.split_first().unwrap_or((&"", &[]));
            let name = program.rsplit('/').next().unwrap_or_default();
            let is_free = args.as_deref().is_none_or(is_free);
            if executes_arguments(name, words, is_free) {
                add(head.clone(), vec![account.clone()], RuleId::SudoArguments);
            }
            for (head, source) in writes(facts, rule.runas, name, words, is_free) {
                let body = std::iter::once(account.clone()).chain(source);
                add(head, body.collect(), RuleId::SudoWrites);
            }
            if name == "systemctl" {
                for unit in units(facts, words) {
                    add(unit, vec![account.clone()], RuleId::SudoUnit);
                }
            }
        }
    }
}

/// Returns true if they are any text, a star, which matches several words, or a regular expression.
fn is_free(args: &[u8]) -> bool {
    args.starts_with(b"^") || args.contains(&b'*')
}

/// Returns the words of the program that a permission runs in the end, behind wrappers.
fn words_of<'r>(path: &'r FilePath, args: Option<&'r [u8]>) -> Vec<&'r str> {
    let args = args
        .and_then(|args| std::str::from_utf8(args).ok())
        .unwrap_or_default();
    let program = std::str::from_utf8(path.as_bytes()).unwrap_or_default();
    let words = std::iter::once(program).chain(args.split_ascii_whitespace());
    innermost(&words.collect::<Vec<_>>()).to_vec()
}

/// Returns true if an argument that the permission leaves free, a file of the caller's directory, or a line that the
/// caller types, is code or a program that is started (`remit-programs`).
fn executes_arguments(name: &str, words: &[&str], is_free: bool) -> bool {
    let Some(program) = remit_programs::known(name) else {
        return remit_programs::has_shell_escape(name);
    };
    let verb = words.first().copied().unwrap_or_default();
    let is_verb_fixed = match &program.class {
        Class::Tool(tool) => tool.verb && !verb.contains('*') && !tool.verbs.contains(&verb),
        _ => false,
    };
    let is_of_directory = match &program.class {
        Class::Shell => true,
        Class::Interpreter(interpreter) => interpreter.starts_programs,
        Class::Tool(tool) => !tool.reads.is_empty(),
        _ => false,
    };
    let is_code = |word: &&str| program.code().contains(word) && !program.modules().contains(word);
    let is_named = words
        .iter()
        .any(|word| word.contains('/') || is_code(word) || word.ends_with("version"));
    (is_free && !is_verb_fixed)
        || (is_of_directory && !is_named)
        || remit_programs::has_shell_escape(name)
}

/// Returns what a program of the permission writes, each with what decides its content beyond the caller.
fn writes(
    facts: &Facts,
    runas: u32,
    name: &str,
    words: &[&str],
    is_free: bool,
) -> Vec<(Atom, Option<Atom>)> {
    let own = |uid: u32| vec![(Atom::Account(uid), None)];
    let mut operands = words.iter().copied().filter(|word| !word.starts_with('-'));
    match remit_programs::written(name) {
        None => Vec::new(),
        Some(Written::System) if !is_free || runas != 0 => Vec::new(),
        Some(Written::Accounts) if !is_free && runas == 0 => {
            let only_looks = ["-c", "--check", "-cf", "-S", "--status", "-l", "--lock"];
            match (
                words.iter().any(|word| only_looks.contains(word)),
                operands.next(),
            ) {
                (true, _) => Vec::new(),
                (false, Some(user)) if name == "passwd" => {
                    facts.accounts.uid(user).map_or_else(Vec::new, own)
                }
                (false, _) => own(0),
            }
        }
        Some(_) if is_free => own(runas),
        Some(Written::Input) => {
            let source = operands.clone().find_map(|word| word.strip_prefix("if="));
            let source = source.and_then(FilePath::new).map(Atom::Change);
            let files =
                operands.filter_map(|word| FilePath::new(word.strip_prefix("of=").unwrap_or(word)));
            let heads = files.flat_map(|file| written_as(facts, &file));
            heads.map(|head| (head, source.clone())).collect()
        }
        Some(Written::LastOperand) => {
            let Some(file) = operands.next_back().and_then(FilePath::new) else {
                return Vec::new();
            };
            let heads = written_as(facts, &file);
            let sources = operands.map(|word| FilePath::new(word).map(Atom::Change));
            let of =
                |source: Option<Atom>| heads.iter().map(move |head| (head.clone(), source.clone()));
            sources.flat_map(of).collect()
        }
        Some(_) => Vec::new(),
    }
}

/// The atoms of writing a file as root, or a file beneath it. A new one is a change of its directory.
fn written_as(facts: &Facts, file: &FilePath) -> Vec<Atom> {
    let is_new = facts
        .ways
        .get(file)
        .is_some_and(|way| matches!(way.end, End::Missing(_)));
    let above = file.parent().filter(|_| is_new);
    let known = facts.ways.keys();
    let known = known.filter(|path| path.is_beneath(file) || Some(*path) == above.as_ref());
    let atoms = known.flat_map(|path| {
        let as_root = super::files::as_root(facts, path);
        [Atom::Change(path.clone()), as_root]
    });
    atoms.collect()
}

/// The units that `systemctl start X` and the like have started.
fn units(facts: &Facts, all: &[&str]) -> Vec<Atom> {
    let before = std::iter::once("").chain(all.iter().copied());
    let mut words = all
        .iter()
        .zip(before)
        .filter(|(word, before)| !word.starts_with('-') && !has_value(before))
        .map(|(word, _)| *word);
    let verb = words.next().unwrap_or_default();
    if !has_units_started(verb) && !all.contains(&"--now") {
        return Vec::new();
    }
    let units = words.map(unit_name);
    units
        .flat_map(|unit| super::grants::starts(facts, &unit, true))
        .collect()
}
