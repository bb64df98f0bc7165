//! Repositories in which git(1) is run by somebody stronger: its settings and hooks name programs.

use remit_programs::innermost;

use super::execution::Execution;
use super::shell::{ShellCommand, base_name, paths};
use crate::facts::{Source, When};
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
        note(look, by.uid, &path, &by.when, &by.source);
    }
}

/// Notes the working directory of git, and those that its words name.
pub fn executed(look: &mut Look<'_>, by: &Execution, args: &[Vec<u8>]) {
    let named = args.iter().flat_map(|word| paths(word));
    for path in by.directory.iter().cloned().chain(named) {
        note(look, by.uid, &path, &by.when, &by.source);
    }
}

fn note(look: &mut Look<'_>, uid: u32, directory: &FilePath, when: &When, source: &Source) {
    let Some(own) = directory.join(".git") else {
        return;
    };
    let Some((_, entry)) = look.machine.entry(&own) else {
        return;
    };
    // git refuses a repository of another account (safe.directory), unless it is named as safe.
    if entry.uid != uid && !is_any_safe(look) {
        return;
    }
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
