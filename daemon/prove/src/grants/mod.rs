//! What the policy lets accounts do without another person, as plain data. Calls that ask for an approval are counted, and
//! followed if a person permits them.

mod calls;
mod command;
mod permission;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use remit_common::prove::{PermittedCall, PermittedGrant, PermittedTo};
use remit_common::wire::Effect;
use remit_policy::{Access, CallerIds, Command, Named, Policy, Profile, User, Verdict};

use crate::accounts::Accounts;
use crate::path::FilePath;
use calls::CallWords;
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
    /// Of its commands.
    pub programs: Rc<[ProgramFact]>,
    pub in_advance: Vec<&'q PermittedGrant>,
    pub calls: Vec<&'q PermittedCall>,
    /// Each change needs a person, whatever a rule or a temporary grant says.
    pub asks_for_changes: bool,
}

#[derive(Debug, Default)]
pub struct Grants {
    pub profiles: Vec<ProfileFact>,
    pub programs: Rc<[ProgramFact]>,
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
    pub words: CallWords,
    /// The caller writes what it reads.
    pub has_input: bool,
    pub directory: String,
    /// `NAME=value`.
    pub variables: Vec<String>,
    pub rule: String,
}

/// As whom, where, with which input and variables, and with which words.
type CallEffect<'f> = (
    (&'f str, &'f str, Option<u32>),
    (&'f str, bool, &'f BTreeMap<String, String>, &'f [String]),
    (&'f [String], &'f [String]),
);

impl ProgramFact {
    /// Returns what each call does: with the same of another policy it leads to nothing more.
    fn effects(&self) -> impl Iterator<Item = CallEffect<'_>> {
        let calls = self.words.calls.iter();
        calls.map(|call| {
            let run_as = (self.command.as_str(), self.profile.as_str(), self.uid);
            let reads = (
                self.directory.as_str(),
                self.has_input,
                &self.words.chosen,
                self.variables.as_slice(),
            );
            let words = (call.as_slice(), self.words.unlisted.as_slice());
            (run_as, reads, words)
        })
    }

    /// Returns a sentence about calls that are not looked at. `None`: all are.
    pub fn left_out(&self) -> Option<String> {
        let is_left_out = !self.words.unlisted.is_empty();
        is_left_out.then(|| {
            let command = &self.command;
            format!("command {command} has too many combinations of words: not all are looked at")
        })
    }
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
    let commands = policy.commands();
    let commands = commands.filter(|one| is_called(one) || command::leads_on(one));
    commands.map(|one| one.name.clone()).collect()
}

/// Returns true if its program has more rights than without the command.
fn is_called(command: &Command) -> bool {
    profile_fact(&command.profile).is_some()
}

/// What programs do that others do not.
#[derive(Debug)]
pub struct NewPrograms {
    pub is_empty: bool,
    /// Sentences about their calls that are not looked at.
    pub left_out: Vec<String>,
}

