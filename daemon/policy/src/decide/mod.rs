//! The verdict on one request.
//!
//! In this order: an id that can never be granted anything; the first matching
//! `[[deny]]`, by file name and line; the strictest matching `[[grant]]`. One that
//! asks for approval is stricter than one that does not, then the one whose requests
//! are void sooner, then by file name and line. What every matching grant asks for
//! holds together: the approver is somebody whom each of them names, within the least
//! of their times. So another grant never makes anything easier. One grant must list
//! all variables that are asked for: two that each list a half do not add up. A
//! variable is no way around an approval: all that are asked for in the profile hold,
//! whichever grant lists them.
//!
//! A rule with `args` matches a call whose arguments will have these values: a grant all of them, a denial
//! one of each.
//!
//! Who is not granted a command is told the same as of a command that does not exist,
//! also where a `[[deny]]` speaks of it.
//!
//! Root's trial of a profile asks no rule: it gives root nothing that root has not.
#![deny(clippy::wildcard_enum_match_arm)]

pub(crate) mod access;
pub(crate) mod approval;
pub(crate) mod beforehand;
pub(crate) mod denial;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod index;
mod notification;

use std::fmt;
use std::sync::Arc;

use remit_common::wire::Effect;

use crate::call::variables::never_permitted;
use crate::decide::approval::Pending;
use crate::decide::denial::Denial;
use crate::load::accounts::refused_id;
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::names::{Named, RUN};
use crate::model::policy::Policy;
use crate::model::profile::{Base, Profile};
use crate::model::rule::{DenyRule, GrantRule, RuleId};

/// Who asks: ids that the kernel gave for the peer of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The effective uid at connect (unix(7), SO_PEERCRED).
    pub uid: u32,
    /// All gids at connect, the primary one too (SO_PEERCRED, SO_PEERGROUPS).
    pub gids: &'a [u32],
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Run any program or script.
    Run {
        /// The sandbox asked for; `read` when none is.
        profile: Option<&'a str>,
        /// The program, or the interpreter of a script. `run` covers every
        /// program: its sandbox makes any of them harmless.
        argv0: &'a [u8],
        /// Names of the variables that the caller wants set.
        env_names: &'a [&'a [u8]],
    },
    /// A command by its name.
    Command {
        /// The name.
        name: &'a str,
        /// What the tool is for through which it is asked.
        effect: Effect,
        /// Its arguments as they are given, not checked yet.
        args: &'a [(String, String)],
    },
    /// Run any program or script as root's own trial of a profile: no rule is asked.
    Try {
        /// The sandbox to try; `read` when none is named.
        profile: Option<&'a str>,
        /// Names of the variables that the caller wants set.
        env_names: &'a [&'a [u8]],
    },
}

/// The answer to an [`Ask`].
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may run, exactly so.
    Allow(Grant),
    /// It may run so once another person has agreed.
    Ask(Pending),
    /// It may not.
    Deny(Denial),
}

/// What a rule says of a request: in which sandbox, which command, which variables. No permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    profile: Arc<Profile>,
    env: Vec<String>,
    command: Option<Arc<Command>>,
}

/// A permission. Only [`Policy::decide`] and [`Pending`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    terms: Terms,
    basis: Basis,
}

/// Why something is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// A rule of the policy grants it.
    Rule(RuleId),
    /// Root tries a profile: root could run the same outside of it.
    TryByRoot,
    /// The daemon tells people that a change waits for them.
    Notification,
    /// A rule asks for an approval, and somebody who can has approved this very request.
    Approved {
        /// The rule.
        rule: RuleId,
        /// The approver's name.
        by: String,
    },
    /// A rule asks for an approval, and somebody who can has approved such runs for a time.
    Given {
        /// The rule.
        rule: RuleId,
        /// The approver's name.
        by: String,
        /// The number of what they gave.
        grant: u64,
    },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::TryByRoot => f.write_str("try by root"),
            Self::Notification => f.write_str("approval.notify of remit.toml"),
            Self::Approved { rule, by } => write!(f, "{rule}, approved by {by}"),
            Self::Given { rule, by, grant } => write!(f, "{rule}, grant {grant} given by {by}"),
        }
    }
}

