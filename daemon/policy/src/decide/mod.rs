//! Decides one request. The order is:
//! - an id that can never be granted anything;
//! - the first matching `[[deny]]`, by file name and line;
//! - the strictest matching `[[grant]]`: one that asks for approval first, then the one whose requests expire sooner,
//!   then by file name and line.
//!
//! Conditions of all matching grants apply together: each must name the approver, and the shortest time counts. So
//! another grant never makes anything easier. One grant must list all variables of the request: two grants with a half
//! each do not add up. A variable does not avoid an approval: all approvals of the profile apply, whichever grant lists
//! the variables. A rule with `args` matches a call whose arguments will have these values: a grant all of them, a
//! denial one of each. Its approval applies as soon as one of each matches, whichever rule allows the call. Logs of many
//! units may show those that a rule names: its denial and its approval apply. A rule with `paths` allows a plan with no
//! other paths. Its approval and its `confirm` apply as soon as the plan has one of them. An undo has the paths of what it
//! undoes. A caller without a grant gets
//! the same answer as for a command that does not exist, even if a `[[deny]]` is about it. Root's `try` of a profile
//! asks no rule: it gives root nothing that root does not have.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod access;
pub(crate) mod acts;
pub(crate) mod approval;
mod ask;
mod basis;
pub mod changes;
mod choices;
pub(crate) mod denial;
mod granted;
pub mod index;
mod needs_approval;
pub(crate) mod pre_approval;
mod uncovered;

pub use ask::{Ask, CallerIds};
pub use basis::Basis;
pub use index::{Called, lists};

use std::sync::Arc;

use remit_common::wire::Effect;
use remit_plan::PlanPath;

use crate::decide::acts::{Act, ApprovalOrigin};
use crate::decide::approval::Pending;
use crate::decide::changes::CallPaths;
use crate::decide::denial::Denial;
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::policy::{Named, Policy, RUN};
use crate::model::profile::Profile;
use crate::model::rule::{GrantRule, RuleId, refused_id};

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
    /// A one-off change: each run has its own approval.
    is_one_off: bool,
    /// `paths` of the rules that allow an undo: all of its paths lie beneath those of one. Empty means any path.
    undo_paths: Vec<Vec<PlanPath>>,
    /// The shortest time within which a rule of a commit wants it confirmed.
    confirm_s: Option<u32>,
    /// Commands that follow a commit or an undo, in their order.
    acts: Vec<Act>,
}

/// A permission, made only by [`Policy`], [`Pending`] and [`Lifted`](approval::Lifted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    terms: Terms,
    basis: Basis,
}

impl Terms {
    fn of(named: Named<'_>, profile: &Arc<Profile>) -> Self {
        let command = match named {
            Named::Builtin(_) => None,
            Named::Command(command) => Some(Arc::clone(command)),
        };
        Self {
            command,
            ..Self::of_program(profile, Vec::new())
        }
    }

    fn of_program(profile: &Arc<Profile>, env: Vec<String>) -> Self {
        Self {
            profile: Arc::clone(profile),
            env,
            command: None,
            is_one_off: false,
            undo_paths: Vec::new(),
            confirm_s: None,
            acts: Vec::new(),
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

    pub fn is_one_off(&self) -> bool {
        self.is_one_off
    }

    /// Says in what these terms of another policy differ: by names, not by the definitions that they have there.
    pub fn other_than(&self, other: &Self) -> Option<&'static str> {
        let command = |terms: &Self| terms.command.as_ref().map(|command| command.name.clone());
        let acts = |terms: &Self| terms.acts.iter().map(Act::text).collect::<Vec<_>>();
        let differs = [
            ("another profile", self.profile.name != other.profile.name),
            ("another command", command(self) != command(other)),
            (
                "another kind of change",
                self.is_one_off != other.is_one_off,
            ),
            (
                "other paths of an undo",
                self.undo_paths != other.undo_paths,
            ),
            ("another time to confirm", self.confirm_s != other.confirm_s),
            ("other commands that follow", acts(self) != acts(other)),
        ];
        differs
            .iter()
            .find_map(|(what, differs)| differs.then_some(*what))
    }

    pub fn undo_paths(&self) -> &[Vec<PlanPath>] {
        &self.undo_paths
    }

    #[cfg(test)]
    pub(crate) fn fake(env: &[&str]) -> Self {
        Self::fake_in(Profile::read(), env)
    }

    #[cfg(test)]
    pub(crate) fn fake_in(profile: Profile, env: &[&str]) -> Self {
        let env = env.iter().map(|name| (*name).to_owned()).collect();
        Self::of_program(&Arc::new(profile), env)
    }
}

impl Grant {
    /// Takes the permission back until a person gives this approval of a floor. Fails if no rule gave it.
    pub fn asking(self, approval: Approval) -> Result<Pending, Self> {
        match self.basis {
            Basis::Rule(rule) => Ok(Pending {
                terms: self.terms,
                rule,
                approval,
                is_by_floor: true,
                is_refused_alone: false,
            }),
            Basis::TryByRoot
            | Basis::Notification
            | Basis::Recovery
            | Basis::Unconfirmed
            | Basis::Approved { .. }
            | Basis::TemporaryGrant { .. } => Err(self),
        }
    }

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
        self.decide_under(caller, ask, None)
    }