/// Compares the programs of the commands of a policy with those of another, in the same profiles.
pub fn new_programs(own: &[ProgramFact], other: &[ProgramFact]) -> NewPrograms {
    let known: HashSet<_> = other.iter().flat_map(ProgramFact::effects).collect();
    let is_new = |one: &&ProgramFact| one.effects().any(|effect| !known.contains(&effect));
    let new: Vec<&ProgramFact> = own.iter().filter(is_new).collect();
    NewPrograms {
        is_empty: new.is_empty(),
        left_out: new.iter().filter_map(|one| one.left_out()).collect(),
    }
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

    /// Returns the units that permissions have started.
    pub fn started(&self) -> impl Iterator<Item = &str> {
        self.granted.iter().filter_map(|one| match &one.what {
            What::Start(unit) => Some(unit.as_str()),
            _ => None,
        })
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.is_within(other) && other.is_within(self)
    }

    pub fn of(rights: &Rights<'_>, accounts: &Accounts, units: &BTreeSet<String>) -> Self {
        let mut grants = Self {
            programs: Rc::clone(&rights.programs),
            ..Self::default()
        };
        let policy = rights.policy;
        let profiles = policy
            .profiles()
            .filter_map(|profile| profile_fact(profile));
        grants.profiles.extend(profiles);
        let commands = policy.commands().filter(|command| is_called(command));
        let called: HashSet<&str> = commands.map(|command| command.name.as_str()).collect();
        let users = accounts.users.iter().filter(|(_, user)| user.uid != 0);
        grants.left_out = users.clone().count().saturating_sub(ACCOUNTS);
        for (name, user) in users.take(ACCOUNTS) {
            let gids = accounts.gids(name);
            let caller = CallerIds {
                uid: user.uid,
                gids: &gids,
            };
            let mut add = |command: &Command, permission: &PermittedBy<'_>| {
                let is_called = called.contains(command.name.as_str());
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

pub fn programs(policy: &Policy) -> Rc<[ProgramFact]> {
    let commands = policy.commands();
    commands
        .filter_map(|command| program_fact(command))
        .collect()
}

fn program_fact(command: &Command) -> Option<ProgramFact> {
    let uid = profile_fact(&command.profile)?.uid;
    let mut variables = command.profile.env.clone();
    variables.extend(command.env.clone());
    let variables = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    Some(ProgramFact {
        command: command.name.clone(),
        profile: command.profile.name.clone(),
        uid,
        words: CallWords::new(command),
        has_input: command::has_input(command),
        directory: command.cwd.clone(),
        variables: variables.collect(),
        rule: command.id.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use remit_policy::{Ids, MachineTable, Source};

    use super::*;

    fn policy(commands: &str) -> Policy {
        let text = format!(
            "{commands}[profile.bare]\nbase = 'host'\nuser = 'root'\n\
             [profile.other]\nbase = 'host'\nuser = 'root'\n"
        );
        let source = Source {
            name: "a.toml".into(),
            text: text.into_bytes(),
        };
        let root = ("root".to_owned(), Ids { uid: 0, gid: 0 });
        let machine = MachineTable {
            users: [root].into_iter().collect(),
            ..MachineTable::default()
        };
        let policy = remit_policy_compile::load(&[source], &machine);
        let (policy, _) = policy.unwrap_or_else(|found| unreachable!("{}", found[0]));
        policy
    }

    fn command(argv: &str, args: &str) -> Policy {
        policy(&format!(
            "[[command]]\nname = 'x.do'\nsummary = 'X'\nargv = [{argv}]\neffect = 'change'\nprofile = 'bare'\n{args}\n"
        ))
    }

    fn calls(argv: &str, args: &str) -> Vec<String> {
        let programs = programs(&command(argv, args));
        let calls = programs.iter().flat_map(|one| &one.words.calls);
        calls.map(|call| call.join(" ")).collect()
    }

    const CHECK: &str = "args.check = { type = 'bool', flag = '--check' }";
    const COUNT: &str = "args.n = { type = 'int', min = 1, max = 9 }";
    const PLAY: &str = "args.play = { type = 'enum', values = ['/a', '/b'] }";

    #[test]
    fn words_of_calls_are_those_of_the_definition_and_of_its_lists() {
        let optional = PLAY.replace(" }", ", optional = true }");
        let rows: [(&str, String, &[&str]); 8] = [
            ("'-/p', '-x', 'y'", String::new(), &["/p -x y"]),
            (
                "'/p', '{check}', '/a'",
                CHECK.into(),
                &["/p --check /a", "/p /a"],
            ),
            ("'/p', ['-f', '{n}'], '/a'", COUNT.into(), &["/p -f $n /a"]),
            (
                "'/p', '--forks={n}', '/a'",
                COUNT.into(),
                &["/p --forks=$n /a"],
            ),
            ("'/p', '{play}', 'x'", PLAY.into(), &["/p /a x", "/p /b x"]),
            (
                "'/p', ['-i', '{play}'], 'x'",
                optional,
                &["/p -i /a x", "/p -i /b x", "/p x"],
            ),
            (
                "'/p', '{play}', '--same={play}', '{check}'",
                format!("{PLAY}\n{CHECK}"),
                &[
                    "/p /a --same=/a",
                    "/p /a --same=/a --check",
                    "/p /b --same=/b",
                    "/p /b --same=/b --check",
                ],
            ),
            (
                "'/p', '{account}'",
                "args.account = { type = 'user', default = 'root' }".into(),
                &["/p $account", "/p root"],
            ),
        ];
        for (argv, args, expect) in rows {
            assert_eq!(calls(argv, &args), expect, "{argv}");
        }
    }

    #[test]
    fn combinations_of_words_beyond_the_bound_are_left_out_and_counted_as_new() {
        let names: Vec<String> = (0..10).map(|at| format!("f{at}")).collect();
        let words: Vec<String> = names.iter().map(|name| format!("'{{{name}}}'")).collect();
        let flags = names
            .iter()
            .map(|name| format!("args.{name} = {{ type = 'bool', flag = '--{name}' }}\n"));
        let argv = format!("'/p', {}, '{{play}}'", words.join(", "));
        let args = flags.collect::<String>() + PLAY;
        let many = command(&argv, &args);
        let found = programs(&many);
        let words = &found[0].words;
        assert!(words.calls.len() <= 512 + 4, "{}", words.calls.len());
        assert_eq!(words.unlisted, ["f9=--f9", "play=/a", "play=/b"]);
        assert!(
            words
                .calls
                .iter()
                .any(|call| call.ends_with(&["/b".to_owned()]))
        );
        assert!(found[0].left_out().is_some());
        assert!(new_programs(&found, &found).is_empty);
        let other = programs(&command(&argv, &args.replace("'/b'", "'/c'")));
        let new = new_programs(&other, &found);
        assert!(!new.is_empty && new.left_out.len() == 1, "{new:?}");
    }

    #[test]
    fn program_is_new_by_each_word_that_calls_may_have() {
        let before = command(
            "'/p', '{check}', '{play}', '/a'",
            &format!("{CHECK}\n{PLAY}"),
        );
        let args = format!("{CHECK}\n{PLAY}");
        let rows = [
            ("'/p', '{check}', '{play}', '/a'", args.clone(), true),
            ("'/p', '{check}', '{play}', '/c'", args.clone(), false),
            ("'/p', '{check}', '{play}'", args.clone(), false),
            (
                "'/p', '{check}', '{play}', '/a'",
                args.replace("--check", "--apply"),
                false,
            ),
            (
                "'/p', '{check}', '{play}', '/a'",
                args.replace(", '/b'", ", '/b', '/c'"),
                false,
            ),
            (
                "'/p', '{check}', '{play}', '/a'",
                args.replace(", '/b'", ""),
                true,
            ),
            ("'/p', '{play}', '/a'", PLAY.to_owned(), true),
            (
                "'/p', '{play}', '/a'",
                format!("{PLAY}\nenv = {{ A = 'b' }}"),
                false,
            ),
            (
                "'/p', '{play}', '/a'",
                format!("{PLAY}\ncwd = '/opt'"),
                false,
            ),
        ];
        for (argv, args, expect) in rows {
            let found = new_programs(&programs(&command(argv, &args)), &programs(&before));
            assert_eq!(found.is_empty, expect, "{argv} {args}");
        }
    }
}
