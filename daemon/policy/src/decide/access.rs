//! Lists what one caller may use, as [`Policy::decide`] would answer.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use remit_common::wire::GrantView;

use crate::decide::index::CallerRules;
use crate::decide::{CallerIds, Terms, Verdict};
use crate::model::approval::Approval;
use crate::model::glob::Glob;
use crate::model::policy::{CHANGE, Named, Policy, RUN};
use crate::model::profile::Profile;
use crate::model::rule::{Coverage, GrantRule, RuleId, refused_id};
use crate::model::scope::Scope;

#[derive(Debug, Default)]
pub struct Access<'a> {
    pub grants: Vec<GrantView>,
    /// First the granted built-in commands, then the others, by name.
    pub commands: Vec<Usable<'a>>,
    pub profiles: Vec<&'a Arc<Profile>>,
}

/// A command that a caller may use: one entry for each rule that decides about calls of it, in their order. The first
/// rule whose scope covers a call decides. Approvals that other covering rules ask for apply as well.
#[derive(Debug, Clone)]
pub struct Usable<'a> {
    pub named: Named<'a>,
    pub profile: &'a Arc<Profile>,
    pub rule: &'a RuleId,
    /// Approvals before each run, whatever its other arguments: of this rule, and of rules about all calls.
    pub approval: Option<Approval>,
    pub only: Coverage<'a>,
    /// Of all entries of this command together.
    pub except: Rc<[&'a Scope]>,
    deciding: &'a GrantRule,
    /// Rules that ask for an approval, of all entries of this command together.
    pub(super) asking: Rc<[&'a GrantRule]>,
}

impl Usable<'_> {
    /// Returns the verdict on a covered call that is not denied, if no rule about further arguments asks for more.
    pub fn verdict(&self) -> Verdict {
        self.asked(&self.deciding.id, self.approval.clone())
    }

    /// Returns the verdict on this call, if this rule covers it and no earlier one does.
    pub fn verdict_of(&self, args: &[(String, String)]) -> Verdict {
        let call = Some(self.named.with(args));
        let counting = || self.asking.iter().filter(|rule| rule.counts_for(call));
        let asked = Approval::all(counting().filter_map(|rule| rule.approval.as_ref()));
        // Rules with an approval come first.
        let strictest = counting().next().map_or(self.deciding, |rule| rule);
        self.asked(&strictest.id, asked)
    }

    fn asked(&self, rule: &RuleId, approval: Option<Approval>) -> Verdict {
        Verdict::of(Terms::of(self.named, self.profile), rule, approval)
    }

    /// Returns true if this rule allows a call with these arguments, provided that no earlier rule covers it.
    pub fn is_about(&self, args: &[(String, String)]) -> bool {
        let call = Some(self.named.with(args));
        let denied = |scope: &&Scope| scope.touches(self.named, args);
        self.deciding.covers(call) && !self.except.iter().any(denied)
    }

    /// The covered calls if not all: `only with unit: nginx.service, php*.service; never with unit: php5.service`.
    pub fn scope(&self) -> Option<String> {
        let (only, acts) = (self.only.without_acts(), self.only.acts);
        let only = (!only.is_any()).then(|| format!("only with {only}"));
        let acts = acts.map(|acts| {
            let acts: Vec<&str> = acts.iter().map(String::as_str).collect();
            format!("then: {}", acts.join(", "))
        });
        let except = self
            .except
            .iter()
            .map(|scope| format!("never with {scope}"));
        let all: Vec<String> = only.into_iter().chain(acts).chain(except).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[derive(Debug, Clone)]
struct Decided<'a> {
    name: &'a str,
    profile: &'a Arc<Profile>,
    approval: Option<Approval>,
}

pub struct Deciding<'a> {
    pub position: usize,
    pub rule: &'a GrantRule,
    pub coverage: Coverage<'a>,
    /// Approvals for all its calls, of any rule.
    pub approval: Option<Approval>,
}

/// Approvals that rules ask for, each with the position of its first rule, by scope: thousands of rules may be about one
/// command.
struct AskedByScope<'a>(BTreeMap<&'a Scope, Vec<(usize, Coverage<'a>, &'a Approval)>>);

impl<'a> AskedByScope<'a> {
    fn of(speaking: &[(usize, &'a GrantRule, Coverage<'a>)]) -> Self {
        let mut by_scope: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (position, rule, coverage) in speaking {
            let Some(approval) = &rule.approval else {
                continue;
            };
            let same: &mut Vec<_> = by_scope.entry(coverage.scope).or_default();
            let is_known = |(_, known, asked): &(usize, Coverage<'_>, &Approval)| {
                known == coverage && *asked == approval
            };
            if !same.iter().any(is_known) {
                same.push((*position, *coverage, approval));
            }
        }
        Self(by_scope)
    }

