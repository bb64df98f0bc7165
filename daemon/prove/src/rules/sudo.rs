//! What permissions of sudo lead to.

use std::collections::BTreeMap;

use remit_programs::has_units_started;
use remit_programs::{Class, innermost};

use super::sudo_writes::{self, WritingProgram};
use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::{Facts, SudoCommand, SudoRule, When, has_star};
use crate::grants::unit_name;
use crate::machine::entry::End;
use crate::path::FilePath;
use crate::rule::RuleId;
use crate::split_words::SplitWords;

pub fn rules(facts: &Facts, clauses: &mut Clauses) {
    for rule in &facts.sudo {
        for (name, user) in &facts.accounts.users {
            // An account without a password cannot give one. One with a password gives it to who controls its shell.
            let asks = rule.password && !facts.without_password.contains(&user.uid);
            if rule.of.contains(&user.uid) && (!asks || user.has_password) {
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
            let all = all_words(path, args.as_deref());
            let words = innermost(&all);
            let front = all.len().saturating_sub(words.len());
            let (program, words) = words.split_first().unwrap_or((&"", &[]));
            let name = base_name(program);
            let is_any = args.as_deref().is_none_or(is_free);
            // A star matches several words: in front of the program it is any program.
            let is_any_in_front = args.as_deref().is_some_and(|args| args.starts_with(b"^"))
                || all
                    .iter()
                    .take(front)
                    .skip(1)
                    .any(|word| has_star(word.as_bytes()));
            let only_looks =
                || only_looks(name, words) && !(name == DOCKER && is_podman(facts, path));
            let is_free = is_any && (is_any_in_front || !only_looks());
            // A wrapper starts what the caller names.
            let names_program = front > 0
                && is_any
                && (is_any_in_front || program.is_empty() || program.contains('*'));
            if names_program
                || executes_arguments(name, words, is_free)
                || is_free && rule.runas == 0 && switches_by_operand(&all)
                || rule.runas == 0 && is_git_of_caller(name, words)
            {
                if let Some(uid) = account_of_free(facts, rule.runas, &all) {
                    let of_free = Atom::Account(uid);
                    add(of_free, vec![account.clone()], RuleId::SudoArguments);
                }
            } else if let Some(uid) = shell_of(facts, rule.runas, &all, program) {
                let of_shell = Atom::Account(uid);
                add(of_shell, vec![account.clone()], RuleId::SudoArguments);
            }
            let writer = WritingProgram {
                runas: rule.runas,
                name,
                words,
                is_free,
                has_input: true,
                directory: None,
                chosen: &BTreeMap::new(),
            };
            for (target, source) in sudo_writes::writes(facts, &writer) {
                for head in sudo_writes::written_as(facts, &target) {
                    let body = [account.clone()].into_iter().chain(source.clone());
                    add(head, body.collect(), RuleId::SudoWrites);
                }
            }
            for unit in units(facts, name, words, has_units_started) {
                add(unit, vec![account.clone()], RuleId::SudoUnit);
            }
        }
    }
}

/// Returns true if they are any text, a star, which matches several words, or a regular expression.
fn is_free(args: &[u8]) -> bool {
    args.starts_with(b"^") || has_star(args)
}

const DOCKER: &str = "docker";

/// First words of programs that only look, or have a daemon do what it does in any case, whatever is behind them. Not here:
/// podman, whose verbs all take `--runtime`; virsh, for which one argument may be several commands; `passwd -S` (`-R`),
/// `dmsetup ls` (`--exec`) and busctl (`--address=unixexec:`).
const LOOKS: [(&str, &[&str]); 3] = [
    (
        DOCKER,
        &[
            "logs", "ps", "images", "stats", "port", "events", "restart", "stop",
        ],
    ),
    (
        "ip",
        &[
            "addr show",
            "address show",
            "link show",
            "route show",
            "neigh show",
            "rule show",
        ],
    ),
    ("snap", &["list", "changes"]),
];

fn only_looks(name: &str, words: &[&str]) -> bool {
    let is_first = |look: &&str| {
        let count = look.split(' ').count();
        // A pattern in them could be another verb.
        words.len() > count && words.iter().copied().take(count).eq(look.split(' '))
    };
    LOOKS
        .iter()
        .any(|(program, looks)| *program == name && looks.iter().any(is_first))
}

/// Returns true if what a permission starts as docker may be podman: by a link, or by a script, as that of podman-docker.
fn is_podman(facts: &Facts, permitted: &FilePath) -> bool {
    let is_of_permission =
        |when: &When| matches!(when, When::Sudo { program, .. } if program == permitted);
    let all = facts.obeys.iter();
    let mut all = all.filter(|one| is_of_permission(&one.when));
    all.any(|one| {
        let end = facts.ways.get(&one.file).map(|way| &way.end);
        let is_link = matches!(end, Some(End::There(end)) if end.name().starts_with(b"podman"));
        let is_script =
            one.rule == RuleId::Interpreter && one.source.file.name() == DOCKER.as_bytes();
        is_link || is_script
    })
}

fn all_words<'r>(path: &'r FilePath, args: Option<&'r [u8]>) -> Vec<&'r str> {
    let args = args
        .and_then(|args| std::str::from_utf8(args).ok())
        .unwrap_or_default();
    let program = std::str::from_utf8(path.as_bytes()).unwrap_or_default();
    let words = args.split_ascii_whitespace().filter(|word| *word != "\"\"");
    std::iter::once(program).chain(words).collect()
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or_default()
}

/// Verbs of git(1) whose output a pager shows, in which a person starts programs.
const PAGED: [&str; 12] = [
    "log", "diff", "show", "blame", "branch", "tag", "reflog", "help", "shortlog", "grep", "stash",
    "config",
];

/// Returns true if an argument that the permission leaves free, a file of the caller's directory, or a line that the
/// caller types, is code or a program that is started (`remit-programs`).
fn executes_arguments(name: &str, words: &[&str], is_free: bool) -> bool {
    if let (DOCKER | "podman", ["compose", words @ ..]) = (name, words) {
        return executes_arguments("docker-compose", words, is_free);
    }
    let Some(program) = remit_programs::known(name) else {
        return remit_programs::has_shell_escape(name) || is_interactive(name, words);
    };
    let is_fixed = |word: &&str| !word.contains('*');
    let is_verb_fixed = match &program.class {
        // Further words of git(1) name programs, too.
        Class::Tool(_) if name == "git" => false,
        Class::Tool(tool) if tool.verb => {
            let verb = split(name, words).operands.into_iter().next();
            verb.filter(is_fixed)
                .is_some_and(|verb| !tool.verbs.contains(&verb))
        }
        _ => false,
    };
    let is_of_directory = match &program.class {
        Class::Shell => true,
        Class::Interpreter(interpreter) => interpreter.starts_programs,
        Class::Tool(tool) => !tool.reads.is_empty(),
        _ => false,
    };
    let is_inside = match &program.class {
        Class::ContainerRunner(runner) if ["ip", "machinectl"].contains(&name) => {
            let mut rest = words
                .iter()
                .skip_while(|word| !runner.starts.contains(word));
            // The verb, and the network or machine.
            let is_started = rest.next().is_some();
            let inner: Vec<&str> = rest.copied().skip(1).collect();
            match inner.split_first() {
                Some((program, words)) => executes_arguments(base_name(program), words, is_free),
                None => is_started,
            }
        }
        _ => false,
    };
    let is_code = |word: &&str| program.code().contains(word) && !program.modules().contains(word);
    let is_named = words
        .iter()
        .any(|word| word.contains('/') || is_code(word) || word.ends_with("version"));
    let is_paged = name == "git"
        && !words.contains(&"--no-pager")
        && words.iter().any(|word| PAGED.contains(word));
    (is_free && !is_verb_fixed)
        || (is_of_directory && !is_named)
        || is_inside
        || is_paged
        || remit_programs::has_shell_escape(name)
        || is_interactive(name, words)
}

/// Returns true for git(1) in the caller's directory: by `SUDO_UID` it accepts the settings of the caller's repository.
fn is_git_of_caller(name: &str, words: &[&str]) -> bool {
    const WITHOUT: [&str; 4] = ["clone", "init", "version", "help"];
    let values = ["-C", "-c", "--git-dir", "--work-tree", "--namespace"];
    let split = SplitWords::from_words(words, &values);
    let mut named = split.values(&["-C", "--git-dir"]);
    let verb = split.operands.first();
    name == "git"
        && verb.is_some_and(|verb| !WITHOUT.contains(verb))
        && !named.any(|directory| directory.starts_with('/'))
}

/// Returns true for a program in which a person starts others, unless its words say what it does.
fn is_interactive(name: &str, words: &[&str]) -> bool {
    let has = |options: &[&str]| {
        let is_one = |word: &&str| options.iter().any(|option| word.starts_with(option));
        words.iter().any(is_one)
    };
    match name {
        "crontab" => {
            has(&["-e"]) || !has(&["-l", "-r"]) && words.iter().all(|word| word.starts_with('-'))
        }
        "mysql" | "mariadb" => !has(&["-e", "--execute"]),
        "psql" => !has(&["-c", "--command", "-f", "--file", "-l", "--list"]),
        "screen" | "tmux" => true,
        // An editor.
        "systemctl" => words.contains(&"edit"),
        _ => false,
    }
}

/// Returns true for su(1), and for runuser(1) without its option for an account: texts and shells are among their words.
fn switches_by_operand(all: &[&str]) -> bool {
    let (program, words) = all.split_first().unwrap_or((&"", &[]));
    let name = base_name(program);
    ["su", "runuser"].contains(&name) && !split(name, words).has(&USER)
}

/// The option of runuser(1) for an account.
const USER: [&str; 2] = ["-u", "--user"];

/// Splits words by the options that the table of programs has.
fn split<'w>(name: &str, words: &[&'w str]) -> SplitWords<'w> {
    let values = match remit_programs::known(name).map(|program| &program.class) {
        Some(Class::Wrapper(wrapper) | Class::Joins(wrapper)) => {
            [wrapper.with_value, wrapper.code].concat()
        }
        Some(Class::Tool(tool)) => tool.with_value.to_vec(),
        _ => Vec::new(),
    };
    SplitWords::from_words(words, &values)
}

