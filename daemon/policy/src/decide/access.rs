//! What one caller may use, as [`Policy::decide`] would answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::wire::GrantView;

use crate::decide::index::Speaking;
use crate::decide::{Terms, Verdict, Who};
use crate::load::accounts::refused_id;
use crate::model::approval::Approval;
use crate::model::glob::Glob;
use crate::model::names::{Named, RUN};
use crate::model::policy::Policy;
use crate::model::profile::Profile;
use crate::model::rule::{GrantRule, RuleId};
use crate::model::scope::Scope;

/// What one caller may use: nothing that a rule refuses, and no rule that never decides.
#[derive(Debug, Default)]
pub struct Access<'a> {
    /// The rules that decide for this caller, and what each allows.
    pub grants: Vec<GrantView>,
    /// The built-in commands that are granted, then the others, by name.
    pub commands: Vec<Usable<'a>>,
    /// The sandboxes that these reach, in the order of [`Policy::profiles`].
    pub profiles: Vec<&'a Arc<Profile>>,
}

/// A command that a caller may use: once for each rule that decides about calls of it, in their order.
/// About a call decides the first whose scope covers it.
#[derive(Debug, Clone)]
pub struct Usable<'a> {
    /// Which.
    pub named: Named<'a>,
    /// The sandbox that it runs in.
    pub profile: &'a Arc<Profile>,
    /// The rule that decides.
    pub rule: &'a RuleId,
    /// What that rule asks for before each run.
    pub approval: Option<&'a Approval>,
    /// The calls that it is about.
    pub only: &'a Scope,
    /// Calls that are denied all the same.
    pub except: Vec<&'a Scope>,
    /// The rule whole.
    deciding: &'a GrantRule,
}

impl Usable<'_> {
    /// What [`Policy::decide`] answers to a call that it is about and that is not denied.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(Terms::of(self.named, self.profile), self.deciding)
    }

    /// Whether it decides that a call with these arguments may be made, where none before it does.
    pub fn is_about(&self, args: &[(String, String)]) -> bool {
        let call = self.named.with(args);
        let denied =
            |scope: &&Scope| call.is_some_and(|(command, args)| scope.touches(command, args));
        self.deciding.covers(call) && !self.except.iter().any(denied)
    }

    /// The calls that it is about, in words, where it is not about all: `only with unit:
    /// nginx.service, php*.service; never with unit: php5.service`.
    pub fn scope(&self) -> Option<String> {
        let only = (!self.only.is_any()).then(|| format!("only with {}", self.only));
        let except = self
            .except
            .iter()
            .map(|scope| format!("never with {scope}"));
        let all: Vec<String> = only.into_iter().chain(except).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// A name about which a rule decides for a caller.
#[derive(Debug, Clone, Copy)]
struct Decided<'a> {
    name: &'a str,
    profile: &'a Arc<Profile>,
    approval: Option<&'a Approval>,
}

impl Policy {
    /// What this caller may do, after denials, as `decide` would answer.
    pub fn access(&self, who: Who<'_>) -> Access<'_> {
        if refused_id(who.uid).is_some() {
            return Access::default();
        }
        let granting = self.granting.of(who);
        let denying = self.denying.of(who);
        let denials = |name: &str| {
            let places = self.denying.places(&denying, name);
            places.filter_map(|at| self.denies.get(at))
        };
        let is_open = |name: &str| !denials(name).any(|rule| rule.scope.is_any());

        let mut decides: BTreeMap<usize, Vec<Decided<'_>>> = BTreeMap::new();
        if is_open(RUN) {
            for (place, approval) in self.runs(&granting) {
                let Some(rule) = self.grants.get(place) else {
                    continue;
                };
                decides.entry(place).or_default().push(Decided {
                    name: RUN,
                    profile: &rule.profile,
                    approval,
                });
            }
        }
        let mut commands = Vec::new();
        for named in self.all_named().filter(|named| is_open(named.name())) {
            let profile = self.profile_of(named);
            let except: BTreeSet<&Scope> = denials(named.name()).map(|rule| &rule.scope).collect();
            for (place, rule) in self.deciding(&granting, named.name()) {
                let approval = rule.approval.as_ref();
                decides.entry(place).or_default().push(Decided {
                    name: named.name(),
                    profile,
                    approval,
                });
                commands.push(Usable {
                    named,
                    profile,
                    rule: &rule.id,
                    approval,
                    only: &rule.scope,
                    except: except.iter().copied().collect(),
                    deciding: rule,
                });
            }
        }
        let of_rules = decides.iter().filter_map(|(place, decided)| {
            let rule = self.grants.get(*place)?;
            Some(self.views(rule, decided))
        });
        let reached: BTreeSet<&str> = decides
            .values()
            .flatten()
            .map(|decided| decided.profile.name.as_str())
            .collect();
        Access {
            grants: of_rules.flatten().collect(),
            commands,
            profiles: self
                .profiles()
                .filter(|profile| reached.contains(profile.name.as_str()))
                .collect(),
        }
    }

    /// The grants that decide about calls of a command, in their order: the first whose scope covers a
    /// call. None behind the one that is about every call, and none whose scope one before it has.
    pub(crate) fn deciding<'a>(
        &'a self,
        granting: &Speaking,
        name: &str,
    ) -> Vec<(usize, &'a GrantRule)> {
        let mut found: Vec<(usize, &GrantRule)> = Vec::new();
        for place in self.granting.places(granting, name) {
            let Some(rule) = self.grants.get(place) else {
                continue;
            };
            if found.iter().all(|(_, before)| before.scope != rule.scope) {
                found.push((place, rule));
            }
            if rule.scope.is_any() {
                break;
            }
        }
        found
    }

