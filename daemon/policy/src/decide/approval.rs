//! Turns a [`Pending`] into a [`Grant`], only with a person's consent; a temporary grant only by spending a use. Explains
//! why a plan of changes of files needs an approval.

use std::collections::BTreeSet;
use std::sync::Arc;

use remit_common::refusal::Code;
use remit_plan::{Bundle, PlanPath, View, path_needs_approval};

use crate::call::variables::never_permitted;
use crate::decide::changes::CallPaths;
use crate::decide::denial::{self, Denial};
use crate::decide::{Basis, CallerIds, Grant, Terms, Verdict, lists};
use crate::model::approval::{Approval, Count, Proof};
use crate::model::command::{Command, CommitUse, Stdin};
use crate::model::policy::{CHANGE, Named, Policy};
use crate::model::profile::{Base, Profile};
use crate::model::rule::{GrantRule, RuleId};

/// A request that needs an approval. It is not a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub(super) terms: Terms,
    pub(super) rule: RuleId,
    pub(super) approval: Approval,
    /// The rule asks for no approval: the floor does.
    pub(super) is_by_floor: bool,
    /// Of the floor: without its approval the rules refuse the call.
    pub(super) is_refused_alone: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Consent<'a> {
    pub by: CallerIds<'a>,
    pub name: &'a str,
    pub requester: u32,
    /// `None`: it is not signed.
    pub proof: Option<Proof>,
}

/// A plan of changes of files, and where a grant for a time lets plans change something.
#[derive(Debug, Clone, Copy)]
pub struct PlanWithin<'a> {
    pub plan: &'a Bundle,
    pub paths: &'a [PlanPath],
    pub requester: CallerIds<'a>,
}

