//! What programs write, as their words say: those of sudo, and those of commands of the policy.

use std::collections::BTreeMap;

use remit_programs::Written;

use super::{changed_accounts, extracted};
use crate::atom::Atom;
use crate::facts::Facts;
use crate::machine::entry::End;
use crate::path::FilePath;
use crate::split_words::{OptionTable, SplitWords};

/// What decides about a file beyond the caller: `None` is nothing more.
pub(super) type Decider = Option<Atom>;

/// What a program writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteTarget {
    /// The password or the rights of this account.
    Account(u32),
    /// The members of this group.
    Members(u32),
    /// This file, or those beneath it.
    File(FilePath),
}

/// A program with its words.
#[derive(Debug)]
pub(super) struct WritingProgram<'w> {
    pub runas: u32,
    pub name: &'w str,
    pub words: &'w [&'w str],
    /// Any words of the caller are among its words.
    pub is_free: bool,
    /// The caller writes what it reads.
    pub has_input: bool,
    /// The directory in which relative files are. `None`: the caller's.
    pub directory: Option<&'w FilePath>,
    /// Words that the caller chooses, each with the directory in which the file is that it names.
    pub chosen: &'w BTreeMap<String, FilePath>,
}

impl WritingProgram<'_> {
    /// Returns true if the caller chooses the word, or a part of it.
    pub(super) fn chooses(&self, word: &str) -> bool {
        word.contains('$')
    }

    /// Returns what decides about the content of the file that a word names.
    pub(super) fn source(&self, word: &str) -> Decider {
        const INPUT: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
        let is_input = self.has_input && INPUT.contains(&word);
        match self.directory {
            _ if is_input || self.chosen.contains_key(word) => None,
            Some(directory) => directory.resolve(word).map(Atom::Change),
            None => FilePath::new(word).map(Atom::Change),
        }
    }

    pub(super) fn target(&self, word: &str) -> Option<WriteTarget> {
        let file = match (self.chosen.get(word), self.directory) {
            (Some(above), _) => Some(above.clone()),
            (None, Some(directory)) => directory.resolve(word),
            (None, None) => FilePath::new(word),
        };
        file.map(WriteTarget::File)
    }
}

/// What a program writes, and which of its words say so.
pub(super) type Change = (WriteTarget, Decider);

/// Returns what a program writes, each with what decides its content beyond the caller.
pub(super) fn writes(facts: &Facts, writer: &WritingProgram<'_>) -> Vec<Change> {
    let &WritingProgram {
        runas,
        name,
        words,
        is_free,
        has_input,
        ..
    } = writer;
    let own = |uid: u32| vec![(WriteTarget::Account(uid), None)];
    let named = SplitWords::from_words(words, &["--from", "--reference"]);
    let takes_reference = named.has(&["--reference"]);
    let named = named.operands;
    match remit_programs::written(name) {
        None => Vec::new(),
        Some(
            Written::System
            | Written::Accounts
            | Written::Members
            | Written::Loaded
            | Written::Mounts,
        ) if runas != 0 => Vec::new(),
        Some(_) if is_free => own(runas),
        Some(Written::Accounts) => changed_accounts::accounts(facts, writer),
        Some(Written::Members) => changed_accounts::members(facts, writer),
        Some(Written::Archive) => extracted::archive(writer),
        Some(Written::Download) => extracted::download(writer),
        Some(Written::Mounts) => extracted::mounts(writer),
        Some(Written::Loaded) => {
            let files = named.iter().filter(|word| word.starts_with('/'));
            let files = files.map(|word| (WriteTarget::Account(0), writer.source(word)));
            files.collect()
        }
        Some(Written::Input) => {
            let copied = named.iter().find_map(|word| word.strip_prefix("if="));
            if copied.is_none() && !has_input {
                return Vec::new();
            }
            let source = copied.and_then(|word| writer.source(word));
            let files = named.iter().filter_map(|word| match name {
                "dd" => word.strip_prefix("of="),
                _ => Some(*word),
            });
            let files = files.filter_map(|file| writer.target(file));
            files.map(|file| (file, source.clone())).collect()
        }
        Some(Written::LastOperand) => copies(facts, writer),
        Some(Written::Metadata) => {
            let beyond = match (name, named.first()) {
                _ if takes_reference => vec![None],
                ("chown", Some(owners)) => of_owners(facts, owners),
                ("chgrp", Some(group)) => of_group(facts, group),
                ("chmod", Some(mode)) if !opens(mode) => Vec::new(),
                _ => vec![None],
            };
            let files = named.iter().filter_map(|word| writer.target(word));
            files.flat_map(|file| each(&file, &beyond)).collect()
        }
        Some(_) => Vec::new(),
    }
}

fn each(target: &WriteTarget, beyond: &[Decider]) -> Vec<Change> {
    let pair = |one: &Decider| (target.clone(), one.clone());
    beyond.iter().map(pair).collect()
}

