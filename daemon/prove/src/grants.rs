//! What the policy lets accounts do without another person, as plain data. Calls that ask for an approval are counted.

use std::collections::HashSet;

use remit_common::service::is_protected;
use remit_policy::{
    Access, CallerIds, Command, Named, Param, ParamKind, Part, Policy, Profile, Stdin, Usable,
    User, Verdict, Word,
};
use remit_programs::Class;

use crate::accounts::Accounts;

/// Accounts that are asked about.
const ACCOUNTS: usize = 5000;

/// A uid that no account has: that of a throw-away account.
pub const JOB: u32 = u32::MAX - 2;

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
    pub rule: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    pub uid: u32,
    pub what: What,
    /// The rule's name, file and line.
    pub rule: String,
    pub command: String,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Calling it is possible.
    Call,
    /// It has this unit started.
    Start(String),
    /// It has this template started with a text of the caller.
    StartTyped(String),
    /// A program writes what the caller gives to files: at or beneath these, or if there are none, anywhere that its
    /// profile writes.
    Input { profile: String, files: Vec<String> },
    /// It commits changes of files beneath these; empty is any path.
    Commit { beneath: Vec<Vec<u8>> },
}

impl Granted {
    fn effect(&self) -> (u32, &What, &str) {
        (self.uid, &self.what, &self.command)
    }
}

/// Returns true if each program of the commands is one of `other` in the same profile.
pub fn programs_are_within(policy: &Policy, other: &Policy) -> bool {
    let effect = |one: ProgramFact| (one.command, one.profile, one.uid, one.argv);
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

    /// `units` are those of the machine, templates with their `@`.
    pub fn from_policy<'a>(
        policy: &Policy,
        accounts: &Accounts,
        units: impl Iterator<Item = &'a String> + Clone,
    ) -> Self {
        let mut grants = Self::default();
        let profiles = policy
            .profiles()
            .filter_map(|profile| profile_fact(profile));
        grants.profiles.extend(profiles);
        let users = accounts.users.iter().filter(|(_, user)| user.uid != 0);
        grants.left_out = users.clone().count().saturating_sub(ACCOUNTS);
        for (name, user) in users.take(ACCOUNTS) {
            let gids = accounts.gids(name);
            let caller = CallerIds {
                uid: user.uid,
                gids: &gids,
            };
            let Access { commands, .. } = policy.access(caller);
            for usable in &commands {
                grants.usable(user.uid, usable, units.clone());
            }
        }
        grants
    }

    fn usable<'a>(
        &mut self,
        uid: u32,
        usable: &Usable<'_>,
        units: impl Iterator<Item = &'a String>,
    ) {
        let Named::Command(command) = usable.named else {
            return;
        };
        let mut add = |what: What| {
            self.granted.push(Granted {
                uid,
                what,
                rule: usable.rule.to_string(),
                command: command.name.clone(),
            });
        };
        if let Some((param, instances)) = starts_unit(command) {
            let is_own = literal(command, 0).ends_with("/remit-act");
            for unit in units.filter(|unit| !is_own || is_protected(unit).is_none()) {
                let value = match template_instance(unit) {
                    Some(_) if !instances => continue,
                    Some(instance) => instance,
                    None => unit.clone(),
                };
                let args = [(param.name.clone(), value)];
                if usable.is_about(&args) && matches!(usable.verdict_of(&args), Verdict::Allow(_)) {
                    add(match template_instance(unit) {
                        Some(_) => What::StartTyped(unit.clone()),
                        None => What::Start(unit.clone()),
                    });
                }
            }
        }
        if !matches!(usable.verdict(), Verdict::Allow(_)) {
            self.asking = self.asking.saturating_add(1);
            return;
        }
        add(What::Call);
        for unit in literal_unit(command) {
            add(What::Start(unit));
        }
        if let Some(files) = writes_input(command) {
            let profile = command.profile.name.clone();
            add(What::Input { profile, files });
        }
        if command.is_commit() {
            let paths = usable.only.paths.iter();
            let beneath = paths.map(|path| path.as_bytes().to_vec()).collect();
            add(What::Commit { beneath });
        }
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
        rule: command.id.to_string(),
    })
}

fn literal(command: &Command, at: usize) -> &str {
    match command.argv.get(at) {
        Some(Part::Word(Word::Literal(word))) => word.strip_prefix('-').unwrap_or(word),
        _ => "",
    }
}

fn is_systemctl(command: &Command) -> bool {
    let verbs = [
        "start",
        "restart",
        "reload",
        "try-restart",
        "reload-or-restart",
        "stop",
    ];
    let program = literal(command, 0);
    let acts = program.ends_with("/remit-act") && literal(command, 1) == "unit";
    (acts && verbs.contains(&literal(command, 2)))
        || (program.ends_with("/systemctl") && command.argv.iter().any(|part| matches!(part, Part::Word(Word::Literal(word)) if verbs.contains(&word.as_str()))))
}

fn starts_unit(command: &Command) -> Option<(&Param, bool)> {
    let params = command.params.iter().filter(|_| is_systemctl(command));
    let mut units = params.filter_map(|param| match param.kind {
        ParamKind::Unit { instances } => Some((param, instances)),
        ParamKind::Text { .. } => Some((param, true)),
        _ => None,
    });
    units.next()
}

fn literal_unit(command: &Command) -> Vec<String> {
    let words = command.argv.iter().filter(|_| is_systemctl(command));
    let words = words.filter_map(|part| match part {
        Part::Word(Word::Literal(word)) => Some(word),
        _ => None,
    });
    let is_unit = |word: &&String| {
        word.rsplit_once('.')
            .is_some_and(|(stem, _)| !stem.contains('/'))
    };
    words.filter(is_unit).cloned().collect()
}

/// Returns where a program writes what the caller gives. `None`: it writes nothing of it. A program that would execute
/// it is refused when the policy is loaded.
fn writes_input(command: &Command) -> Option<Vec<String>> {
    const INPUT: [&str; 6] = ["tee", "dd", "sponge", "patch", "cpio", "tar"];
    const FILES: [&str; 8] = ["cp", "install", "mv", "ln", "rsync", "tar", "unzip", "tee"];
    let name = literal(command, 0).rsplit('/').next().unwrap_or_default();
    let has_input = command.stdin == Stdin::Caller && INPUT.contains(&name);
    let is_chosen =
        |param: &Param| matches!(param.kind, ParamKind::Text { .. } | ParamKind::Path { .. });
    let is_chosen_path = command.params.iter().any(is_chosen)
        && (FILES.contains(&name) || writes_file(command, name));
    if !has_input && !is_chosen_path {
        return None;
    }
    let words = (1..command.argv.len()).map(|at| literal(command, at));
    let files = words.map(|word| word.strip_prefix("of=").unwrap_or(word));
    let files = files.filter(|word| word.starts_with('/'));
    Some(files.map(str::to_owned).collect())
}

/// Returns true if one of its options names a file to write, as `curl -o`.
fn writes_file(command: &Command, name: &str) -> bool {
    let Some(Class::Tool(tool)) = remit_programs::known(name).map(|program| &program.class) else {
        return false;
    };
    (1..command.argv.len()).any(|at| tool.writes.contains(&literal(command, at)))
}

/// An instance that no rule names, to ask whether any text is permitted.
fn template_instance(unit: &str) -> Option<String> {
    let (prefix, suffix) = unit.split_once("@.")?;
    Some(format!("{prefix}@remit-prove-asks.{suffix}"))
}
