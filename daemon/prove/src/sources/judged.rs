//! Finds programs of root of which it is not known what their words have them do.

use remit_programs::{Written, innermost, takes_files};

use super::shell::{base_name, is_open};
use crate::grants::{Grants, What};
use crate::look::Look;
use crate::path::FilePath;

/// Programs of remit: what they do the policy says.
const OWN: &str = "/usr/libexec/remit";

/// Returns the program that these words start in the end, unless it is known what it does with its words, or it is a script,
/// which is read. `is_free`: any further words follow.
pub fn unjudged(look: &Look<'_>, argv: &[Vec<u8>], is_free: bool) -> Option<FilePath> {
    let (program, words) = innermost(argv).split_first()?;
    let name = std::str::from_utf8(base_name(program)).unwrap_or_default();
    let is_known = match remit_programs::written(name) {
        // Which files and devices it writes, its fixed words alone do not say.
        Some(Written::Files | Written::System) => is_free,
        Some(_) => true,
        None => remit_programs::known(name).is_some() || takes_files(name.as_bytes()),
    };
    let only_shows = words
        .iter()
        .any(|word| word == b"--version" || word == b"--help");
    let path = FilePath::new(program).or_else(|| FilePath::new(argv.first()?))?;
    let is_judged = is_known
        || only_shows
        || is_open(program)
        || path.is_beneath(&FilePath::fixed(OWN))
        || look.machine.entry(&path).is_none()
        || look.machine.is_script(&path);
    (!is_judged).then_some(path)
}

/// Lists the programs that accounts have run by the policy as root without a sandbox.
pub fn commands(look: &Look<'_>, grants: &Grants) {
    let is_called = |command: &str| {
        let mut granted = grants.granted.iter();
        granted.any(|one| one.what == What::Call && one.command == command)
    };
    let is_bare = |profile: &str| {
        let mut profiles = grants.profiles.iter();
        profiles.any(|one| one.name == profile && one.is_host && one.uid == Some(0))
    };
    for program in grants.programs.iter().filter(|one| is_bare(&one.profile)) {
        let mut calls = program.words.calls.iter().filter_map(|call| {
            let argv: Vec<Vec<u8>> = call.iter().map(|word| word.clone().into_bytes()).collect();
            unjudged(look, &argv, false)
        });
        if let Some(path) = calls.next().filter(|_| is_called(&program.command)) {
            let command = &program.command;
            let why = format!("what command {command} does as root by {path} is not judged");
            let policy = FilePath::fixed("/etc/remit/policy.d");
            look.machine.unknown(&policy, why);
        }
    }
}