    /// The rules by which this caller may `run`, each with the approval that the strictest of the same
    /// profile asks for; none that lists no variable that the others do not.
    pub(crate) fn runs<'a>(&'a self, granting: &Speaking) -> Vec<(usize, Option<&'a Approval>)> {
        let mut of_profile: BTreeMap<&str, (Option<&Approval>, Vec<&GrantRule>)> = BTreeMap::new();
        let places = self.granting.places(granting, RUN);
        let deciding = places.filter_map(|place| {
            let rule = self.grants.get(place)?;
            let (approval, kept) = of_profile
                .entry(&rule.profile.name)
                .or_insert_with(|| (rule.approval.as_ref(), Vec::new()));
            if kept.iter().any(|other| rule.env.is_subset(&other.env)) {
                return None;
            }
            kept.push(rule);
            Some((place, *approval))
        });
        deciding.collect()
    }
}

/// Names that one view of a rule lists; it counts the others.
const NAMES: usize = 16;

impl Policy {
    /// A rule as it is shown to a caller for whom it decides about these, together where they need the
    /// same approval: the patterns of which it decides all that they match, and other names one by one.
    fn views(&self, rule: &GrantRule, decided: &[Decided<'_>]) -> Vec<GrantView> {
        let own = rule.approval.as_ref();
        // A rule that is not the strictest about `run` needs the approval of the one that is.
        let (as_own, other): (Vec<_>, Vec<_>) = decided.iter().partition(|one| one.approval == own);
        let groups = [as_own, other].into_iter();
        groups
            .filter_map(|decided| self.view(rule, &decided))
            .collect()
    }

    fn view(&self, rule: &GrantRule, decided: &[Decided<'_>]) -> Option<GrantView> {
        let approval = decided.first()?.approval;
        let names: BTreeSet<&str> = decided.iter().map(|one| one.name).collect();
        let is_whole = |glob: &&Glob| {
            let mut matching = self.granting.matching(glob).peekable();
            matching.peek().is_some() && matching.all(|name| names.contains(name))
        };
        let whole: Vec<&Glob> = rule.allow.iter().filter(is_whole).collect();
        let is_apart = |name: &&&str| !whole.iter().any(|glob| rule.allows_by(glob, name));
        let apart: Vec<&str> = names.iter().filter(is_apart).copied().collect();

        let mut allow: Vec<String> = whole.iter().map(ToString::to_string).collect();
        allow.extend(apart.iter().take(NAMES).map(ToString::to_string));
        if apart.len() > NAMES {
            allow.push(format!("{} more", apart.len() - NAMES));
        }
        if !rule.scope.is_any() {
            for name in &mut allow {
                *name += &format!(" (only with {})", rule.scope);
            }
        }
        let run = decided.iter().find(|one| one.name == RUN);
        let profiles: BTreeSet<&str> = decided
            .iter()
            .map(|one| one.profile.name.as_str())
            .collect();
        Some(GrantView {
            left: None,
            rule: rule.id.to_string(),
            allow,
            profile: match run {
                Some(run) => run.profile.name.clone(),
                None => profiles.into_iter().collect::<Vec<_>>().join(", "),
            },
            env: run.map_or_else(Vec::new, |_| rule.env.iter().cloned().collect()),
            approval: approval.map(ToString::to_string),
        })
    }
}
