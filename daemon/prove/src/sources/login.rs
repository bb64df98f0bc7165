//! What a login and a shell of an account read: its start files and keys. Of root, and of accounts with a shell.

use super::fixed;
use crate::facts::{Look, Source, When};
use crate::path::FilePath;
use crate::rules::RuleId;

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
const KEYS: [&str; 3] = [".ssh/authorized_keys", ".ssh/authorized_keys2", ".ssh/rc"];
const SHARED: [&str; 5] = [
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/environment",
    "/etc/zsh/zshenv",
    "/etc/ssh/sshrc",
];

pub fn look(look: &mut Look<'_>) {
    let users = look.facts.accounts.users.values();
    let users = users.filter(|user| user.uid == 0 || user.has_shell());
    let homes: Vec<(u32, FilePath)> = users
        .filter_map(|user| Some((user.uid, user.home.clone()?)))
        .collect();
    if homes.len() > ACCOUNTS {
        let why = format!(
            "homes of {} accounts were not looked at",
            homes.len().saturating_sub(ACCOUNTS)
        );
        look.machine.unknown(&fixed("/etc/passwd"), why);
    }
    for (uid, home) in homes.into_iter().take(ACCOUNTS) {
        if !look.exists(&home) {
            continue;
        }
        for (names, rule) in [
            (&START[..], RuleId::StartFile),
            (&KEYS, RuleId::AuthorizedKeys),
        ] {
            for file in names.iter().filter_map(|name| home.join(name)) {
                let source = Source::whole(&file);
                look.obeys(uid, file, rule, &When::ByItself, &source);
            }
        }
    }
    let scripts = fixed("/etc/profile.d");
    let mut shared: Vec<FilePath> = SHARED.map(fixed).to_vec();
    let names = look.machine.list(&scripts).into_iter();
    shared.extend(names.filter_map(|name| scripts.join(name)));
    shared.push(scripts);
    for file in shared {
        if look.exists(&file) {
            let source = Source::whole(&file);
            look.obeys(0, file, RuleId::StartFile, &When::ByItself, &source);
        }
    }
}
