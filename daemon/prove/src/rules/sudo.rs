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
            let all = all_words(path, args.as_deref());
            let words = innermost(&all);
            let is_behind = words.len() < all.len();
            let (program, words) = words.split_first().unwrap_or((&"", &[]));
            let name = base_name(program);
            let is_free = args.as_deref().is_none_or(is_free);
            // A wrapper starts what the caller names.
            let names_program =
                is_behind && is_free && (program.is_empty() || program.contains('*'));
            if names_program
                || executes_arguments(name, words, is_free)
                || is_free && rule.runas == 0 && switches_by_operand(&all)
            {
                if let Some(uid) = account_of_free(facts, rule.runas, &all) {
                    let of_free = Atom::Account(uid);
                    add(of_free, vec![account.clone()], RuleId::SudoArguments);
                }
            } else if let Some(uid) = shell_of(facts, rule.runas, &all, program) {
                let of_shell = Atom::Account(uid);
                add(of_shell, vec![account.clone()], RuleId::SudoArguments);
            }
            for (head, source) in writes(facts, rule.runas, name, words, is_free) {
                let body = std::iter::once(account.clone()).chain(source);
                add(head, body.collect(), RuleId::SudoWrites);
            }
            for unit in units(facts, name, words) {
                add(unit, vec![account.clone()], RuleId::SudoUnit);
            }
        }
    }
}

/// Returns true if they are any text, a star, which matches several words, or a regular expression.
fn is_free(args: &[u8]) -> bool {
    args.starts_with(b"^") || args.contains(&b'*')
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
    let Some(program) = remit_programs::known(name) else {
        return remit_programs::has_shell_escape(name) || is_interactive(name, words);
    };
    let is_fixed = |word: &&str| !word.contains('*');
    let is_verb_fixed = match &program.class {
        // Further words of git(1) name programs, too.
        Class::Tool(_) if name == "git" => false,
        Class::Tool(tool) if tool.verb => {
            let verb = operands(words, tool.with_value).into_iter().next();
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
        _ => false,
    }
}

/// Returns true for su(1), and for runuser(1) without its option for an account: texts and shells are among their words.
fn switches_by_operand(all: &[&str]) -> bool {
    let (program, words) = all.split_first().unwrap_or((&"", &[]));
    ["su", "runuser"].contains(&base_name(program)) && !words.iter().any(names_user)
}

fn names_user(word: &&str) -> bool {
    word.starts_with("-u") || word.starts_with("--user")
}

/// Returns the account of what the free words of a permission start: with su(1) and runuser(1) the one that is named before
/// them. `None`: it is not known.
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
    // Without `--` the free words may name another one by an option.
    if fixed.iter().any(names_user) && !fixed.contains(&"--") {
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
            let is_text = |word: &&str| {
                ["-c", "--command", "--session-command"]
                    .iter()
                    .any(|code| word.starts_with(code))
            };
            let user = operands(words, &["-g", "-G", "-s", "-w", "--group", "--shell"]);
            match user.first() {
                _ if words.iter().any(is_text) => None,
                _ if words.iter().any(names_user) && !inner.is_empty() => None,
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

/// Returns the words that are neither options nor values of these.
fn operands<'w>(words: &[&'w str], with_value: &[&str]) -> Vec<&'w str> {
    let before = std::iter::once("").chain(words.iter().copied());
    let words = words.iter().zip(before);
    let is_operand =
        |(word, before): &(&&str, &str)| !word.starts_with('-') && !with_value.contains(before);
    words.filter(is_operand).map(|(word, _)| *word).collect()
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
    let mut named = operands(words, &COPY_VALUES).into_iter();
    match remit_programs::written(name) {
        None => Vec::new(),
        Some(Written::System) if !is_free || runas != 0 => Vec::new(),
        Some(Written::Accounts) if !is_free && runas == 0 => {
            let only_looks = ["-c", "--check", "-cf", "-S", "--status", "-l", "--lock"];
            match (
                words.iter().any(|word| only_looks.contains(word)),
                named.next(),
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
            let source = named.clone().find_map(|word| word.strip_prefix("if="));
            let source = source.and_then(FilePath::new).map(Atom::Change);
            let files =
                named.filter_map(|word| FilePath::new(word.strip_prefix("of=").unwrap_or(word)));
            let heads = files.flat_map(|file| written_as(facts, &file));
            heads.map(|head| (head, source.clone())).collect()
        }
        Some(Written::LastOperand) => {
            let file = target(words).or_else(|| named.next_back());
            let Some(file) = file.and_then(FilePath::new) else {
                return Vec::new();
            };
            let heads = written_as(facts, &file);
            let sources = named.map(|word| FilePath::new(word).map(Atom::Change));
            let of =
                |source: Option<Atom>| heads.iter().map(move |head| (head.clone(), source.clone()));
            sources.flat_map(of).collect()
        }
        Some(Written::Metadata) if gives_rights(name, words) => {
            let files = named.filter_map(FilePath::new);
            let heads = files.flat_map(|file| written_as(facts, &file));
            heads.map(|head| (head, None)).collect()
        }
        Some(_) => Vec::new(),
    }
}

/// Options of cp(1), install(1), ln(1), mv(1) and rsync(1) before a value.
const COPY_VALUES: [&str; 12] = [
    "-m",
    "-o",
    "-g",
    "-S",
    "-e",
    "-t",
    "--mode",
    "--owner",
    "--group",
    "--suffix",
    "--rsh",
    "--target-directory",
];

/// The directory that an option names into which files are copied.
fn target<'w>(words: &[&'w str]) -> Option<&'w str> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-t" | "--target-directory" => return words.next().copied(),
            word if word.starts_with("--target-directory=") => {
                return word.split_once('=').map(|(_, to)| to);
            }
            _ => {}
        }
    }
    None
}

/// Returns false if only root has more rights by it: an owner that is root, or a mode in which nobody else writes.
fn gives_rights(name: &str, words: &[&str]) -> bool {
    let first = words.iter().find(|word| !word.starts_with('-')).copied();
    let Some(first) = first else {
        return true;
    };
    match name {
        "chown" => !first
            .split([':', '.'])
            .all(|name| ["root", "0", ""].contains(&name)),
        "chgrp" => !["root", "0"].contains(&first),
        "chmod" => u32::from_str_radix(first, 8).map_or_else(
            |_| first.contains(['w', 's', 'u', 'g', 'o', '=']) && !first.starts_with("go-"),
            |mode| mode & 0o6022 != 0,
        ),
        _ => true,
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

/// The units that `systemctl start X`, `service X start` and the like have started.
fn units(facts: &Facts, name: &str, all: &[&str]) -> Vec<Atom> {
    let before = std::iter::once("").chain(all.iter().copied());
    let words = all
        .iter()
        .zip(before)
        .filter(|(word, before)| !word.starts_with('-') && !has_value(before))
        .map(|(word, _)| *word);
    let mut words: Vec<&str> = words.collect();
    match name {
        "systemctl" => {}
        "service" | "invoke-rc.d" if words.len() >= 2 => words.swap(0, 1),
        _ => return Vec::new(),
    }
    let Some((verb, units)) = words.split_first() else {
        return Vec::new();
    };
    if !has_units_started(verb) && !all.contains(&"--now") {
        return Vec::new();
    }
    units
        .iter()
        .flat_map(|unit| super::grants::starts(facts, &unit_name(unit), true))
        .collect()
}
