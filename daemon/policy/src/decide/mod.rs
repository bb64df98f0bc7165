//! Decides one request.
//!
//! The order is:
//! - an id that can never be granted anything;
//! - the first matching `[[deny]]`, by file name and line;
//! - the strictest matching `[[grant]]`: one that asks for approval first, then the one whose requests expire sooner,
//!   then by file name and line.
//!
//! Conditions of all matching grants apply together: each must name the approver, and the shortest time counts. So
//! another grant never makes anything easier. One grant must list all variables of the request: two grants with a
//! half each do not add up. A variable does not avoid an approval: all approvals of the profile apply, whichever
//! grant lists the variables.
//!
//! A rule with `args` matches a call whose arguments will have these values: a grant all of them, a denial one of
//! each. Logs of many units may show those that a rule names: its denial and its approval apply.
//!
//! A caller without a grant gets the same answer as for a command that does not exist, even if a `[[deny]]` is about
//! it.
//!
//! Root's `try` of a profile asks no rule: it gives root nothing that root does not have.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod access;
pub(crate) mod approval;
pub(crate) mod denial;
pub mod index;
pub(crate) mod narrower;
pub(crate) mod pre_approval;

use std::fmt;
use std::sync::Arc;

use remit_common::wire::Effect;

use crate::call::variables::never_permitted;
use crate::decide::approval::Pending;
use crate::decide::denial::Denial;
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::policy::{Named, Policy, RUN};
use crate::model::profile::{Base, Profile};
use crate::model::rule::{DenyRule, GrantRule, RuleId, refused_id};

/// The caller: ids that the kernel reports for the peer of a socket.
#[derive(Debug, Clone, Copy)]
pub struct CallerIds<'a> {
    /// The effective uid at connect (unix(7), SO_PEERCRED).
    pub uid: u32,
    /// All gids at connect, with the primary one (SO_PEERCRED, SO_PEERGROUPS).
    pub gids: &'a [u32],
}

#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    Run {
        /// `None` means `read`.
        profile: Option<&'a str>,
        /// The program, or a script's interpreter. `run` covers every program: its sandbox makes them harmless.
        argv0: &'a [u8],
        env_names: &'a [&'a [u8]],
    },
    Command {
        name: &'a str,
        effect: Effect,
        args: &'a [(String, String)],
    },
    /// Run any program or script to try a profile as root: no rule is asked.
    Try {
        profile: Option<&'a str>,
        env_names: &'a [&'a [u8]],
    },
}

#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allow(Grant),
    Ask(Pending),
    Deny(Denial),
}

/// What a rule says of a request: sandbox, command, variables. It is not a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    profile: Arc<Profile>,
    env: Vec<String>,
    command: Option<Arc<Command>>,
}

/// A permission, made only by [`Policy::decide`], [`Policy::notification`], [`Pending`] and
/// [`Lifted`](approval::Lifted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    terms: Terms,
    basis: Basis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    Rule(RuleId),
    /// Root tries a profile: root could run the same outside of it.
    TryByRoot,
    Notification,
    /// A rule asks for an approval, and an approver has approved this very request.
    Approved {
        rule: RuleId,
        by: String,
    },
    /// A rule asks for an approval, and an approver has approved such runs for a time.
    TemporaryGrant {
        rule: RuleId,
        by: String,
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
            Self::TemporaryGrant { rule, by, grant } => {
                write!(f, "{rule}, grant {grant} given by {by}")
            }
        }
    }
}

