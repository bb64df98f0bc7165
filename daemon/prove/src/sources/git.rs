//! Repositories in which git(1) is run by somebody stronger: its settings and hooks name programs.

use remit_programs::innermost;

use super::execution::Execution;
use super::options::value_of;
use super::shell::{ShellCommand, base_name, paths};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Notes the repositories that the commands of a text name, if one of them is git.
pub fn mentioned(look: &mut Look<'_>, by: &Execution, found: &[ShellCommand]) {
    let is_git = |one: &ShellCommand| {
        let program = innermost(&one.words).first();
        program.is_some_and(|program| base_name(program) == b"git")
    };
    if !found.iter().any(is_git) {
        return;
    }
    for path in found
        .iter()
        .flat_map(|one| &one.words)
        .flat_map(|word| paths(word))
    {
        note(look, by, &path);
    }
}

/// Notes the working directory of git, and those that its words name. Of a directory in no repository it is the one that a
/// caller could make: git looks for it there and in each directory above.
pub fn executed(look: &mut Look<'_>, by: &Execution, args: &[Vec<u8>]) {
    let named = args.iter().flat_map(|word| paths(word));
    for path in by.directory.iter().cloned().chain(named) {
        note(look, by, &path);
    }
    let mut inner = by.clone();
    if let Some(directory) = value_of(&["-C"], args) {
        inner.enter(directory);
    }
    let mut above = inner.directory.filter(|_| !by.callers.is_empty());
    while let Some(directory) = above {
        if note(look, by, &directory) {
            break;
        }
        if let Some(path) = directory.join(".git/config") {
            look.obeys(by.uid, path, RuleId::GitHook, &by.when, &by.source);
        }
        above = directory.parent();
    }
}

/// Returns false if there is no repository.
fn note(look: &mut Look<'_>, by: &Execution, directory: &FilePath) -> bool {
    let Some(own) = directory.join(".git") else {
        return true;
    };
    let Some((_, entry)) = look.machine.entry(&own) else {
        return false;
    };
    // git refuses a repository of another account (safe.directory), unless it is named as safe, or root runs git by sudo
    // for the account (SUDO_UID).
    let is_of_caller = by.uid == 0 && by.callers.contains(&entry.uid);
    if entry.uid != by.uid && !is_of_caller && !is_any_safe(look) {
        return true;
    }
    let (uid, when, source) = (by.uid, &by.when, &by.source);
    for name in ["config", "hooks"] {
        if let Some(path) = own.join(name) {
            look.obeys(uid, path, RuleId::GitHook, when, source);
        }
    }
    let hooks = own.join("hooks");
    for path in hooks.iter().flat_map(|hooks| {
        look.machine
            .list(hooks)
            .into_iter()
            .filter_map(|name| hooks.join(name))
            .collect::<Vec<_>>()
    }) {
        look.obeys(uid, path, RuleId::GitHook, when, source);
    }
    true
}

fn is_any_safe(look: &Look<'_>) -> bool {
    [
        "/etc/gitconfig",
        "/root/.gitconfig",
        "/root/.config/git/config",
    ]
    .map(FilePath::fixed)
    .iter()
    .any(|path| {
        let content = look.machine.read(path).unwrap_or_default();
        content
            .windows(6)
            .any(|part| part.eq_ignore_ascii_case(b"[safe]"))
    })
}
