//! What one caller may use, as [`Policy::decide`] would answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::wire::{Effect, GrantView};

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
/// About a call decides the first whose scope covers it; what others ask for that cover it, too, holds with it.
#[derive(Debug, Clone)]
pub struct Usable<'a> {
    /// Which.
    pub named: Named<'a>,
    /// The sandbox that it runs in.
    pub profile: &'a Arc<Profile>,
    /// The rule that decides.
    pub rule: &'a RuleId,
    /// What is asked for before each run, whatever else its arguments are: by that rule, and by those that
    /// are about all of its calls.
    pub approval: Option<Approval>,
    /// The calls that it is about.
    pub only: &'a Scope,
    /// Calls that are denied all the same.
    pub except: Vec<&'a Scope>,
    /// The rule whole.
    deciding: &'a GrantRule,
    /// All rules that ask about calls of the command.
    asking: Vec<&'a GrantRule>,
}

impl Usable<'_> {
    /// What [`Policy::decide`] answers to a call that it is about and that is not denied, where no rule about
    /// further arguments asks for more.
    pub fn verdict(&self) -> Verdict {
        self.asked(self.approval.clone())
    }

    /// What [`Policy::decide`] answers to this call, where it is about it and none before it is.
    pub fn verdict_of(&self, args: &[(String, String)]) -> Verdict {
        let call = self.named.with(args);
        let covering = self.asking.iter().filter(|rule| rule.covers(call));
        self.asked(Approval::all(
            covering.filter_map(|rule| rule.approval.as_ref()),
        ))
    }

    fn asked(&self, approval: Option<Approval>) -> Verdict {
        let terms = Terms::of(self.named, self.profile);
        Verdict::of(terms, &self.deciding.id, approval)
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
#[derive(Debug, Clone)]
struct Decided<'a> {
    name: &'a str,
    profile: &'a Arc<Profile>,
    approval: Option<Approval>,
}

/// A rule that decides about calls of a command.
pub(crate) struct Deciding<'a> {
    /// Its place among all grants.
    pub(crate) place: usize,
    pub(crate) rule: &'a GrantRule,
    /// What is asked for in all its calls, by whichever rule.
    pub(crate) approval: Option<Approval>,
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
            let deciding = self.deciding(&granting, named.name());
            let places = self.granting.places(&granting, named.name());
            let asking: Vec<&GrantRule> = places
                .filter_map(|place| self.grants.get(place))
                .filter(|rule| rule.approval.is_some())
                .collect();
            for Deciding {
                place,
                rule,
                approval,
            } in deciding
            {
                decides.entry(place).or_default().push(Decided {
                    name: named.name(),
                    profile,
                    approval: approval.clone(),
                });
                commands.push(Usable {
                    named,
                    profile,
                    rule: &rule.id,
                    approval,
                    only: &rule.scope,
                    except: except.iter().copied().collect(),
                    deciding: rule,
                    asking: asking.clone(),
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
    /// call. None that neither allows nor asks for anything that those before it do not.
    pub(crate) fn deciding<'a>(&'a self, granting: &Speaking, name: &str) -> Vec<Deciding<'a>> {
        let places = self.granting.places(granting, name);
        let speaking: Vec<(usize, &GrantRule)> = places
            .filter_map(|place| Some((place, self.grants.get(place)?)))
            .collect();
        // Of every call of this scope.
        let asked = |scope: &Scope| {
            let about = speaking.iter().map(|(_, rule)| rule);
            let about = about.filter(|rule| rule.scope.is_any() || rule.scope == *scope);
            Approval::all(about.filter_map(|rule| rule.approval.as_ref()))
        };
        let mut found: Vec<Deciding<'_>> = Vec::new();
        for (place, rule) in &speaking {
            let approval = asked(&rule.scope);
            let is_new = found.iter().all(|before| {
                let all = before.rule.scope.is_any() && before.approval == approval;
                before.rule.scope != rule.scope && !all
            });
            let is_needed =
                rule.approval.is_some() || found.iter().all(|before| !before.rule.scope.is_any());
            if is_new && is_needed {
                found.push(Deciding {
                    place: *place,
                    rule,
                    approval,
                });
            }
        }
        found
    }

    /// The rules by which this caller may `run`, each with the approval that all of the same profile ask
    /// for; none that lists no variable that the others do not.
    pub(crate) fn runs(&self, granting: &Speaking) -> Vec<(usize, Option<Approval>)> {
        let places = self.granting.places(granting, RUN);
        let speaking: Vec<(usize, &GrantRule)> = places
            .filter_map(|place| Some((place, self.grants.get(place)?)))
            .collect();
        let mut kept: Vec<&GrantRule> = Vec::new();
        let mut found = Vec::new();
        for (place, rule) in &speaking {
            let is_same = |other: &GrantRule| other.profile.name == rule.profile.name;
            let mut others = kept.iter().filter(|other| is_same(other));
            if others.any(|other| rule.env.is_subset(&other.env)) {
                continue;
            }
            kept.push(rule);
            let of_profile = speaking.iter().map(|(_, other)| other);
            let of_profile = of_profile.filter(|other| is_same(other));
            let asked = Approval::all(of_profile.filter_map(|rule| rule.approval.as_ref()));
            found.push((*place, asked));
        }
        found
    }
}

/// Names that one view of a rule lists; it counts the others.
const NAMES: usize = 16;

impl Policy {
    /// A rule as it is shown to a caller for whom it decides about these, together where they need the
    /// same approval: the patterns of which it decides all that they match, and other names one by one.
    fn views(&self, rule: &GrantRule, decided: &[Decided<'_>]) -> Vec<GrantView> {
        // Other rules may ask for more of some of them.
        let mut groups: Vec<Vec<&Decided<'_>>> = Vec::new();
        for one in decided {
            let same = |group: &&mut Vec<&Decided<'_>>| {
                let first = group.first();
                first.is_some_and(|first| first.approval == one.approval)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push(one),
                None => groups.push(vec![one]),
            }
        }
        let own = |group: &Vec<&Decided<'_>>| {
            let first = group.first();
            first.is_none_or(|first| first.approval != rule.approval)
        };
        groups.sort_by_key(own);
        let views = groups.iter();
        views.filter_map(|group| self.view(rule, group)).collect()
    }

    fn effect_of(&self, name: &str) -> Effect {
        self.named(name)
            .map_or(Effect::Read, |named| named.effect())
    }

    fn view(&self, rule: &GrantRule, decided: &[&Decided<'_>]) -> Option<GrantView> {
        let approval = decided.first()?.approval.as_ref();
        let names: BTreeSet<&str> = decided.iter().map(|one| one.name).collect();
        let is_whole = |glob: &&Glob| {
            let mut matching = self
                .granting
                .matching(glob)
                .filter(|name| rule.patterns_reach(glob, self.effect_of(name)))
                .peekable();
            matching.peek().is_some() && matching.all(|name| names.contains(name))
        };
        let whole: Vec<&Glob> = rule.allow.iter().filter(is_whole).collect();
        let is_apart = |name: &&&str| {
            !whole
                .iter()
                .any(|glob| rule.allows_by(glob, name, self.effect_of(name)))
        };
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