impl Basis {
    pub fn rule(&self) -> Option<&RuleId> {
        match self {
            Self::Rule(rule) | Self::Approved { rule, .. } | Self::TemporaryGrant { rule, .. } => {
                Some(rule)
            }
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

    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    pub fn command(&self) -> Option<&Arc<Command>> {
        self.command.as_ref()
    }

    pub fn env(&self) -> &[String] {
        &self.env
    }

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
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn profile(&self) -> &Arc<Profile> {
        self.terms.profile()
    }

    pub fn command(&self) -> Option<&Arc<Command>> {
        self.terms.command()
    }

    pub fn env(&self) -> &[String] {
        self.terms.env()
    }

    pub fn basis(&self) -> &Basis {
        &self.basis
    }
}

impl Policy {
    /// Judges one request. Every input has a verdict.
    pub fn decide(&self, caller: CallerIds<'_>, ask: &Ask<'_>) -> Verdict {
        if let Some(why) = refused_id(caller.uid) {
            return Verdict::Deny(denial::of_id(caller.uid, why));
        }
        let verdict = match ask {
            Ask::Run {
                profile,
                argv0: _,
                env_names,
            } => self.run(caller, profile.unwrap_or(&self.read.name), env_names),
            Ask::Command { name, effect, args } => self.call(caller, name, *effect, args),
            Ask::Try { profile, env_names } => {
                self.attempt(caller, profile.unwrap_or(&self.read.name), env_names)
            }
        };
        verdict.unwrap_or_else(Verdict::Deny)
    }

    fn run(
        &self,
        caller: CallerIds<'_>,
        profile: &str,
        env_names: &[&[u8]],
    ) -> Result<Verdict, Denial> {
        self.not_denied(caller, RUN, None)?;
        let speaking = self.granting.of(caller);
        let granted = self.granting.positions(&speaking, RUN);
        let mut granted = granted.filter_map(|at| self.grants.get(at)).peekable();
        if granted.peek().is_none() {
            return Err(denial::no_grant(caller.uid));
        }
        let in_profile = granted.filter(|rule| rule.profile.name == profile);
        let in_profile: Vec<&GrantRule> = in_profile.collect();
        let Some(strictest) = in_profile.first().copied() else {
            return Err(denial::no_profile(caller.uid, profile));
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
        caller: CallerIds<'_>,
        name: &str,
        effect: Effect,
        args: &[(String, String)],
    ) -> Result<Verdict, Denial> {
        let unknown = || denial::no_command(name);
        // First, so that an answer takes no longer if the command exists.
        let speaking = self.granting.of(caller);
        let named = self.named(name).ok_or_else(unknown)?;
        let call = Some(named.with(args));
        let granting = || {
            let positions = self.granting.positions(&speaking, name);
            positions.filter_map(|at| self.grants.get(at))
        };
        let mut granted = granting().peekable();
        granted.peek().ok_or_else(unknown)?;
        self.not_denied(caller, name, call)?;
        // A caller with a grant for other arguments knows the command, so the refusal lists them.
        if !granting().any(|rule| rule.covers(call)) {
            return Err(denial::other_arguments(caller.uid, name, granting()));
        }
        let counting: Vec<&GrantRule> = granted.filter(|rule| rule.counts_for(call)).collect();
        let rule = counting.first().ok_or_else(unknown)?;
        if named.effect() != effect {
            return Err(denial::other_tool(&named));
        }
        let terms = Terms::of(named, self.profile_of(named));
        let asked = Approval::all(counting.iter().filter_map(|rule| rule.approval.as_ref()));
        Ok(Verdict::of(terms, &rule.id, asked))
    }

    fn not_denied(
        &self,
        caller: CallerIds<'_>,
        name: &str,
        call: Option<Called<'_>>,
    ) -> Result<(), Denial> {
        let speaking = self.denying.of(caller);
        let positions = self.denying.positions(&speaking, name);
        let mut denying = positions.filter_map(|at| self.denies.get(at));
        match denying.find(|rule| rule.touches(call)) {
            Some(rule) => Err(denial::by(caller.uid, rule, name)),
            None => Ok(()),
        }
    }

    /// Judges root's own `try`. It may set any variable that a policy can permit.
    fn attempt(
        &self,
        caller: CallerIds<'_>,
        profile: &str,
        env: &[&[u8]],
    ) -> Result<Verdict, Denial> {
        if caller.uid != 0 {
            return Err(denial::not_root(caller.uid));
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

/// A named command, and the arguments of a call.
pub type Called<'a> = (Named<'a>, &'a [(String, String)]);

impl<'a> Named<'a> {
    pub fn with(self, args: &'a [(String, String)]) -> Called<'a> {
        (self, args)
    }
}

impl GrantRule {
    /// Returns true if its scope covers this call. `None` is a run of any program.
    pub fn covers(&self, call: Option<Called<'_>>) -> bool {
        let covers = |(named, args): Called<'_>| self.is_about(named, args);
        self.scope.is_any() || call.is_some_and(covers)
    }

    /// Returns true if it covers this call, or if its approval is needed all the same: the call shows what the rule is
    /// about among others. Then another rule must allow the call.
    pub fn counts_for(&self, call: Option<Called<'_>>) -> bool {
        let shows = |(named, args): Called<'_>| self.scope.is_shown_by(named, args);
        self.covers(call) || (self.approval.is_some() && call.is_some_and(shows))
    }
}

impl DenyRule {
    /// Returns true if this call is in its scope. `None` is a run of any program.
    pub fn touches(&self, call: Option<Called<'_>>) -> bool {
        let touches = |(named, args): Called<'_>| self.scope.touches(named, args);
        self.scope.is_any() || call.is_some_and(touches)
    }
}

pub fn lists(rule: &GrantRule, name: &[u8]) -> bool {
    rule.env.iter().any(|listed| listed.as_bytes() == name)
}
