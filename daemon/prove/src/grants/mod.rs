//! What the policy lets accounts do without another person, as plain data. Calls that ask for an approval are counted, and
//! followed if a person permits them.

mod command;
mod permission;

use std::collections::{BTreeSet, HashSet};

use remit_common::prove::{PermittedCall, PermittedGrant, PermittedTo};
use remit_common::wire::Effect;
use remit_policy::{Access, CallerIds, Command, Named, Part, Policy, Profile, User, Verdict, Word};

use crate::accounts::Accounts;
use crate::path::FilePath;
pub use command::unit_name;
use permission::PermittedBy;
pub use permission::What;

/// Accounts that are asked about.
const ACCOUNTS: usize = 5000;

/// A uid that no account has: that of a throw-away account.
pub const JOB: u32 = u32::MAX - 2;

/// What accounts may do without another person, before it is known what that leads to.
#[derive(Clone, Debug)]
pub struct Rights<'q> {
    pub policy: &'q Policy,
    pub in_advance: Vec<&'q PermittedGrant>,
    pub calls: Vec<&'q PermittedCall>,
    /// Each change needs a person, whatever a rule or a temporary grant says.
    pub asks_for_changes: bool,
}

#[derive(Debug, Default)]
pub struct Grants {
    pub profiles: Vec<ProfileFact>,
    pub granted: Vec<Granted>,
    /// Calls that need another person, and so are not followed: account and command.
    pub asking: usize,
    /// Accounts that were not asked about.
    pub left_out: usize,
}

/// A sandbox with more rights than a throw-away account, or none.
#[derive(Debug, PartialEq, Eq)]
pub struct ProfileFact {
    pub name: String,
    /// `None`: a throw-away account for each job.
    pub uid: Option<u32>,
    pub gids: Vec<u32>,
    pub capabilities: u64,
    pub is_host: bool,
    pub writes: Vec<String>,
    pub sockets: Vec<String>,
}

/// A command runs this program in this profile.
#[derive(Debug, PartialEq, Eq)]
pub struct ProgramFact {
    pub command: String,
    pub profile: String,
    /// `None`: a throw-away account.
    pub uid: Option<u32>,
    pub argv: Vec<String>,
    pub directory: String,
    pub rule: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    pub uid: u32,
    pub what: What,
    /// The rule's name, file and line; or what else permits it.
    pub rule: String,
    /// The change that ends it.
    pub fix: Option<String>,
    pub command: String,
}

impl Granted {
    fn effect(&self) -> (u32, &What, &str) {
        (self.uid, &self.what, &self.command)
    }
}

/// Returns the commands that lead to anything, whatever their arguments are.
pub fn names_that_matter(policy: &Policy) -> BTreeSet<String> {
    let called = programs(policy).into_iter().map(|one| one.command);
    let commands = policy.commands().filter(|one| command::leads_on(one));
    called.chain(commands.map(|one| one.name.clone())).collect()
}

/// Returns true if each program of the commands is one of `other` in the same profile.
pub fn programs_are_within(policy: &Policy, other: &Policy) -> bool {
    let effect = |one: ProgramFact| (one.command, one.profile, one.uid, one.argv, one.directory);
    let known: HashSet<_> = programs(other).into_iter().map(effect).collect();
    programs(policy)
        .into_iter()
        .all(|one| known.contains(&effect(one)))
}

impl Grants {
    /// Returns true if each permission is one of `other`, by whatever rule: then nothing more follows from them.
    pub fn is_within(&self, other: &Self) -> bool {
        let granted: HashSet<_> = other.granted.iter().map(Granted::effect).collect();
        let mut own = self.granted.iter();
        own.all(|one| granted.contains(&one.effect()))
            && self.profiles.iter().all(|one| other.profiles.contains(one))
            && self.left_out <= other.left_out
    }

    /// Returns the paths that permissions name to be written or changed.
    pub fn named(&self) -> impl Iterator<Item = FilePath> {
        self.granted.iter().flat_map(|one| match &one.what {
            What::Input { files, .. } => files.iter().filter_map(FilePath::new).collect(),
            What::Commit { beneath } => beneath.clone(),
            What::Call | What::Start(_) | What::StartTyped(_) => Vec::new(),
        })
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.is_within(other) && other.is_within(self)
    }