/// Returns the account of what the free words of a permission start: with su(1) and runuser(1) the one that is named before
/// a `--` in front of them. Without it they may be options, which choose another account or a group with more rights. `None`:
/// it is not known.
fn account_of_free(facts: &Facts, runas: u32, all: &[&str]) -> Option<u32> {
    let (program, words) = all.split_first()?;
    let wrapper = match remit_programs::known(base_name(program)).map(|one| &one.class) {
        Some(Class::Wrapper(wrapper) | Class::Joins(wrapper))
            if wrapper.is_account_operand && wrapper.operands == 0 && runas == 0 =>
        {
            wrapper
        }
        _ => return Some(runas),
    };
    let end = words.iter().position(|word| is_free(word.as_bytes()));
    let fixed = words.split_at(end.unwrap_or(words.len())).0;
    if end.is_some() && !split(base_name(program), fixed).is_ended {
        return Some(runas);
    }
    match wrapper.account(fixed) {
        Some(name) => facts.accounts.uid(std::str::from_utf8(name).ok()?),
        None => Some(runas),
    }
}

/// Returns the account of the shell that a program starts which no further program is named to.
fn shell_of(facts: &Facts, runas: u32, all: &[&str], inner: &str) -> Option<u32> {
    let (program, words) = all.split_first()?;
    let has = |options: &[&str]| words.iter().any(|word| options.contains(word));
    match base_name(program) {
        "su" | "runuser" if runas == 0 => {
            let split = split(base_name(program), words);
            // A hyphen is the option for a login.
            let user = split.operands.iter().find(|word| **word != "-");
            match user {
                _ if split.has(&["-c", "--command", "--session-command"]) => None,
                _ if split.has(&USER) && !inner.is_empty() => None,
                Some(user) => facts.accounts.uid(user),
                None => Some(0),
            }
        }
        "sudo" | "doas" if inner.is_empty() => {
            has(&["-i", "-s", "--login", "--shell"]).then_some(runas)
        }
        "unshare" | "nsenter" | "chroot" | "script" | "newgrp" | "sg" if inner.is_empty() => {
            Some(runas)
        }
        _ => None,
    }
}

/// The units that `systemctl start X`, `service X start` and the like have started, by verbs that start.
pub(super) fn units(
    facts: &Facts,
    name: &str,
    all: &[&str],
    starts: fn(&str) -> bool,
) -> Vec<Atom> {
    let mut words = split("systemctl", all).operands;
    match name {
        "systemctl" => {}
        "service" | "invoke-rc.d" if words.len() >= 2 => words.swap(0, 1),
        _ => return Vec::new(),
    }
    let Some((verb, units)) = words.split_first() else {
        return Vec::new();
    };
    if !starts(verb) && !all.contains(&"--now") {
        return Vec::new();
    }
    units
        .iter()
        .flat_map(|unit| super::grants::starts(facts, &unit_name(unit), true))
        .collect()
}
