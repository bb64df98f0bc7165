//! Checks what a person can approve in advance, when they give a grant for a time. It reports grants that could never
//! start anything. It permits nothing: each request is decided when it comes, and
//! [`Pending::may_approve`](crate::Pending::may_approve) then applies to the giver.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use remit_common::builtin;
use remit_plan::PlanPath;

use crate::decide::CallerIds;
use crate::decide::changes::meet;
use crate::model::approval::{Approval, Count};
use crate::model::command::CommitUse;
use crate::model::glob::Glob;
use crate::model::policy::{CHANGE, Named, Policy, RUN};
use crate::model::profile::Profile;
use crate::model::rule::{GrantRule, Nature, Principal};

#[derive(Debug, Clone, Copy)]
pub struct PreApproval<'a> {
    pub by: CallerIds<'a>,
    /// A group: requests of any user with this gid.
    pub to: Principal,
    pub what: &'a Glob,
    pub args: &'a [(String, String)],
    /// Where plans of changes of files may change something; empty for all other commands.
    pub paths: &'a [PlanPath],
}

/// Why an approval in advance could never start anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotGivable {
    NoCommand,
    /// No matching command takes this argument together with the others.
    NoArgument(String),
    /// They run without a sandbox: each run is approved by itself.
    Unconfined,
    /// It has paths and is not the whole name of a command that commits plans.
    NoCommit,
    /// A one-off change: nobody can know in advance what will run.
    OneOff,
    /// A rule asks for the approval of several people: each run is approved by itself.
    Several,
    /// A rule asks for a signature: each run is signed by itself.
    Signed,
    /// No rule asks these recipients for an approval of them, with these arguments or paths.
    Unasked,
    NotApprover(Vec<String>),
}

/// An argument that some commands of a pattern complete and others take as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartlyComplete {
    pub arg: String,
    /// Its value in full.
    pub complete: String,
}

impl Policy {
    /// Checks that it could approve a request. Future groups are not known: any rule may be about the user or a member.
    pub fn may_give(&self, pre_approval: &PreApproval<'_>) -> Result<(), NotGivable> {
        let named = || {
            let all = self
                .all_named()
                .filter(|n| pre_approval.what.matches(n.name()));
            all.map(Some)
                .chain(pre_approval.what.matches(RUN).then_some(None))
        };
        if named().next().is_none() {
            let is_one_off = pre_approval.what.literal() == Some(CHANGE);
            return Err(match is_one_off {
                true => NotGivable::OneOff,
                false => NotGivable::NoCommand,
            });
        }
        let takes_all =
            |named: &Option<Named<'_>>| pre_approval.args.iter().all(|(arg, _)| takes(*named, arg));
        if !named().any(|named| takes_all(&named)) {
            let nobodys = |arg: &&(String, String)| !named().any(|named| takes(named, &arg.0));
            let arg = pre_approval
                .args
                .iter()
                .find(nobodys)
                .or(pre_approval.args.first());
            let arg = arg.map_or_else(String::new, |(arg, _)| arg.clone());
            return Err(NotGivable::NoArgument(arg));
        }
        let commits = !pre_approval.paths.is_empty();
        let is_covered = |named: &Option<Named<'_>>| match named {
            Some(named) => self.may_cover(*named, pre_approval.what, commits),
            None => !commits,
        };
        let confined: Vec<Option<Named<'_>>> =
            named().filter(takes_all).filter(is_covered).collect();
        if confined.is_empty() {
            return Err(match commits {
                true => NotGivable::NoCommit,
                false => NotGivable::Unconfined,
            });
        }
        let mut others: Vec<String> = Vec::new();
        let (mut is_asked, mut is_several, mut is_signed) = (false, false, false);
        for named in confined {
            let (name, nature) =
                named.map_or((RUN, Nature::Looks), |named| (named.name(), named.nature()));
            let about = || {
                let grants = self.grants.iter();
                grants.filter(|rule| {
                    may_be_about(rule, pre_approval.to)
                        && rule.allows(name, nature)
                        && meet(&rule.paths, pre_approval.paths)
                })
            };
            if !about().any(|rule| may_allow(rule, named, pre_approval.args)) {
                continue;
            }
            let asking = about().filter(|rule| may_ask(rule, named, pre_approval.args));
            let asking = asking.filter_map(|rule| Some((rule, rule.approval.as_ref()?)));
            let asking: Vec<_> = asking.collect();
            for (_, approval) in &asking {
                is_asked = true;
                is_several |= approval.count() != Count::One;
                is_signed |= approval.signed().is_some();
                if is_givable(approval) && !approval.is_met_by(pre_approval.by) {
                    others.extend(approval.asked_of());
                }
            }
            let is_enough = |paths: &[PlanPath]| {
                let about = || asking.iter().filter(|(rule, _)| meet(&rule.paths, paths));
                let is_met = |approval| is_givable(approval) && approval.is_met_by(pre_approval.by);
                // The giver must meet every rule that applies to each such request.
                about().any(|(_, approval)| is_met(approval))
                    && about().all(|(rule, approval)| {
                        is_met(approval) || !is_about_all(rule, pre_approval.to, paths)
                    })
            };
            // A path with which some request can start. Each request is judged by its own paths again.
            let is_possible = match pre_approval.paths {
                [] => is_enough(&[]),
                paths => paths.chunks(1).any(is_enough),
            };
            if is_possible {
                return Ok(());
            }
        }
        let mut reported = BTreeSet::new();
        others.retain(|word| reported.insert(word.clone()));
        Err(match is_asked {
            true if is_several => NotGivable::Several,
            true if is_signed => NotGivable::Signed,
            true => NotGivable::NotApprover(others),
            false => NotGivable::Unasked,
        })
    }
}

