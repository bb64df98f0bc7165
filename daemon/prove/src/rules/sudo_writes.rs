//! What programs of sudo write, as their words say.

use remit_programs::Written;

use super::sudo::operands;
use crate::atom::Atom;
use crate::facts::Facts;
use crate::machine::entry::End;
use crate::path::FilePath;

/// Returns what a program of the permission writes, each with what decides its content beyond the caller.
pub(super) fn writes(
    facts: &Facts,
    runas: u32,
    name: &str,
    words: &[&str],
    is_free: bool,
) -> Vec<(Atom, Option<Atom>)> {
    let own = |uid: u32| vec![(Atom::Account(uid), None)];
    let with_value = match name {
        "rsync" => &RSYNC_VALUES[..],
        _ => &COPY_VALUES,
    };
    let mut named = operands(words, |word| with_value.contains(&word)).into_iter();
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
            let file = target(name, words).or_else(|| named.next_back());
            let Some(file) = file.and_then(FilePath::new) else {
                return Vec::new();
            };
            let heads = written_as(facts, &file);
            let sources = named.map(|word| FilePath::new(word).map(Atom::Change));
            let of =
                |source: Option<Atom>| heads.iter().map(move |head| (head.clone(), source.clone()));
            let gives = name == "install" && installs_with_rights(words);
            let sources = sources.chain(gives.then_some(None));
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

/// Options of cp(1), install(1), ln(1) and mv(1) before a value.
const COPY_VALUES: [&str; 10] = [
    "-m",
    "-o",
    "-g",
    "-S",
    "-t",
    "--mode",
    "--owner",
    "--group",
    "--suffix",
    "--target-directory",
];

/// Options of rsync(1) before a value.
const RSYNC_VALUES: [&str; 14] = [
    "-e",
    "-f",
    "-B",
    "-T",
    "-M",
    "--rsh",
    "--filter",
    "--exclude",
    "--include",
    "--exclude-from",
    "--include-from",
    "--files-from",
    "--rsync-path",
    "--temp-dir",
];

/// The directory that an option names into which files are copied.
fn target<'w>(name: &str, words: &[&'w str]) -> Option<&'w str> {
    let mut words = words.iter().filter(|_| name != "rsync");
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

/// Returns true if what install(1) makes gets an owner, a group or a mode by which more than root can write it.
fn installs_with_rights(words: &[&str]) -> bool {
    let after = words.iter().skip(1).copied().chain([""]);
    words.iter().zip(after).any(|(word, after)| {
        let (option, value) = word.split_once('=').unwrap_or((word, after));
        match option {
            "-o" | "--owner" => gives_rights("chown", &[value]),
            "-g" | "--group" => gives_rights("chgrp", &[value]),
            "-m" | "--mode" => gives_rights("chmod", &[value]),
            _ => false,
        }
    })
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
