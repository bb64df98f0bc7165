//! Repositories in which git(1) is run by somebody stronger: its settings and hooks name programs.

use super::execution::Execution;
use super::shell::mentions;
use crate::facts::{Source, When};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Notes the repositories that a text names, if it runs git.
pub fn mentioned(look: &mut Look<'_>, by: &Execution, text: &[u8]) {
    if !text.windows(3).any(|part| part == b"git") {
        return;
    }
    let found = mentions(text);
    let is_git = |word: &[u8]| word == b"git" || word.ends_with(b"/git");
    if !found.iter().any(|one| one.is_command && is_git(&one.word)) {
        return;
    }
    for path in found.iter().filter_map(|one| FilePath::new(&one.word)) {
        note(look, by.uid, &path, &by.when, &by.source);
    }
}

/// Notes the directory of a process, if it is git.
pub fn repository(
    look: &mut Look<'_>,
    uid: u32,
    directory: &FilePath,
    argv: &[Vec<u8>],
    when: &When,
    source: &Source,
) {
    let text = argv.join(&b' ');
    let is_git = mentions(&text)
        .iter()
        .any(|one| one.is_command && (one.word == b"git" || one.word.ends_with(b"/git")));
    if is_git {
        note(look, uid, directory, when, source);
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