    pub fn of(rights: &Rights<'_>, accounts: &Accounts, units: &BTreeSet<String>) -> Self {
        let mut grants = Self::default();
        let policy = rights.policy;
        let profiles = policy
            .profiles()
            .filter_map(|profile| profile_fact(profile));
        grants.profiles.extend(profiles);
        let called: HashSet<String> = programs(policy)
            .into_iter()
            .map(|one| one.command)
            .collect();
        let users = accounts.users.iter().filter(|(_, user)| user.uid != 0);
        grants.left_out = users.clone().count().saturating_sub(ACCOUNTS);
        for (name, user) in users.take(ACCOUNTS) {
            let gids = accounts.gids(name);
            let caller = CallerIds {
                uid: user.uid,
                gids: &gids,
            };
            let mut add = |command: &Command, permission: &PermittedBy<'_>| {
                let is_called = called.contains(&command.name);
                let effects = permission.effects(command, is_called, units);
                grants
                    .granted
                    .extend(effects.into_iter().map(|what| Granted {
                        uid: user.uid,
                        what,
                        rule: permission.by(),
                        fix: permission.fix(),
                        command: command.name.clone(),
                    }));
            };
            let in_advance = rights.in_advance.iter().filter(|one| match one.to {
                PermittedTo::User(uid) => uid == user.uid,
                PermittedTo::Group(gid) => gids.contains(&gid),
            });
            let Access { commands, .. } = policy.access(caller);
            for usable in &commands {
                let Named::Command(command) = usable.named else {
                    continue;
                };
                let is_asked = !matches!(usable.verdict(), Verdict::Allow(_));
                grants.asking = grants.asking.saturating_add(is_asked.into());
                // Then neither a rule nor a grant starts anything.
                if rights.asks_for_changes && command.effect == Effect::Change {
                    continue;
                }
                add(command, &PermittedBy::Rule(usable));
                let of_command = in_advance
                    .clone()
                    .filter(|one| one.commands.contains(&command.name));
                for grant in of_command {
                    add(command, &PermittedBy::Advance(usable, grant));
                }
            }
            for call in rights.calls.iter().filter(|call| call.uid == user.uid) {
                let command = policy.commands().find(|one| one.name == call.command);
                if let Some(command) = command {
                    add(command, &PermittedBy::Call(call));
                }
            }
        }
        grants
    }
}

/// Returns `None` if code in this profile has no more rights than without it.
fn profile_fact(profile: &Profile) -> Option<ProfileFact> {
    let mut gids = profile.groups.clone();
    let uid = match profile.user {
        User::Fixed { uid, gid, .. } => {
            gids.push(gid);
            Some(uid)
        }
        User::Own if gids.is_empty() && profile.capabilities == 0 => return None,
        User::Own => None,
    };
    let paths = |list: &[remit_policy::Listed]| list.iter().map(|one| one.path.clone()).collect();
    Some(ProfileFact {
        name: profile.name.clone(),
        uid,
        gids,
        capabilities: profile.capabilities,
        is_host: profile.base == remit_policy::Base::Host,
        writes: paths(&profile.write),
        sockets: paths(&profile.sockets),
    })
}

pub fn programs(policy: &Policy) -> Vec<ProgramFact> {
    let commands = policy.commands();
    commands
        .filter_map(|command| program_fact(command))
        .collect()
}

fn program_fact(command: &Command) -> Option<ProgramFact> {
    let uid = profile_fact(&command.profile)?.uid;
    let words = command.argv.iter().map(|part| match part {
        // A hyphen before the program means that it may be missing.
        Part::Word(Word::Literal(word)) => Some(
            word.strip_prefix('-')
                .filter(|word| word.starts_with('/'))
                .unwrap_or(word)
                .to_owned(),
        ),
        Part::Word(_) | Part::Group(_) => None,
    });
    Some(ProgramFact {
        command: command.name.clone(),
        profile: command.profile.name.clone(),
        uid,
        argv: words.map_while(|word| word).collect(),
        directory: command.cwd.clone(),
        rule: command.id.to_string(),
    })
}