impl Basis {
    /// The rule, where one decided.
    pub fn rule(&self) -> Option<&RuleId> {
        match self {
            Self::Rule(rule) | Self::Approved { rule, .. } | Self::Given { rule, .. } => Some(rule),
            Self::TryByRoot | Self::Notification => None,
        }
    }
}

impl Terms {
    fn of(named: Named<'_>, profile: &Arc<Profile>) -> Self {
        Self {
            profile: Arc::clone(profile),
            env: Vec::new(),
            command: match named {
                Named::Builtin(_) => None,
                Named::Command(command) => Some(Arc::clone(command)),
            },
        }
    }

    /// The sandbox to run in.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The command that the policy defines; `None` for a program, a script and a built-in command.
    pub fn command(&self) -> Option<&Arc<Command>> {
        self.command.as_ref()
    }

    /// Names of the variables that the caller may set, sorted.
    pub fn env(&self) -> &[String] {
        &self.env
    }

    /// Terms that no rule has.
    #[cfg(test)]
    pub(crate) fn fake(env: &[&str]) -> Self {
        Self::fake_in(Profile::read(), env)
    }

    #[cfg(test)]
    pub(crate) fn fake_in(profile: Profile, env: &[&str]) -> Self {
        Self {
            profile: Arc::new(profile),
            env: env.iter().map(|name| (*name).to_owned()).collect(),
            command: None,
        }
    }
}

impl Grant {
    /// What the rule says.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The sandbox to run in.
    pub fn profile(&self) -> &Arc<Profile> {
        self.terms.profile()
    }

    /// The command that the policy defines; `None` for a program, a script and a built-in command.
    pub fn command(&self) -> Option<&Arc<Command>> {
        self.terms.command()
    }

    /// Names of the variables that the caller may set, sorted.
    pub fn env(&self) -> &[String] {
        self.terms.env()
    }

    /// The rule that decided, or what took its place.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
}

impl Policy {
    /// Judges one request. Total: any input has a verdict.
    pub fn decide(&self, who: Who<'_>, ask: &Ask<'_>) -> Verdict {
        if let Some(why) = refused_id(who.uid) {
            return Verdict::Deny(denial::of_id(who.uid, why));
        }
        let verdict = match ask {
            Ask::Run {
                profile,
                argv0: _,
                env_names,
            } => self.run(who, profile.unwrap_or(&self.read.name), env_names),
            Ask::Command { name, effect, args } => self.call(who, name, *effect, args),
            Ask::Try { profile, env_names } => {
                self.attempt(who, profile.unwrap_or(&self.read.name), env_names)
            }
        };
        verdict.unwrap_or_else(Verdict::Deny)
    }

    fn run(&self, who: Who<'_>, profile: &str, env_names: &[&[u8]]) -> Result<Verdict, Denial> {
        self.not_denied(who, RUN, None)?;
        let speaking = self.granting.of(who);
        let granted = self.granting.places(&speaking, RUN);
        let mut granted = granted.filter_map(|at| self.grants.get(at)).peekable();
        if granted.peek().is_none() {
            return Err(denial::no_grant(who.uid));
        }
        let in_profile = granted.filter(|rule| rule.profile.name == profile);
        let in_profile: Vec<&GrantRule> = in_profile.collect();
        let Some(strictest) = in_profile.first().copied() else {
            return Err(denial::no_profile(who.uid, profile));
        };
        let mut listing = in_profile.iter().copied();
        let listing = listing
            .find(|rule| env_names.iter().all(|name| lists(rule, name)))
            .ok_or_else(|| denial::no_variable(strictest, env_names))?;
        let asks = strictest.approval.is_some();
        let decides = if asks { strictest } else { listing };
        let asked = Approval::all(in_profile.iter().filter_map(|rule| rule.approval.as_ref()));
        let terms = Terms {
            profile: Arc::clone(&listing.profile),
            env: listing.env.iter().cloned().collect(),
            command: None,
        };
        Ok(Verdict::of(terms, &decides.id, asked))
    }

