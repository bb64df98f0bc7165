//! What one caller may use, as [`Policy::decide`] would answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::wire::GrantView;

use crate::accounts::refused_id;
use crate::approval::Approval;
use crate::decide::Who;
use crate::index::Speaking;
use crate::names::{Named, RUN};
use crate::policy::Policy;
use crate::profile::Profile;
use crate::rule::{GrantRule, RuleId};

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

/// A command that a caller may use.
#[derive(Debug, Clone, Copy)]
pub struct Usable<'a> {
    /// Which.
    pub named: Named<'a>,
    /// The sandbox that it runs in.
    pub profile: &'a Arc<Profile>,
    /// The rule that decides.
    pub rule: &'a RuleId,
    /// What that rule asks for before each run.
    pub approval: Option<&'a Approval>,
}

/// What a rule decides for a caller: names, each with the approval that holds.
type Decides<'a> = BTreeMap<usize, Vec<(&'a str, Option<&'a Approval>)>>;

impl Policy {
    /// What this caller may do, after denials, as `decide` would answer.
    pub fn access(&self, who: Who<'_>) -> Access<'_> {
        if refused_id(who.uid).is_some() {
            return Access::default();
        }
        let granting = self.granting.of(who);
        let denying = self.denying.of(who);
        let is_open = |name: &str| self.denying.places(&denying, name).next().is_none();

        let mut decides = Decides::new();
        if is_open(RUN) {
            for (place, approval) in self.runs(&granting) {
                decides.entry(place).or_default().push((RUN, approval));
            }
        }
        let mut commands = Vec::new();
        for named in self.all_named().filter(|named| is_open(named.name())) {
            let first = self.granting.places(&granting, named.name()).next();
            let Some((place, rule)) = first.and_then(|at| Some((at, self.grants.get(at)?))) else {
                continue;
            };
            let approval = rule.approval.as_ref();
            decides
                .entry(place)
                .or_default()
                .push((named.name(), approval));
            commands.push(Usable {
                named,
                profile: self.profile_of(named),
                rule: &rule.id,
                approval,
            });
        }

        let mut grants = Vec::new();
        for (place, names) in &decides {
            if let Some(rule) = self.grants.get(*place) {
                grants.extend(views(rule, names));
            }
        }
        let in_commands =
            |profile: &Profile| commands.iter().any(|one| one.profile.name == profile.name);
        let in_grants = |profile: &Profile| grants.iter().any(|view| view.profile == profile.name);
        let reached = |profile: &&Arc<Profile>| in_commands(profile) || in_grants(profile);
        let profiles = self.profiles().filter(reached).collect();
        Access {
            grants,
            commands,
            profiles,
        }
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

/// A rule as it is shown to a caller for whom it decides about `names`: the patterns that match one of
/// them, together where they need the same approval.
fn views<'a>(
    rule: &'a GrantRule,
    names: &'a [(&'a str, Option<&'a Approval>)],
) -> impl Iterator<Item = GrantView> + use<'a> {
    let own = rule.approval.as_ref();
    // A rule that is not the strictest about `run` needs the approval of the one that is.
    let other = names
        .iter()
        .map(|(_, approval)| *approval)
        .find(|approval| *approval != own);
    [Some(own), other]
        .into_iter()
        .flatten()
        .filter_map(move |approval| {
            let here = |name: &str| names.contains(&(name, approval));
            let allow: Vec<String> = rule
                .allow
                .iter()
                .filter(|glob| {
                    names
                        .iter()
                        .any(|(name, _)| here(name) && rule.allows_by(glob, name))
                })
                .map(ToString::to_string)
                .collect();
            (!allow.is_empty()).then(|| GrantView {
                rule: rule.id.to_string(),
                allow,
                profile: rule.profile.name.clone(),
                env: if here(RUN) {
                    rule.env.iter().cloned().collect()
                } else {
                    Vec::new()
                },
                approval: approval.map(ToString::to_string),
            })
        })
}
