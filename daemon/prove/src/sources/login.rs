//! What a login and a shell of an account read: its start files and keys. Of root, and of accounts with a shell.

use super::execution::PATH;
use super::keys::Keys;
use super::sshd;
use crate::facts::{Source, When};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Accounts whose homes are looked at.
const ACCOUNTS: usize = 2000;
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

pub fn look(look: &mut Look<'_>) {
    let settings = sshd::look(look);
    let mut keys = Keys::default();
    let users = look.facts.accounts.users.iter();
    let users = users.filter(|(_, user)| user.uid == 0 || user.has_shell());
    let homes: Vec<(String, u32, FilePath)> = users
        .filter_map(|(name, user)| Some((name.clone(), user.uid, user.home.clone()?)))
        .collect();
    if homes.len() > ACCOUNTS {
        let left = homes.len().saturating_sub(ACCOUNTS);
        let why = format!("homes of {left} accounts were not looked at");
        look.machine.unknown(&FilePath::fixed("/etc/passwd"), why);
    }
    for (name, uid, home) in homes.into_iter().take(ACCOUNTS) {
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
        for file in START.iter().filter_map(|name| home.join(name)) {
            let source = Source::whole(&file);
            look.obeys(uid, file, RuleId::StartFile, &When::ByItself, &source);
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
    for file in shared {
        if look.exists(&file) {
            let source = Source::whole(&file);
            look.obeys(0, file, RuleId::StartFile, &When::ByItself, &source);
        }
    }
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
