//! What a login and a shell of an account read: its start files and keys. Of root, and of accounts with a shell.

use remit_programs::Class;

use super::execution::{Execution, PATH};
use super::keys::Keys;
use super::shell::is_open;
use super::sshd;
use crate::facts::{Source, When};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Accounts whose homes are looked at.
const ACCOUNTS: usize = 2000;
/// Bytes of a start file.
const TEXT: usize = 64 << 10;
const START: [&str; 8] = [
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".config/fish/config.fish",
];
const SHARED: [&str; 5] = [
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/environment",
    "/etc/zsh/zshenv",
    "/etc/ssh/sshrc",
];

/// Keys of all accounts, and what shells of root read.
pub fn look(look: &mut Look<'_>) {
    let settings = sshd::look(look);
    let mut keys = Keys::default();
    for (name, uid, home) in homes(look) {
        // If a home is missing, what somebody else makes there is theirs, and sshd refuses it.
        let is_home = look.exists(&home);
        let files = settings.files.iter();
        for file in files.filter_map(|pattern| sshd::file(pattern, &name, &home)) {
            if !is_home && file.is_beneath(&home) {
                continue;
            }
            if !settings.is_strict || is_accepted(look, uid, &file, &home) {
                keys.add(look, uid, &file);
                let source = Source::whole(&file);
                look.obeys(uid, file, RuleId::AuthorizedKeys, &When::ByItself, &source);
            }
        }
        if uid == 0 {
            start_files(look, uid, &home);
        }
    }
    keys.compare(look);
    // root's own shell looks there, too.
    for directory in PATH.map(FilePath::fixed) {
        if look.exists(&directory) {
            let source = Source::whole(&directory);
            look.obeys(0, directory, RuleId::SearchPath, &When::ByItself, &source);
        }
    }
    let scripts = FilePath::fixed("/etc/profile.d");
    let mut shared: Vec<FilePath> = SHARED.map(FilePath::fixed).to_vec();
    let names = look.machine.list(&scripts).into_iter();
    let names = names.filter(|name| name.ends_with(b"sh") || name.ends_with(b".local"));
    shared.extend(names.filter_map(|name| scripts.join(name)));
    shared.push(scripts);
    for file in shared
        .iter()
        .filter(|file| look.machine.entry(file).is_some())
    {
        start_file(look, 0, file, None);
    }
}

/// Start files of accounts that are not root: what is looked for of root comes first.
pub fn look_others(look: &mut Look<'_>) {
    for (_, uid, home) in homes(look).into_iter().filter(|(_, uid, _)| *uid != 0) {
        start_files(look, uid, &home);
    }
}

fn start_files(look: &mut Look<'_>, uid: u32, home: &FilePath) {
    for file in START.iter().filter_map(|name| home.join(name)) {
        start_file(look, uid, &file, Some(home));
    }
}

/// Accounts that a shell may be of, with uids and homes.
fn homes(look: &Look<'_>) -> Vec<(String, u32, FilePath)> {
    let users = look.facts.accounts.users.iter();
    let users = users.filter(|(_, user)| user.uid == 0 || user.has_shell());
    let mut homes: Vec<(String, u32, FilePath)> = users
        .filter_map(|(name, user)| Some((name.clone(), user.uid, user.home.clone()?)))
        .collect();
    if homes.len() > ACCOUNTS {
        let left = homes.len().saturating_sub(ACCOUNTS);
        let why = format!("homes of {left} accounts were not looked at");
        look.machine.unknown(&FilePath::fixed("/etc/passwd"), why);
    }
    homes.truncate(ACCOUNTS);
    homes
}

/// Notes a start file, what it reads and runs, and the directories in which the shell then looks for programs.
fn start_file(look: &mut Look<'_>, uid: u32, file: &FilePath, home: Option<&FilePath>) {
    let payer = look.machine.pay_as(uid);
    let by = Execution {
        directory: home.cloned(),
        is_start_file: true,
        ..Execution::new(uid, RuleId::StartFile, When::ByItself, Source::whole(file))
    };
    look.runs_by(&by, file.clone(), Some(&Class::Shell));
    let content = look.machine.text(file, TEXT).unwrap_or_default();
    for (number, line) in lines(&content) {
        let text = line.trim_ascii_start();
        let text = text.strip_prefix(b"export ").unwrap_or(text);
        let Some(value) = text.strip_prefix(b"PATH=") else {
            continue;
        };
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
        let value = value.split(is_end).next().unwrap_or_default();
        let is_quote = |byte: &u8| b"'\"".contains(byte);
        let value: Vec<u8> = value
            .iter()
            .copied()
            .filter(|byte| !is_quote(byte))
            .collect();
        for part in value.split(|byte| *byte == b':') {
            let own = [&b"$HOME"[..], b"${HOME}", b"~"];
            let own = own.iter().find_map(|name| part.strip_prefix(*name));
            let directory = match own.zip(home) {
                Some((rest, home)) => FilePath::new([home.as_bytes(), rest].concat()),
                None => FilePath::new(part),
            };
            if let Some(directory) = directory.filter(|path| !is_open(path.as_bytes())) {
                let source = Source::line(file, number, line);
                look.obeys(uid, directory, RuleId::SearchPath, &When::ByItself, &source);
            }
        }
    }
    look.machine.pay_as(payer);
}

/// Returns true if sshd accepts keys of this file: it, or what is there of its directories up to the home, belongs to the
/// account or root, and nobody else can write it.
fn is_accepted(look: &Look<'_>, uid: u32, file: &FilePath, home: &FilePath) -> bool {
    let mut at = Some(file.clone());
    while let Some(path) = at {
        if let Some((_, entry)) = look.machine.entry(&path) {
            let is_own = entry.uid == 0 || entry.uid == uid;
            if !is_own || entry.mode & 0o022 != 0 {
                return false;
            }
        }
        at = path.parent().filter(|_| path != *home);
    }
    true
}
