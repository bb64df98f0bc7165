//! Accounts and commands that lists and aliases of sudoers(5) name, each worked out once and bounded: aliases of aliases can
//! name billions.

use std::collections::{BTreeMap, BTreeSet};

use crate::look::Look;
use crate::path::FilePath;

/// Depth of aliases in aliases.
const ALIASES: usize = 64;
/// Accounts that lists name, and commands of aliases.
const STEPS: usize = 1_000_000;

/// Kinds of aliases: those of two kinds may have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AliasKind {
    User,
    Runas,
    Host,
    Command,
}

/// Members of each alias.
pub type Aliases = BTreeMap<(AliasKind, Vec<u8>), Vec<Vec<u8>>>;

/// Uids of lists and aliases, each worked out once: aliases of aliases name the same accounts again and again.
#[derive(Debug)]
pub struct Lists<'a> {
    aliases: &'a Aliases,
    known: BTreeMap<(AliasKind, Vec<u8>), BTreeSet<u32>>,
    steps: usize,
    /// Gids that lists name.
    pub groups: BTreeSet<u32>,
    /// Programs of which it is not known what their arguments do, by the file that permits them.
    pub unjudged: BTreeMap<FilePath, BTreeSet<FilePath>>,
}

impl<'a> Lists<'a> {
    pub fn new(aliases: &'a Aliases) -> Self {
        Self {
            aliases,
            known: BTreeMap::new(),
            steps: 0,
            groups: BTreeSet::new(),
            unjudged: BTreeMap::new(),
        }
    }

    /// Counts what is done. Returns false beyond the bound, which is then in the answer.
    pub fn may(&mut self, look: &Look<'_>, steps: usize) -> bool {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS {
            let why = "it permits too much: not all of it was looked at";
            look.machine.unknown(&FilePath::fixed("/etc/sudoers"), why);
        }
        self.steps <= STEPS
    }

    /// Returns the uids that a list names, with aliases of this kind; a later `!` takes some back.
    pub fn accounts(
        &mut self,
        look: &Look<'_>,
        kind: AliasKind,
        list: &[Vec<u8>],
        depth: usize,
    ) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        for word in list {
            let negations = word.iter().take_while(|byte| **byte == b'!').count();
            let word = word.get(negations..).unwrap_or_default().trim_ascii();
            let word = &plain(word);
            let named = self.named(look, kind, word, depth);
            if !self.may(look, named.len().saturating_add(1)) {
                break;
            }
            match negations % 2 {
                0 => found.extend(named),
                _ => found.retain(|uid| !named.contains(uid)),
            }
        }
        found
    }

    fn named(
        &mut self,
        look: &Look<'_>,
        kind: AliasKind,
        word: &[u8],
        depth: usize,
    ) -> BTreeSet<u32> {
        let key = (kind, word.to_vec());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        // An alias of itself names no account by that: sudo refuses it.
        self.known.insert(key.clone(), BTreeSet::new());
        let accounts = &look.facts.accounts;
        let text = String::from_utf8_lossy(word);
        let named: BTreeSet<u32> = match text.as_bytes() {
            b"ALL" => accounts.users.values().map(|user| user.uid).collect(),
            [b'+', ..] | [b'%', b':', ..] => {
                let why = "members of netgroups and of groups of other databases are not known";
                look.machine.unknown(&FilePath::fixed("/etc/sudoers"), why);
                BTreeSet::new()
            }
            [b'%', rest @ ..] => {
                let name = text.get(1..).unwrap_or_default();
                let gid = match rest {
                    [b'#', ..] => name.get(1..).and_then(|gid| gid.parse().ok()),
                    _ => accounts.gid(name),
                };
                self.groups.extend(gid);
                let members = gid.into_iter().flat_map(|gid| accounts.members(gid));
                members.map(|(_, uid)| uid).collect()
            }
            [b'#', ..] => text
                .get(1..)
                .and_then(|uid| uid.parse().ok())
                .into_iter()
                .collect(),
            _ => match self.aliases.get(&key) {
                Some(_) if depth >= ALIASES => {
                    let why = "aliases name one another too deeply";
                    look.machine.unknown(&FilePath::fixed("/etc/sudoers"), why);
                    BTreeSet::new()
                }
                Some(alias) => self.accounts(look, kind, alias, depth.saturating_add(1)),
                None => accounts.uid(&text).into_iter().collect(),
            },
        };
        self.may(look, accounts.users.len());
        self.known.insert(key, named.clone());
        named
    }

    /// Returns a command, or those of an alias, each alias once.
    pub fn expand(&mut self, look: &Look<'_>, command: &[u8]) -> Vec<Vec<u8>> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let mut left = vec![command.to_vec()];
        while let Some(command) = left.pop() {
            if !self.may(look, 1) {
                break;
            }
            let key = (AliasKind::Command, command);
            match self.aliases.get(&key) {
                Some(alias) => {
                    if seen.insert(key) {
                        left.extend(alias.iter().rev().cloned());
                    }
                }
                None => found.push(key.1),
            }
        }
        found
    }
}

/// Returns a name without quotes and backslashes: `\x20` is the byte of that number.
fn plain(word: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'"', _) => {}
            (b'\\', [b'x', digits @ ..]) if number(digits).is_some() => {
                found.extend(number(digits));
                rest = digits.get(2..).unwrap_or_default();
            }
            (b'\\', [escaped, after @ ..]) => {
                found.push(*escaped);
                rest = after;
            }
            (byte, _) => found.push(*byte),
        }
    }
    found
}

/// The byte of two hexadecimal digits.
fn number(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}
