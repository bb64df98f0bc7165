//! What was found on a machine, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use remit_common::text;

use crate::accounts::Accounts;
use crate::machine::Unknown;
use crate::machine::entry::Way;
use crate::machine::entry::{Entry, Holder};
use crate::path::FilePath;
use crate::rule::RuleId;

/// Bytes of a source's line that are shown.
const SHOWN: usize = 160;

#[derive(Debug, Default)]
pub struct Facts {
    pub accounts: Accounts,
    pub obeys: Vec<Obeys>,
    pub sudo: Vec<SudoRule>,
    pub permits: Vec<Permit>,
    pub set_ids: Vec<SetId>,
    /// Sockets and devices: who can write them has this account.
    pub powerful: Vec<Obeys>,
    /// Units of the service manager that exist, templates with their `@`.
    pub units: BTreeSet<String>,
    /// Templates that give the text behind `@` to a program: unit, uid, program, where.
    pub templates: Vec<(String, u32, Vec<u8>, Source)>,
    /// Units that start because another one does: this one, the other, where.
    pub pulls: Vec<(String, String, Source)>,
    /// Words by which root has units started, the program first: when, where.
    pub starts: Vec<(When, Vec<String>, Source)>,
    /// Programs of root that write as their words say, and editors and pagers that a person gets by sudo(8).
    pub writers: Vec<Writer>,
    pub unit_rights: Vec<UnitRights>,
    /// Accounts that the same key opens: two uids, and where the second lists it.
    pub same_keys: Vec<SameKey>,
    /// Accounts that su(1) and login(1) ask for no password, and where that is written.
    pub open_accounts: Vec<(u32, Source)>,
    /// Uids that sudo(8) asks for no password.
    pub without_password: BTreeSet<u32>,
    /// Gids of groups whose members sudo(8) trusts, or that approve.
    pub strong_groups: BTreeSet<u32>,
    /// Of the files whose presence alone matters, those that exist.
    pub present: BTreeSet<String>,
    /// Of the paths above: where they lead.
    pub ways: BTreeMap<FilePath, Way>,
    pub files: BTreeMap<FilePath, Entry>,
    pub unknown: Vec<Unknown>,
    /// Unknown parts that are not listed.
    pub more_unknown: usize,
}

impl Facts {
    /// Takes the quoted lines out of sources that not everybody may read: whoever reads the answer may be somebody else.
    pub fn hide_private(&mut self) {
        let Self {
            obeys,
            sudo,
            permits,
            powerful,
            templates,
            pulls,
            starts,
            writers,
            open_accounts,
            unit_rights,
            same_keys,
            files,
            ..
        } = self;
        let keys = same_keys.iter_mut();
        let rights = unit_rights.iter_mut().flat_map(|one| &mut one.rights);
        let sources = (obeys.iter_mut().chain(powerful).map(|one| &mut one.source))
            .chain(sudo.iter_mut().map(|one| &mut one.source))
            .chain(permits.iter_mut().map(|one| &mut one.source))
            .chain(templates.iter_mut().map(|(_, _, _, source)| source))
            .chain(pulls.iter_mut().map(|(_, _, source)| source))
            .chain(starts.iter_mut().map(|(_, _, source)| source))
            .chain(writers.iter_mut().map(|one| &mut one.source))
            .chain(open_accounts.iter_mut().map(|(_, source)| source))
            .chain(rights.map(|(_, source)| source))
            .chain(keys.flat_map(|one| [&mut one.listed, &mut one.also]));
        for source in sources {
            let entry = files.get(&source.file);
            let is_public = entry.is_some_and(|entry| entry.mode & 0o004 != 0);
            if !is_public && !source.file.is_beneath(&FilePath::fixed("/etc/remit")) {
                source.text.clear();
            }
        }
    }
}