/// The options of cp(1), install(1), ln(1) and mv(1).
const COPY: OptionTable = OptionTable {
    values: &[
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
        "--strip-program",
        "--sparse",
        "--no-preserve",
    ],
    flags: "-abcCdDfFHiLlnPpRrsTuvxZ --archive --attributes-only --backup --compare --context --copy-contents --debug \
            --dereference --directory --exchange --force --interactive --keep-directory-symlink --link --logical \
            --one-file-system --parents --physical --preserve --preserve-context --preserve-timestamps --recursive --reflink \
            --relative --remove-destination --strip --strip-trailing-slashes --symbolic --symbolic-link --update --verbose",
};

/// The options of rsync(1).
const RSYNC: OptionTable = OptionTable {
    values: &[
        "-B",
        "-e",
        "-f",
        "-M",
        "-T",
        "-@",
        "--address",
        "--backup-dir",
        "--block-size",
        "--bwlimit",
        "--cc",
        "--checksum-choice",
        "--checksum-seed",
        "--chmod",
        "--chown",
        "--compare-dest",
        "--compress-choice",
        "--compress-level",
        "--contimeout",
        "--copy-as",
        "--copy-dest",
        "--debug",
        "--early-input",
        "--exclude",
        "--exclude-from",
        "--files-from",
        "--filter",
        "--groupmap",
        "--iconv",
        "--include",
        "--include-from",
        "--info",
        "--link-dest",
        "--log-file",
        "--log-file-format",
        "--log-format",
        "--max-alloc",
        "--max-delete",
        "--max-size",
        "--min-size",
        "--modify-window",
        "--only-write-batch",
        "--out-format",
        "--outbuf",
        "--partial-dir",
        "--password-file",
        "--port",
        "--protocol",
        "--read-batch",
        "--remote-option",
        "--rsh",
        "--rsync-path",
        "--skip-compress",
        "--sockopts",
        "--stderr",
        "--stop-after",
        "--stop-at",
        "--suffix",
        "--temp-dir",
        "--time-limit",
        "--timeout",
        "--usermap",
        "--write-batch",
        "--zc",
        "--zl",
    ],
    flags: "-0468AabCcDdEFgHhIiJKkLlmNnOoPpqRrSstUuVvWXxyz --8-bit-output --acls --append --append-verify --archive --atimes \
            --backup --blocking-io --checksum --compress --copy-devices --copy-dirlinks --copy-links --copy-unsafe-links \
            --crtimes --cvs-exclude --del --delay-updates --delete --delete-after --delete-before --delete-delay \
            --delete-during --delete-excluded --delete-missing-args --devices --dirs --dry-run --executability --existing \
            --fake-super --force --from0 --fsync --fuzzy --group --hard-links --human-readable --ignore-errors \
            --ignore-existing --ignore-missing-args --ignore-times --inplace --ipv4 --ipv6 --itemize-changes \
            --keep-dirlinks --links --list-only --mkpath --munge-links --new-compress --numeric-ids --old-args \
            --old-compress --old-dirs --omit-dir-times --omit-link-times --one-file-system --open-noatime --owner \
            --partial --perms --preallocate --progress --protect-args --prune-empty-dirs --quiet --recursive --relative \
            --remove-source-files --safe-links --secluded-args --size-only --sparse --specials --stats --super --times \
            --trust-sender --update --verbose --whole-file --write-devices --xattrs",
};

/// Options of rsync(1) for files and directories that it writes beside its target. What lies in the target is moved there, and names of
/// files are in logs.
const WRITTEN_BY_RSYNC: [&str; 7] = [
    "--backup-dir",
    "--log-file",
    "--write-batch",
    "--only-write-batch",
    "--partial-dir",
    "-T",
    "--temp-dir",
];