impl PlanWithin<'_> {
    /// Returns true if nobody has to see this plan: its bounds are those of a rule without an approval.
    fn needs_no_approval(&self) -> bool {
        let is_within = !self.paths.is_empty() && self.plan.plan().outside(self.paths).is_none();
        is_within && first_reason(self.plan, self.paths, self.requester).is_none()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotApprover {
    Requester,
    /// A rule that asks does not name them.
    NotNamed,
    /// They have approved it already. A rule asks for different people.
    Again,
    /// A rule asks for more people than have approved it.
    TooFew,
    /// A rule asks for a signature of each request, and this has none, or one that proves less.
    Unsigned,
    /// It runs without a sandbox, is a one-off change, or a plan that a person has to see: each is approved by itself.
    Unconfined,
}

impl Pending {
    /// Returns true if no rule asks for the approval, but a floor does.
    pub fn is_by_floor(&self) -> bool {
        self.is_by_floor
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    pub fn profile(&self) -> &Arc<Profile> {
        self.terms.profile()
    }

    pub fn command(&self) -> Option<&Arc<Command>> {
        self.terms.command()
    }

    /// Checks that a person can approve it: each asking rule names them, and they are not the requester.
    pub fn may_approve(&self, consent: &Consent<'_>) -> Result<(), NotApprover> {
        if consent.by.uid == consent.requester {
            return Err(NotApprover::Requester);
        }
        match self.approval.is_met_by(consent.by) {
            true => Ok(()),
            false => Err(NotApprover::NotNamed),
        }
    }

    /// Returns the permission for this one request, approved by as many different people as its rules ask for, each of
    /// whom [may approve](Self::may_approve) it, and has signed it as its rules ask.
    pub fn approved(self, consents: &[Consent<'_>]) -> Result<Grant, NotApprover> {
        let mut uids = BTreeSet::new();
        for consent in consents {
            self.may_approve(consent)?;
            if !self.approval.is_signed_by(consent.proof) {
                return Err(NotApprover::Unsigned);
            }
            if !uids.insert(consent.by.uid) {
                return Err(NotApprover::Again);
            }
        }
        if uids.len() < self.approval.count().get() {
            return Err(NotApprover::TooFew);
        }
        let by: Vec<&str> = consents.iter().map(|consent| consent.name).collect();
        let (rule, by) = (self.rule, by.join(" and "));
        Ok(Grant {
            terms: self.terms,
            basis: Basis::Approved { rule, by },
        })
    }

    /// Covers this one request by an approver's grant for a time. It permits nothing until a use of that grant is
    /// spent. Fails as [`Pending::may_approve`], always for a one-off change, if commands follow, if one approver is not
    /// enough, or if a signature is asked for, and for base host but a commit `within` the paths of the grant.
    pub fn granted(
        self,
        consent: &Consent<'_>,
        grant: u64,
        within: Option<PlanWithin<'_>>,
    ) -> Result<Lifted, NotApprover> {
        self.may_approve(consent)?;
        if self.approval.count() != Count::One {
            return Err(NotApprover::TooFew);
        }
        if self.approval.signed().is_some() {
            return Err(NotApprover::Unsigned);
        }
        let commits = self.command().and_then(|command| command.commit_use());
        let is_covered = match within {
            Some(within) => commits == Some(CommitUse::Commit) && within.needs_no_approval(),
            None => self.profile().base != Base::Host,
        };
        if !is_covered || self.terms.is_one_off || !self.terms.acts.is_empty() {
            return Err(NotApprover::Unconfined);
        }
        Ok(Lifted {
            terms: self.terms,
            rule: self.rule,
            approval: self.approval,
            by: consent.name.to_owned(),
            grant,
        })
    }
}

/// A request that a grant for a time covers. It is not a permission: only one use of that grant makes it a [`Grant`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Lifted {
    terms: Terms,
    rule: RuleId,
    approval: Approval,
    by: String,
    grant: u64,
}

impl Lifted {
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn grant(&self) -> u64 {
        self.grant
    }

    pub fn basis(&self) -> Basis {
        Basis::TemporaryGrant {
            rule: self.rule.clone(),
            by: self.by.clone(),
            grant: self.grant,
            approval: self.approval.clone(),
        }
    }

    /// Returns the permission for this one request, once `take` has taken a use of the grant with this number. If
    /// `take` fails, there is no permission.
    pub fn spend<E>(self, take: impl FnOnce(u64) -> Result<(), E>) -> Result<Grant, E> {
        take(self.grant)?;
        let basis = self.basis();
        Ok(Grant {
            terms: self.terms,
            basis,
        })
    }
}

impl Policy {
    /// Returns the right to run the command of `approval.notify` in remit.toml, with the request on standard input. No
    /// rule is asked, as only root writes it. It has a sandbox: commands of base host read no standard input.
    pub fn notification(&self, name: &str) -> Result<Grant, String> {
        let command = self
            .command(name)
            .ok_or_else(|| format!("there is no command '{name}'"))?;
        if command.stdin != Stdin::Caller {
            return Err(format!("command '{name}' does not have stdin = \"caller\""));
        }
        command
            .bind(&[], true)
            .map_err(|refusal| format!("command '{name}' needs arguments: {}", refusal.message))?;
        Ok(Grant {
            terms: Terms::of(Named::Command(command), &command.profile),
            basis: Basis::Notification,
        })
    }
}

impl Policy {
    /// Returns the right to recover commits of files in this directory. No rule is asked: the daemon does it itself.
    pub fn recovery(&self, directory: &str) -> Result<Grant, String> {
        self.own(CommitUse::Recover, "recover", directory, Basis::Recovery)
    }

    /// Returns the right to undo a commit that nobody has confirmed: its approval included that.
    pub fn unconfirmed(&self, directory: &str) -> Result<Grant, String> {
        self.own(CommitUse::Undo, "undo", directory, Basis::Unconfirmed)
    }

    fn own(
        &self,
        used: CommitUse,
        word: &str,
        directory: &str,
        basis: Basis,
    ) -> Result<Grant, String> {
        let is_it = |command: &&Arc<Command>| {
            command.commit_use() == Some(used) && command.commit_directory() == Some(directory)
        };
        let command = self.commands().find(is_it).ok_or_else(|| {
            format!("the policy has no command 'remit-commit {word} {directory}' (60-plans.toml)")
        })?;
        Ok(Grant {
            terms: Terms::of(Named::Command(command), &command.profile),
            basis,
        })
    }
}

impl Policy {
    /// Judges a one-off change. Whatever the rules say, it is never allowed without an approval.
    pub(super) fn one_off(
        &self,
        caller: CallerIds<'_>,
        profile: &str,
        env_names: &[&[u8]],
    ) -> Result<Verdict, Denial> {
        let speaking = self.granting.of(caller);
        let granted = self.granting.positions(&speaking, CHANGE);
        let granted = granted.filter_map(|at| self.grants.get(at));
        let granted: Vec<&GrantRule> = granted.filter(|rule| rule.allows_one_off()).collect();
        let asked = Approval::all(granted.iter().filter_map(|rule| rule.approval.as_ref()));
        let (Some(strictest), Some(approval)) = (granted.first().copied(), asked) else {
            return Err(denial::no_one_off(caller.uid));
        };
        self.not_denied(caller, CHANGE, None)?;
        let profile = self
            .profile(profile)
            .ok_or_else(|| denial::unknown_profile(self, profile))?;
        // remit-look itself gives up what its sandbox cannot hold back. Another program would keep it.
        if let Some(inspect) = profile.inspect {
            return Err(denial::only_inspects(&profile.name, inspect));
        }
        if profile.base == Base::Extract {
            return Err(denial::only_extracts(&profile.name));
        }
        let mut listing = granted.iter();
        let listing = listing
            .find(|rule| env_names.iter().all(|name| lists(rule, name)))
            .ok_or_else(|| denial::no_variable(strictest, env_names))?;
        Ok(Verdict::Ask(Pending {
            terms: Terms {
                is_one_off: true,
                ..Terms::of_program(profile, listing.env.iter().cloned().collect())
            },
            rule: strictest.id.clone(),
            approval,
            is_by_floor: false,
            is_refused_alone: false,
        }))
    }

    /// Judges root's own `try`. It may set any variable that a policy can permit.
    pub(super) fn attempt(
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
        if tried.base == Base::Extract {
            return Err(denial::only_extracts(profile));
        }
        let permitted = |name: &&[u8]| {
            let name = std::str::from_utf8(name).ok()?;
            never_permitted(name).is_none().then(|| name.to_owned())
        };
        let env = env.iter().map(|name| permitted(name).ok_or(name));
        let env = env.collect::<Result<_, _>>();
        let env = env.map_err(|name| denial::never_set(name))?;
        let terms = Terms::of_program(tried, env);
        Ok(Verdict::Allow(Grant {
            terms,
            basis: Basis::TryByRoot,
        }))
    }
}

/// For a plan that these rules allow without an approval, if each of them leaves a path to a person. Without the plan only its
/// paths decide.
pub(crate) fn needs_a_person(
    name: &str,
    allowing: &[&GrantRule],
    changes: &CallPaths<'_>,
    requester: CallerIds<'_>,
) -> Option<Denial> {
    let reason = |rule: &GrantRule| match changes.plan() {
        Some(bundle) => first_reason(bundle, &rule.paths, requester),
        None => changes
            .paths()
            .find_map(|path| Some((path, path_needs_approval(path, &rule.paths)?))),
    };
    let judged = allowing.iter().map(|rule| (rule, reason(rule)));
    // Each of these rules alone allows the plan.
    let (rule, reason) = judged.min_by_key(|(_, reason)| reason.is_some())?;
    let (path, why) = reason?;
    let id = &rule.id;
    Some(Denial {
        code: Code::DeniedRule,
        object: Some(path.to_string()),
        rule: Some(id.clone()),
        what: format!("'{name}' without an approval cannot change '{path}': {why}"),
        lift: Some(format!(
            "approval = {{ by = [\"%GROUP\"] }} in the [[grant]] at {}:{}, or in another for such paths",
            id.file, id.line
        )),
        next: "leave this path out of the plan, and tell the person you work for what it should be"
            .into(),
    })
}

/// Returns the first path that needs an approval, and why: it is worse than its bytes, or would reveal the content.
pub(crate) fn first_reason<'a>(
    bundle: &'a Bundle,
    named: &[PlanPath],
    requester: CallerIds<'_>,
) -> Option<(&'a PlanPath, String)> {
    bundle.views().find_map(|view| {
        let why = remit_plan::needs_approval(&view, named);
        let why = why.or_else(|| guess(&view, requester))?;
        Some((&view.entry.path, why))
    })
}

/// Returns why a base may be a guess: the requester cannot have read what it hashes. The owner is compared first.
fn guess(view: &View<'_>, requester: CallerIds<'_>) -> Option<String> {
    let base = view.entry.change.base()?;
    let is_readable = base.stat.meta.lets_read(requester.uid, requester.gids);
    (base.sha256.is_some() && !is_readable).then(|| {
        format!(
            "its owner and mode do not let uid {} read it, and the commit would tell whether it has the plan's old bytes",
            requester.uid
        )
    })
}