    /// As [`Self::decide`], with the approval of a floor: a change of which no rule asks one needs it. What the rules refuse
    /// to a caller stays refused.
    pub fn decide_under(
        &self,
        caller: CallerIds<'_>,
        ask: &Ask<'_>,
        floor: Option<&Approval>,
    ) -> Verdict {
        if let Some(why) = refused_id(caller.uid) {
            return Verdict::Deny(denial::of_id(caller.uid, why));
        }
        let verdict = match ask {
            Ask::Run {
                profile,
                argv0: _,
                env_names,
            } => self.run(caller, profile.unwrap_or(&self.read.name), env_names),
            Ask::Command { name, effect, args } => {
                self.call(caller, name, *effect, args, (&CallPaths::default(), floor))
            }
            Ask::Commit { name, args, .. } | Ask::Paths { name, args, .. } => self.call(
                caller,
                name,
                Effect::Change,
                args,
                (&CallPaths::new(ask), floor),
            ),
            Ask::Change { profile, env_names } => {
                self.one_off(caller, profile.unwrap_or(&self.host.name), env_names)
            }
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
        let speaking = self.granting.of(caller);
        let granted = self.granting.positions(&speaking, RUN);
        let mut granted = granted.filter_map(|at| self.grants.get(at)).peekable();
        if granted.peek().is_none() {
            return Err(denial::no_grant(caller.uid));
        }
        self.not_denied(caller, RUN, None)?;
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
        let env = listing.env.iter().cloned().collect();
        let terms = Terms::of_program(&listing.profile, env);
        Ok(Verdict::of(terms, &decides.id, asked))
    }

    fn call(
        &self,
        caller: CallerIds<'_>,
        name: &str,
        effect: Effect,
        args: &[(String, String)],
        (changes, floor): (&CallPaths<'_>, Option<&Approval>),
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
        // A caller with a grant for other arguments knows the command, so the refusal lists them. No rule is about an
        // argument that is misspelt or missing: more in a rule would not help.
        if !granting().any(|rule| rule.covers(call)) {
            named.check_names(args).map_err(Denial::without_rule)?;
            return Err(uncovered::other_arguments(caller.uid, name, granting()));
        }
        let allowing: Vec<&GrantRule> = granted
            .filter(|rule| rule.covers(call) && changes.are_within(rule))
            .collect();
        let Some(first) = allowing.first() else {
            let outside = uncovered::other_paths(named, changes, granting());
            return Err(outside.unwrap_or_else(unknown));
        };
        if named.effect() != effect {
            return Err(denial::other_tool(&named));
        }
        if let Some((path, why)) = changes.refused() {
            return Err(denial::no_plan(path, why));
        }
        let mut terms = Terms::of(named, self.profile_of(named));
        // One more path in a plan takes no approval and no confirmation away.
        let counting: Vec<&GrantRule> = granting()
            .filter(|rule| rule.counts_for(call) && changes.touch(rule))
            .collect();
        let asked = Approval::all(counting.iter().filter_map(|rule| rule.approval.as_ref()));
        let floor = floor.filter(|_| asked.is_none() && effect == Effect::Change);
        let asker = match floor {
            Some(_) => Some(ApprovalOrigin::Other),
            None => asked.is_some().then_some(ApprovalOrigin::Rule),
        };
        terms.acts = self.acts(caller, named, args, &allowing, asker)?;
        terms.set_commit(&allowing, &counting);
        let needs_a_person = || approval::needs_a_person(name, &allowing, changes, caller);
        if asker.is_none()
            && let Some(denial) = needs_a_person()
        {
            return Err(denial);
        }
        let mut asking = counting.iter().filter(|rule| rule.approval.is_some());
        let rule = asking.next().unwrap_or(first);
        let verdict = Verdict::of(terms, &rule.id, asked);
        Ok(match floor {
            Some(floor) => verdict.under(floor, || {
                let acts = self.acts(caller, named, args, &allowing, None);
                acts.is_err() || needs_a_person().is_some()
            }),
            None => verdict,
        })
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
}

impl Verdict {
    /// Takes a permission of a rule back until a person gives this approval. `is_refused_alone`: as of [`Pending`].
    fn under(self, floor: &Approval, is_refused_alone: impl FnOnce() -> bool) -> Self {
        match self {
            Self::Allow(grant) => match grant.asking(floor.clone()) {
                Ok(pending) => Self::Ask(Pending {
                    is_refused_alone: is_refused_alone(),
                    ..pending
                }),
                Err(grant) => Self::Allow(grant),
            },
            Self::Ask(_) | Self::Deny(_) => self,
        }
    }

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
                is_by_floor: false,
                is_refused_alone: false,
            }),
        }
    }
}