    fn call(
        &self,
        who: Who<'_>,
        name: &str,
        effect: Effect,
        args: &[(String, String)],
    ) -> Result<Verdict, Denial> {
        let unknown = || denial::no_command(name);
        // First, so that an answer takes no longer for a command that is there.
        let speaking = self.granting.of(who);
        let named = self.named(name).ok_or_else(unknown)?;
        let call = named.with(args);
        let granting = || {
            let places = self.granting.places(&speaking, name);
            places.filter_map(|at| self.grants.get(at))
        };
        let mut granted = granting().peekable();
        granted.peek().ok_or_else(unknown)?;
        self.not_denied(who, name, call)?;
        // Who may call it with other arguments knows that it is there, and is told with which.
        let covering: Vec<&GrantRule> = granted.filter(|rule| rule.covers(call)).collect();
        let strictest = covering.first();
        let rule = strictest.ok_or_else(|| denial::other_arguments(who.uid, name, granting()))?;
        if named.effect() != effect {
            return Err(denial::other_tool(&named));
        }
        let terms = Terms::of(named, self.profile_of(named));
        let asked = Approval::all(covering.iter().filter_map(|rule| rule.approval.as_ref()));
        Ok(Verdict::of(terms, &rule.id, asked))
    }

    fn not_denied(&self, who: Who<'_>, name: &str, call: Option<Called<'_>>) -> Result<(), Denial> {
        let speaking = self.denying.of(who);
        let places = self.denying.places(&speaking, name);
        let mut denying = places.filter_map(|at| self.denies.get(at));
        match denying.find(|rule| rule.touches(call)) {
            Some(rule) => Err(denial::by(who.uid, rule, name)),
            None => Ok(()),
        }
    }

    /// Root's own trial. Its variables are those that any policy may permit.
    fn attempt(&self, who: Who<'_>, profile: &str, env: &[&[u8]]) -> Result<Verdict, Denial> {
        if who.uid != 0 {
            return Err(denial::not_root(who.uid));
        }
        let tried = self.profiles().find(|known| known.name == profile);
        let tried = tried.ok_or_else(|| denial::unknown_profile(self, profile))?;
        if tried.base == Base::Host {
            return Err(denial::nothing_to_try(profile));
        }
        let permitted = |name: &&[u8]| {
            let name = std::str::from_utf8(name).ok()?;
            never_permitted(name).is_none().then(|| name.to_owned())
        };
        let env = env.iter().map(|name| permitted(name).ok_or(name));
        let env = env.collect::<Result<_, _>>();
        let terms = Terms {
            profile: Arc::clone(tried),
            env: env.map_err(|name| denial::never_set(name))?,
            command: None,
        };
        Ok(Verdict::Allow(Grant {
            terms,
            basis: Basis::TryByRoot,
        }))
    }
}

impl Verdict {
    /// What a rule makes of its terms, where this is asked for in all.
    fn of(terms: Terms, rule: &RuleId, asked: Option<Approval>) -> Self {
        let rule = rule.clone();
        match asked {
            None => Self::Allow(Grant {
                terms,
                basis: Basis::Rule(rule),
            }),
            Some(approval) => Self::Ask(Pending {
                terms,
                rule,
                approval,
            }),
        }
    }
}

/// A command that a file defines, and the arguments of a call of it.
pub(crate) type Called<'a> = (&'a Command, &'a [(String, String)]);

impl<'a> Named<'a> {
    /// A call of it, where rules can look at its arguments.
    pub(crate) fn with(self, args: &'a [(String, String)]) -> Option<Called<'a>> {
        match self {
            Self::Builtin(_) => None,
            Self::Command(command) => Some((command.as_ref(), args)),
        }
    }
}

impl GrantRule {
    /// Whether its scope covers this call; `None` is one without arguments that rules know.
    pub(crate) fn covers(&self, call: Option<Called<'_>>) -> bool {
        let covers = |(command, args): Called<'_>| self.scope.covers(command, args);
        self.scope.is_any() || call.is_some_and(covers)
    }
}

impl DenyRule {
    /// Whether this call is in its scope; `None` is one without arguments that rules know.
    pub(crate) fn touches(&self, call: Option<Called<'_>>) -> bool {
        let touches = |(command, args): Called<'_>| self.scope.touches(command, args);
        self.scope.is_any() || call.is_some_and(touches)
    }
}

/// Whether a grant lets the caller set this variable.
pub(crate) fn lists(rule: &GrantRule, name: &[u8]) -> bool {
    rule.env.iter().any(|listed| listed.as_bytes() == name)
}