/// An account does what a file says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obeys {
    pub uid: u32,
    pub file: FilePath,
    pub rule: RuleId,
    pub when: When,
    pub source: Source,
    /// The program that reads it refuses it unless it is root's, and only root can write it.
    pub is_of_root: bool,
}

/// What has to happen before an account reads or executes a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// It happens without anybody's help: at boot, by a timer, at a login.
    ByItself,
    /// Somebody has this unit started.
    Started(String),
    /// This unit runs, with rights that its account does not have. `needs_start`: only if somebody has it started.
    Unit { name: String, needs_start: bool },
    /// Somebody calls this command of the policy, which runs it in this profile.
    Called { command: String, profile: String },
    /// Somebody runs this program by sudo(8).
    Sudo { program: FilePath, runas: u32 },
}

/// Where a fact was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub file: FilePath,
    /// From 1; 0 is the whole file.
    pub line: usize,
    pub text: String,
}

impl Source {
    pub fn whole(file: &FilePath) -> Self {
        Self {
            file: file.clone(),
            line: 0,
            text: String::new(),
        }
    }

    pub fn line(file: &FilePath, line: usize, bytes: &[u8]) -> Self {
        Self {
            file: file.clone(),
            line,
            text: text::line(bytes.trim_ascii(), SHOWN),
        }
    }

    /// Says that a file which `self` executes mentions another.
    #[must_use]
    pub fn mentioned(&self, file: &FilePath, line: usize, bytes: &[u8]) -> Self {
        let own = Self::line(file, line, bytes);
        Self {
            text: format!("{} (mentioned by a script of {self})", own.text),
            ..own
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.text.as_str()) {
            (0, "") => write!(f, "{}", self.file),
            (0, text) => write!(f, "{}: {text}", self.file),
            (line, "") => write!(f, "{}:{line}", self.file),
            (line, text) => write!(f, "{}:{line}: {text}", self.file),
        }
    }
}

/// Root runs such a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    pub when: When,
    /// The program's name first.
    pub words: Vec<String>,
    /// Of relative files.
    pub directory: Option<FilePath>,
    /// What it reads from its standard input is its caller's.
    pub has_input: bool,
    pub source: Source,
}

/// What the processes of a unit have beyond their account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitRights {
    pub unit: String,
    /// `None`: an account that is not known, or is made for each run.
    pub uid: Option<u32>,
    /// Gids, or `None` for capabilities that lead to root, and where each is written.
    pub rights: Vec<(Option<u32>, Source)>,
}

/// A key that is listed for two accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameKey {
    pub of: u32,
    pub opens: u32,
    pub listed: Source,
    pub also: Source,
}

/// One permission of sudoers(5), for accounts that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SudoRule {
    /// Uids.
    pub of: BTreeSet<u32>,
    pub runas: u32,
    pub password: bool,
    /// The caller may set variables.
    pub sets_variables: bool,
    pub command: SudoCommand,
    pub source: Source,
}

/// A rule of polkit or PAM that answers yes to somebody, about an action that leads to root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Why it leads to root, without units.
    pub rule: RuleId,
    pub users: BTreeSet<u32>,
    pub groups: BTreeSet<u32>,
    /// It names neither, or it is not known whom it names.
    pub is_for_all: bool,
    /// Empty: all units.
    pub units: Vec<String>,
    pub source: Source,
}

/// A program that gives this account or group to who executes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetId {
    pub gives: Holder,
    pub program: FilePath,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SudoCommand {
    All,
    /// An editor on a copy, whose result replaces this file.
    Edit(FilePath),
    Program {
        path: FilePath,
        /// `None`: any arguments.
        args: Option<Vec<u8>>,
    },
}

/// Returns true if arguments of sudoers(5) have a star that matches: one behind a backslash is itself.
pub fn has_star(args: &[u8]) -> bool {
    let mut is_escaped = false;
    args.iter().any(|byte| {
        let is_star = *byte == b'*' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_star
    })
}

/// `a@.service` of `a@b.service`.
pub fn template(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}
