//! What permits calls of a command, and so what they do without another person.

use std::collections::BTreeSet;

use remit_common::prove::{PermittedCall, PermittedGrant};
use remit_common::service::is_protected;
use remit_policy::{Command, Count, Param, Pending, Usable, Verdict};

use super::command::{
    has_units_started, is_unit, listed, literal, literal_units, template_instance, unit_name,
    unit_params, written,
};
use crate::path::FilePath;

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
    Commit { beneath: Vec<FilePath> },
}

pub enum PermittedBy<'p> {
    /// A rule of the policy alone.
    Rule(&'p Usable<'p>),
    /// A temporary grant, where a rule asks.
    Advance(&'p Usable<'p>, &'p PermittedGrant),
    /// The approval of one call.
    Call(&'p PermittedCall),
}

impl<'p> PermittedBy<'p> {
    /// The rule's name, file and line; or what else permits it.
    pub fn by(&self) -> String {
        match self {
            Self::Rule(usable) => usable.rule.to_string(),
            Self::Advance(_, grant) => grant.by.clone(),
            Self::Call(_) => "this request".to_owned(),
        }
    }

    /// The change that ends it.
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::Rule(usable) => Some(format!("narrow {}", usable.rule)),
            Self::Advance(_, grant) => grant.ended_by.clone(),
            Self::Call(_) => None,
        }
    }

    /// `is_called`: what the program reads or runs matters.
    pub fn effects(
        &self,
        command: &Command,
        is_called: bool,
        units: &BTreeSet<String>,
    ) -> Vec<What> {
        let mut effects = Vec::new();
        let starts = has_units_started(command, |param, value| self.permits(param, value));
        if starts {
            effects.extend(self.starts(command, units));
        }
        if !self.permits_any() {
            return effects;
        }
        effects.extend(is_called.then_some(What::Call));
        if starts {
            effects.extend(literal_units(command).flat_map(|word| named_units(word, units)));
        }
        if let Some(files) = written(command) {
            let profile = command.profile.name.clone();
            effects.push(What::Input { profile, files });
        }
        let beneath = self.beneath().filter(|_| command.is_commit());
        effects.extend(beneath.map(|beneath| What::Commit { beneath }));
        effects
    }

    fn permits_any(&self) -> bool {
        match self {
            Self::Rule(usable) | Self::Advance(usable, _) => self.is_met(&usable.verdict()),
            Self::Call(_) => true,
        }
    }

    /// Returns true if a call with this value is permitted, with some values of the arguments that are free.
    fn permits(&self, param: &Param, value: &str) -> bool {
        let (usable, others): (_, &[_]) = match self {
            Self::Call(_) => return true,
            Self::Rule(usable) => (usable, &[]),
            Self::Advance(usable, grant) => (usable, &grant.args),
        };
        let others = others.iter().filter(|(name, _)| *name != param.name);
        let own = (param.name.clone(), value.to_owned());
        let args: Vec<_> = others.cloned().chain([own]).collect();
        let mut verdicts = usable.verdicts_with(&args);
        verdicts.any(|verdict| self.is_met(&verdict))
    }

    fn is_met(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Allow(_) => matches!(self, Self::Rule(_)),
            Verdict::Ask(pending) => !matches!(self, Self::Rule(_)) && takes_grants(pending),
            Verdict::Deny(_) => false,
        }
    }

    /// Returns the units that calls have started.
    fn starts(&self, command: &Command, units: &BTreeSet<String>) -> Vec<What> {
        let params = unit_params(command);
        let is_name = |value: &&str| !value.contains(PATTERN);
        let params = params.map(|(param, instances)| match self.values_of(param) {
            values if listed(param).is_some() => self.listed(command, (param, values), units),
            Some(values) if values.iter().all(is_name) => self.named(param, &values),
            Some(_) | None => self.any(command, (param, instances), units),
        });
        params.flatten().collect()
    }

    /// `values`: those that each of the calls has, as of `values_of`.
    fn listed(
        &self,
        command: &Command,
        (param, values): (&Param, Option<Vec<&str>>),
        units: &BTreeSet<String>,
    ) -> Vec<What> {
        let is_started = starter(command);
        let is_own = |value: &str| values.as_ref().is_none_or(|own| own.contains(&value));
        let words = listed(param).unwrap_or_default().into_iter();
        let words = words.filter(|(value, word)| {
            is_unit(word) && is_own(value) && is_started(word) && self.permits(param, value)
        });
        let started = words.flat_map(|(_, word)| named_units(word, units));
        started.collect()
    }

    fn named(&self, param: &Param, values: &[&str]) -> Vec<What> {
        let permitted = values.iter().filter(|value| self.permits(param, value));
        permitted
            .map(|value| What::Start(unit_name(value)))
            .collect()
    }

    fn any(
        &self,
        command: &Command,
        (param, instances): (&Param, bool),
        units: &BTreeSet<String>,
    ) -> Vec<What> {
        let is_started = starter(command);
        let units = units.iter().filter(|unit| is_started(unit));
        let started = units.filter_map(|unit| match template_instance(unit) {
            Some(_) if !instances => None,
            Some(instance) => self
                .permits(param, &instance)
                .then(|| What::StartTyped(unit.clone())),
            None => self.permits(param, unit).then(|| What::Start(unit.clone())),
        });
        started.collect()
    }

    /// Returns the values that each of the calls has. `None`: any.
    fn values_of<'v>(&'v self, param: &'v Param) -> Option<Vec<&'v str>>
    where
        'p: 'v,
    {
        let args = match self {
            Self::Rule(_) => return None,
            Self::Call(call) => &call.args,
            Self::Advance(_, grant) => &grant.args,
        };
        let own = args.iter().filter(|(name, _)| *name == param.name);
        let values: Vec<&str> = own.map(|(_, value)| value.as_str()).collect();
        match (values.is_empty(), self) {
            (false, _) => Some(values),
            (true, Self::Call(_)) => Some(param.default.as_deref().into_iter().collect()),
            (true, _) => None,
        }
    }

    /// Returns beneath which paths a plan is committed: those of the rule, and of the grant. Empty: any. `None`: nowhere.
    fn beneath(&self) -> Option<Vec<FilePath>> {
        let (rule, grant): (_, &[_]) = match self {
            Self::Rule(usable) => (usable.only.paths, &[]),
            Self::Advance(usable, grant) => (usable.only.paths, &grant.paths),
            // Its plan is described by its files.
            Self::Call(_) => return None,
        };
        let rule = rule.iter().map(|path| FilePath::new(path.as_bytes()));
        let rule: Vec<FilePath> = rule.flatten().collect();
        let grant = grant.iter().map(|path| FilePath::new(&path[..]));
        let grant: Vec<FilePath> = grant.flatten().collect();
        if rule.is_empty() || grant.is_empty() {
            return Some([rule, grant].concat());
        }
        let pairs = rule.iter();
        let pairs = pairs.flat_map(|rule| grant.iter().map(move |one| (rule, one)));
        let both = pairs.filter_map(|(rule, one)| match one.is_beneath(rule) {
            true => Some(one),
            false => Some(rule).filter(|rule| rule.is_beneath(one)),
        });
        let both: Vec<FilePath> = both.cloned().collect();
        (!both.is_empty()).then_some(both)
    }
}

/// Signs of patterns, which systemctl(1) takes for names of units.
const PATTERN: [char; 3] = ['*', '?', '['];

/// Returns whether the program of the command starts a unit: remit-act starts none that is protected.
fn starter(command: &Command) -> impl Fn(&str) -> bool + use<> {
    let is_own = literal(command, 0).ends_with("/remit-act");
    move |unit| !is_own || is_protected(unit).is_none()
}

/// Returns the units that a word of systemctl(1) has started: one, or all whose names begin as a pattern does.
fn named_units(word: &str, units: &BTreeSet<String>) -> Vec<What> {
    let Some((prefix, _)) = word.split_once(PATTERN) else {
        return vec![What::Start(unit_name(word))];
    };
    let units = units.iter().filter(|unit| unit.starts_with(prefix));
    units.cloned().map(What::Start).collect()
}

/// A request that needs several people or a signature needs its own approval.
fn takes_grants(pending: &Pending) -> bool {
    let approval = pending.approval();
    approval.count() == Count::One && approval.signed().is_none()
}