fn takes(named: Option<Named<'_>>, arg: &str) -> bool {
    match named {
        None => false,
        Some(Named::Builtin(builtin::Command { args, .. })) => {
            args.iter().any(|own| own.name == arg)
        }
        Some(Named::Command(command)) => command.params.iter().any(|own| own.name == arg),
    }
}

/// Returns true if the rule allows a call that has these arguments, and maybe more.
fn may_allow(rule: &GrantRule, named: Option<Named<'_>>, args: &[(String, String)]) -> bool {
    let part = rule.scope.part(args);
    named.is_none_or(|named| match rule.approval {
        Some(_) => part.asks(named, args),
        None => part.covers(named, args),
    })
}

/// Returns true if the rule is about a call that has these arguments, and maybe more, whichever rule allows it.
fn may_ask(rule: &GrantRule, named: Option<Named<'_>>, args: &[(String, String)]) -> bool {
    named.is_none_or(|named| rule.scope.part(args).touches(named, args))
}

/// Returns true if the rule is about every call that a grant of these paths covers, for all these recipients.
fn is_about_all(rule: &GrantRule, to: Principal, paths: &[PlanPath]) -> bool {
    let is_beneath = |path: &PlanPath| rule.paths.iter().any(|own| path.is_in(own.as_bytes()));
    rule.scope.is_any()
        && rule.to.ids.contains_key(&to)
        && (rule.paths.is_empty() || paths.iter().all(is_beneath))
}

/// Returns true if one person can meet it without a signature, as in advance.
fn is_givable(approval: &Approval) -> bool {
    approval.count() == Count::One && approval.signed().is_none()
}

fn may_be_about(rule: &GrantRule, to: Principal) -> bool {
    match to {
        Principal::Group(_) => !rule.to.ids.is_empty(),
        Principal::User(uid) => {
            let mut ids = rule.to.ids.keys();
            ids.any(|one| match one {
                Principal::User(other) => *other == uid,
                Principal::Group(_) => true,
            })
        }
    }
}

impl Policy {
    /// Returns the commands that match `what` and run in a sandbox, sorted by name; or the one that commits plans.
    pub fn covered(&self, what: &Glob, commits: bool) -> Vec<String> {
        let named = self.all_named().filter(|named| what.matches(named.name()));
        let covered = named.filter(|named| self.may_cover(*named, what, commits));
        let names = covered.map(|named| named.name().to_owned());
        let run = (what.matches(RUN) && !commits).then(|| RUN.to_owned());
        let mut names: Vec<String> = names.chain(run).collect();
        names.sort();
        names
    }

    /// Completes the arguments of a grant as [`Policy::complete`] does those of a call, as a grant covers equal bytes
    /// alone. Fails if only some of the commands that it covers complete an argument.
    pub fn complete_granted(
        &self,
        what: &Glob,
        commits: bool,
        args: &mut [(String, String)],
    ) -> Result<(), PartlyComplete> {
        let named = self.all_named().filter(|named| {
            what.matches(named.name())
                && self.may_cover(*named, what, commits)
                && args.iter().all(|(arg, _)| takes(Some(*named), arg))
        });
        let complete = |named: Named<'_>| {
            let mut own = args.to_vec();
            self.complete_args(named.name(), &mut own, &|_| true);
            own
        };
        let each: Vec<Vec<(String, String)>> = named.map(complete).collect();
        let Some((first, others)) = each.split_first() else {
            return Ok(());
        };
        for other in others {
            let mut pairs = first.iter().zip(other).zip(args.iter());
            let Some(((one, another), typed)) = pairs.find(|((one, another), _)| one != another)
            else {
                continue;
            };
            let complete = if one == typed { another } else { one };
            return Err(PartlyComplete {
                arg: typed.0.clone(),
                complete: complete.1.clone(),
            });
        }
        args.clone_from_slice(first);
        Ok(())
    }

    fn may_cover(&self, named: Named<'_>, what: &Glob, commits: bool) -> bool {
        let is_commit = match named {
            Named::Builtin(_) => false,
            Named::Command(command) => command.commit_use() == Some(CommitUse::Commit),
        };
        match commits {
            true => is_commit && what.literal().is_some(),
            false => self.profile_of(named).may_be_pre_approved(),
        }
    }

    /// Returns what a command is: its text, its profile and its ids; of `run`, the profiles in which somebody may approve
    /// it. `None` without one, empty for built-in commands.
    pub fn definition(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if name == RUN {
            let profiles = self.approved_run_profiles();
            return postcard::to_allocvec(&profiles).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(match self.named(name)? {
            Named::Builtin(_) => &[],
            Named::Command(command) => command.definition.as_bytes(),
        }))
    }

    fn approved_run_profiles(&self) -> BTreeMap<&str, &Profile> {
        let grants = self.grants.iter();
        let asking =
            grants.filter(|rule| rule.approval.is_some() && rule.allows(RUN, Nature::Looks));
        asking
            .map(|rule| (rule.profile.name.as_str(), &*rule.profile))
            .collect()
    }
}