/// What cp(1), rsync(1) and the like put at their targets.
fn copies(facts: &Facts, writer: &WritingProgram<'_>) -> Vec<Change> {
    let &WritingProgram { name, words, .. } = writer;
    let (table, target) = match name {
        "rsync" => (&RSYNC, &[][..]),
        _ => (&COPY, &["-t", "--target-directory"][..]),
    };
    let split = SplitWords::by_table(words, table);
    let operands = &split.operands[..];
    let makes_directories = name == "install" && split.has(&["-d", "--directory"]);
    let target = split.value(target);
    let mut targets: Vec<&str> = target.or(operands.last().copied()).into_iter().collect();
    if name == "rsync" {
        targets.extend(split.values(&WRITTEN_BY_RSYNC));
    }
    // One that seems to be the last may be the value of an option.
    if makes_directories || split.has_unknown {
        targets.extend(operands);
    }
    let rights = match name {
        "install" => installed_rights(facts, &split),
        "rsync" => synchronized_rights(facts, &split),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for target in targets {
        let sources = operands.iter().filter(|_| !makes_directories);
        let sources = sources.filter(|word| **word != target);
        let sources = sources.map(|word| writer.source(word));
        let beyond: Vec<Decider> = sources.chain(rights.iter().cloned()).collect();
        let file = writer.target(target).into_iter();
        found.extend(file.flat_map(|file| each(&file, &beyond)));
    }
    found
}

/// What gets the right to write what install(1) makes, whose mode is 755 if none is named.
fn installed_rights(facts: &Facts, split: &SplitWords<'_>) -> Vec<Decider> {
    const OF_GROUP: u32 = 0o020;
    let mode = split.value(&["-m", "--mode"]).unwrap_or("755");
    let bits = u32::from_str_radix(mode, 8).ok();
    let group = split.value(&["-g", "--group"]);
    let opens = match (bits, group) {
        // The right of a group that is named is one of its members.
        (Some(bits), Some(_)) => bits & OPEN & !OF_GROUP != 0,
        _ => opens(mode),
    };
    let owner = split.value(&["-o", "--owner"]);
    let owner = owner.into_iter().flat_map(|name| of_user(facts, name));
    let group = group.filter(|_| bits.is_none_or(|bits| bits & OF_GROUP != 0));
    let group = group.into_iter().flat_map(|name| of_group(facts, name));
    let opens = opens.then_some(None);
    opens.into_iter().chain(owner).chain(group).collect()
}

/// What gets the right to write what rsync(1) makes.
fn synchronized_rights(facts: &Facts, split: &SplitWords<'_>) -> Vec<Decider> {
    let owners = split.values(&["--chown"]);
    let owners = owners.flat_map(|owners| of_owners(facts, owners));
    let users = split.values(&["--usermap"]).flat_map(mapped_names);
    let users = users.flat_map(|name| of_user(facts, name));
    let groups = split.values(&["--groupmap"]).flat_map(mapped_names);
    let groups = groups.flat_map(|name| of_group(facts, name));
    let mut modes = split.values(&["--chmod"]).flat_map(|all| all.split(','));
    let opens = modes.any(|mode| opens(mode.trim_start_matches(['D', 'F'])));
    let opens = opens.then_some(None);
    opens
        .into_iter()
        .chain(owners)
        .chain(users)
        .chain(groups)
        .collect()
}

/// The new names of `OLD:NEW,OLD:NEW`.
fn mapped_names(map: &str) -> impl Iterator<Item = &str> {
    map.split(',').filter_map(|one| one.rsplit(':').next())
}

/// Bits of a mode by which more than the owner can write, or whose program gets an account.
const OPEN: u32 = 0o6022;

/// Returns true for a mode of chmod(1) in which more than the owner may write, or which is not understood, or is `$NAME` for one
/// that the caller chooses.
fn opens(mode: &str) -> bool {
    u32::from_str_radix(mode, 8).map_or_else(
        |_| mode.contains(['w', 's', 'u', 'g', 'o', '=', '$']) && !mode.starts_with("go-"),
        |bits| bits & OPEN != 0,
    )
}

/// Whose right a file is that gets `USER:GROUP`, as chown(1) reads it.
fn of_owners(facts: &Facts, owners: &str) -> Vec<Decider> {
    let is_user = facts.accounts.uid(owners).is_some();
    let both = owners.split_once(':').or_else(|| owners.split_once('.'));
    let (user, group) = both.filter(|_| !is_user).unwrap_or((owners, ""));
    let user = of_user(facts, user).into_iter();
    user.chain(of_group(facts, group)).collect()
}

fn of_user(facts: &Facts, name: &str) -> Vec<Decider> {
    match facts.accounts.uid(name).or_else(|| name.parse().ok()) {
        Some(0) => Vec::new(),
        None if name.is_empty() => Vec::new(),
        uid => vec![uid.map(Atom::Account)],
    }
}

fn of_group(facts: &Facts, name: &str) -> Vec<Decider> {
    match facts.accounts.gid(name).or_else(|| name.parse().ok()) {
        Some(0) => Vec::new(),
        None if name.is_empty() => Vec::new(),
        gid => vec![gid.map(Atom::Member)],
    }
}

/// The atoms of writing this as root, or a file beneath it. A new one is a change of its directory.
pub(super) fn written_as(facts: &Facts, target: &WriteTarget) -> Vec<Atom> {
    let file = match target {
        WriteTarget::Account(uid) => return vec![Atom::Account(*uid)],
        WriteTarget::Members(gid) => return vec![Atom::Member(*gid)],
        WriteTarget::File(file) => file,
    };
    let is_new = facts
        .ways
        .get(file)
        .is_some_and(|way| matches!(way.end, End::Missing(_)));
    let above = file.parent().filter(|_| is_new);
    let known = facts.ways.range(file..).map(|(path, _)| path);
    let known = known.take_while(|path| path.as_bytes().starts_with(file.as_bytes()));
    let known = known.filter(|path| path.is_beneath(file));
    let above = above.as_ref();
    let above = above.filter(|above| facts.ways.contains_key(*above));
    let known = known.chain(above);
    let atoms = known.flat_map(|path| {
        let as_root = super::files::as_root(facts, path);
        [Atom::Change(path.clone()), as_root]
    });
    atoms.collect()
}