    /// Returns what is asked for each call that is covered.
    fn about(&self, covered: &Coverage<'_>) -> Option<Approval> {
        let any = Scope::default();
        let own = (!covered.scope.is_any()).then_some(covered.scope);
        // Wider scopes than these are not searched: they can be many, and a decision about a call counts all of them.
        let scopes = [Some(&any), own].into_iter().flatten();
        let rules = scopes.filter_map(|scope| self.0.get(scope)).flatten();
        let about = rules.filter(|(_, coverage, _)| coverage.includes(covered));
        let mut about: Vec<_> = about.collect();
        about.sort_by_key(|(position, ..)| *position);
        Approval::all(about.into_iter().map(|(.., approval)| *approval))
    }
}

impl Policy {
    pub fn access(&self, caller: CallerIds<'_>) -> Access<'_> {
        if refused_id(caller.uid).is_some() {
            return Access::default();
        }
        let granting = self.granting.of(caller);
        let denying = self.denying.of(caller);
        let denials = |name: &str| {
            let positions = self.denying.positions(&denying, name);
            positions.filter_map(|at| self.denies.get(at))
        };
        let is_open = |name: &str| !denials(name).any(|rule| rule.scope.is_any());

        let mut decides: BTreeMap<usize, Vec<Decided<'_>>> = BTreeMap::new();
        if is_open(RUN) {
            for (position, approval) in self.runs(&granting) {
                let Some(rule) = self.grants.get(position) else {
                    continue;
                };
                decides.entry(position).or_default().push(Decided {
                    name: RUN,
                    profile: &rule.profile,
                    approval,
                });
            }
        }
        if is_open(CHANGE) {
            for (position, approval) in self.one_offs(&granting) {
                decides.entry(position).or_default().push(Decided {
                    name: CHANGE,
                    profile: &self.host,
                    approval,
                });
            }
        }
        let mut commands = Vec::new();
        for named in self.all_named().filter(|named| is_open(named.name())) {
            let profile = self.profile_of(named);
            let except: BTreeSet<&Scope> = denials(named.name()).map(|rule| &rule.scope).collect();
            let deciding = self.deciding(&granting, named);
            let positions = self.granting.positions(&granting, named.name());
            let except: Rc<[&Scope]> = except.into_iter().collect();
            let asking: Rc<[&GrantRule]> = positions
                .filter_map(|position| self.grants.get(position))
                .filter(|rule| rule.approval.is_some())
                .collect();
            for Deciding {
                position,
                rule,
                approval,
                coverage,
            } in deciding
            {
                decides.entry(position).or_default().push(Decided {
                    name: named.name(),
                    profile,
                    approval: approval.clone(),
                });
                commands.push(Usable {
                    named,
                    profile,
                    rule: &rule.id,
                    approval,
                    only: coverage,
                    except: Rc::clone(&except),
                    deciding: rule,
                    asking: Rc::clone(&asking),
                });
            }
        }
        let of_rules = decides.iter().filter_map(|(position, decided)| {
            let rule = self.grants.get(*position)?;
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

    /// Returns the grants that decide about calls of a command, in their order; the first whose scope covers a call
    /// decides. Leaves out grants that allow nothing, let nothing follow and ask for nothing beyond earlier ones.
    pub fn deciding<'a>(&'a self, granting: &CallerRules, named: Named<'_>) -> Vec<Deciding<'a>> {
        let nature = named.nature();
        let positions = self.granting.positions(granting, named.name());
        let speaking: Vec<(usize, &GrantRule, Coverage<'_>)> = positions
            .filter_map(|position| Some((position, self.grants.get(position)?)))
            .map(|(position, rule)| (position, rule, rule.coverage(nature)))
            .collect();
        let asked = AskedByScope::of(&speaking);
        let mut found: Vec<Deciding<'_>> = Vec::new();
        let mut known: BTreeSet<Coverage<'_>> = BTreeSet::new();
        // Positions in `found` of those about all calls.
        let mut open: Vec<usize> = Vec::new();
        for (position, rule, coverage) in speaking {
            if known.contains(&coverage) {
                continue;
            }
            let approval = asked.about(&coverage);
            let follow = |before: &Deciding<'_>| {
                let before = before.coverage.acts;
                let names =
                    |acts: &BTreeSet<String>| before.is_some_and(|before| acts.is_subset(before));
                coverage.acts.is_none_or(names)
            };
            let decides_all = |before: &Deciding<'_>| before.approval == approval && follow(before);
            let mut before = open.iter().filter_map(|at| found.get(*at));
            let is_needed = rule.approval.is_some() || !before.clone().any(follow);
            if is_needed && !before.any(decides_all) {
                known.insert(coverage);
                open.extend(coverage.is_any().then_some(found.len()));
                found.push(Deciding {
                    position,
                    rule,
                    coverage,
                    approval,
                });
            }
        }
        found
    }

    /// Returns the rules by which this caller may `run`, each with the approvals that all rules of the same profile
    /// ask for. Leaves out rules that list no further variable.
    pub fn runs(&self, granting: &CallerRules) -> Vec<(usize, Option<Approval>)> {
        let same = |one: &GrantRule, other: &GrantRule| one.profile.name == other.profile.name;
        self.any_program(granting, RUN, same)
    }

    /// Returns the rules by which this caller may ask for a one-off change, as [`Self::runs`].
    pub fn one_offs(&self, granting: &CallerRules) -> Vec<(usize, Option<Approval>)> {
        self.any_program(granting, CHANGE, |_, _| true)
    }

    /// `counts_with`: an approval that one rule asks for is needed for the runs of the other.
    fn any_program(
        &self,
        granting: &CallerRules,
        name: &str,
        counts_with: impl Fn(&GrantRule, &GrantRule) -> bool,
    ) -> Vec<(usize, Option<Approval>)> {
        let positions = self.granting.positions(granting, name);
        let speaking: Vec<(usize, &GrantRule)> = positions
            .filter_map(|position| Some((position, self.grants.get(position)?)))
            .filter(|(_, rule)| name != CHANGE || rule.allows_one_off())
            .collect();
        let mut kept: Vec<&GrantRule> = Vec::new();
        let mut found = Vec::new();
        for (position, rule) in &speaking {
            let mut others = kept.iter().filter(|other| counts_with(rule, other));
            if others.any(|other| rule.env.is_subset(&other.env)) {
                continue;
            }
            kept.push(rule);
            let together = speaking.iter().map(|(_, other)| other);
            let together = together.filter(|other| counts_with(rule, other));
            let asked = Approval::all(together.filter_map(|rule| rule.approval.as_ref()));
            found.push((*position, asked));
        }
        found
    }
}

const NAMES: usize = 16;

impl Policy {
    /// Shows a rule to a caller for whom it decides about these names. Names with the same approval are together: as
    /// a pattern if the rule decides all that it matches, otherwise one by one.
    fn views(&self, rule: &GrantRule, decided: &[Decided<'_>]) -> Vec<GrantView> {
        let mut groups: Vec<Vec<&Decided<'_>>> = Vec::new();
        for one in decided {
            let same = |group: &&mut Vec<&Decided<'_>>| {
                // One-off changes have no profile in common with anything else.
                let is_same = |first: &&Decided<'_>| {
                    first.approval == one.approval && (first.name == CHANGE) == (one.name == CHANGE)
                };
                group.first().is_some_and(is_same)
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

    fn view(&self, rule: &GrantRule, decided: &[&Decided<'_>]) -> Option<GrantView> {
        let approval = decided.first()?.approval.as_ref();
        let names: BTreeSet<&str> = decided.iter().map(|one| one.name).collect();
        let is_whole = |glob: &&Glob| {
            let mut matching = self
                .granting
                .matching(glob)
                .filter(|name| rule.patterns_reach(glob, self.nature_of(name)))
                .peekable();
            matching.peek().is_some() && matching.all(|name| names.contains(name))
        };
        let whole: Vec<&Glob> = rule.allow.iter().filter(is_whole).collect();
        let is_uncovered = |name: &&&str| {
            !whole
                .iter()
                .any(|glob| rule.allows_by(glob, name, self.nature_of(name)))
        };
        let uncovered: Vec<&str> = names.iter().filter(is_uncovered).copied().collect();

        let mut allow: Vec<String> = whole.iter().map(ToString::to_string).collect();
        allow.extend(uncovered.iter().take(NAMES).map(ToString::to_string));
        if uncovered.len() > NAMES {
            allow.push(format!("{} more", uncovered.len() - NAMES));
        }
        if !rule.scope.is_any() {
            for name in &mut allow {
                *name += &format!(" (only with {})", rule.scope);
            }
        }
        let run = decided.iter().find(|one| [RUN, CHANGE].contains(&one.name));
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
