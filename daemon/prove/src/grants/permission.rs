//! What permits calls of a command, and so what they do without another person.

use std::collections::BTreeSet;

use remit_common::prove::{Permitted, PermittedTo};
use remit_common::service::is_protected;
use remit_policy::{CallerIds, Command, Param, Usable, Verdict};

use super::What;
use super::command::{
    literal, literal_unit, starts_unit, template_instance, template_of, writes_input,
};
use crate::path::FilePath;

pub enum Permission<'p> {
    /// A rule of the policy alone.
    Rule(&'p Usable<'p>),
    /// A temporary grant, where a rule asks.
    Advance(&'p Usable<'p>, &'p Permitted),
    /// The approval of one call.
    Call(&'p str, &'p [(String, String)]),
}

impl<'p> Permission<'p> {
    pub fn of_call(permitted: &'p Permitted) -> Option<Self> {
        match permitted {
            Permitted::Call { command, args, .. } => Some(Self::Call(command, args)),
            Permitted::Grant { .. } => None,
        }
    }

    pub fn is_of(&self, command: &Command) -> bool {
        match self {
            Self::Call(name, _) => command.name == *name,
            Self::Rule(_) => true,
            Self::Advance(_, Permitted::Grant { commands, .. }) => commands.contains(&command.name),
            Self::Advance(_, Permitted::Call { .. }) => false,
        }
    }

    pub fn by(&self) -> String {
        match self {
            Self::Rule(usable) => usable.rule.to_string(),
            Self::Advance(_, Permitted::Grant { by, .. }) => by.clone(),
            Self::Advance(_, Permitted::Call { .. }) | Self::Call(..) => "this request".to_owned(),
        }
    }

    pub fn effects(&self, command: &Command, units: &BTreeSet<String>) -> Vec<What> {
        if !self.is_of(command) {
            return Vec::new();
        }
        let mut effects = self.starts(command, units);
        if !self.permits_any() {
            return effects;
        }
        effects.push(What::Call);
        effects.extend(literal_unit(command).into_iter().map(What::Start));
        if let Some(files) = writes_input(command) {
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
            Self::Call(..) => true,
        }
    }

    fn permits(&self, param: &Param, value: &str) -> bool {
        let args = [(param.name.clone(), value.to_owned())];
        match self {
            Self::Rule(usable) | Self::Advance(usable, _) => {
                usable.is_about(&args) && self.is_met(&usable.verdict_of(&args))
            }
            Self::Call(..) => true,
        }
    }

    fn is_met(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Allow(_) => matches!(self, Self::Rule(_)),
            Verdict::Ask(_) => !matches!(self, Self::Rule(_)),
            Verdict::Deny(_) => false,
        }
    }

    /// Returns the units that calls have started.
    fn starts(&self, command: &Command, units: &BTreeSet<String>) -> Vec<What> {
        let Some((param, instances)) = starts_unit(command) else {
            return Vec::new();
        };
        if let Some(values) = self.values_of(param) {
            let permitted = values.into_iter().filter(|unit| self.permits(param, unit));
            let units = permitted.flat_map(|unit| [template_of(unit), Some(unit.to_owned())]);
            return units.flatten().map(What::Start).collect();
        }
        let is_own = literal(command, 0).ends_with("/remit-act");
        let units = units.iter();
        let units = units.filter(|unit| !is_own || is_protected(unit).is_none());
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
    fn values_of(&self, param: &'p Param) -> Option<Vec<&'p str>> {
        let (args, is_whole) = match self {
            Self::Rule(_) => return None,
            Self::Call(_, args) => (*args, true),
            Self::Advance(_, Permitted::Grant { args, .. } | Permitted::Call { args, .. }) => {
                (args.as_slice(), false)
            }
        };
        let own = args.iter().filter(|(name, _)| *name == param.name);
        let values: Vec<&str> = own.map(|(_, value)| value.as_str()).collect();
        match (values.is_empty(), is_whole) {
            (false, _) => Some(values),
            (true, true) => Some(param.default.as_deref().into_iter().collect()),
            (true, false) => None,
        }
    }

    /// Returns beneath which paths a plan is committed: those of the rule, and of the grant. Empty: any. `None`: nowhere.
    fn beneath(&self) -> Option<Vec<FilePath>> {
        let (rule, grant): (_, &[_]) = match self {
            Self::Rule(usable) => (usable.only.paths, &[]),
            Self::Advance(usable, Permitted::Grant { paths, .. }) => (usable.only.paths, paths),
            // Its plan is described by its files.
            Self::Advance(_, Permitted::Call { .. }) | Self::Call(..) => return None,
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

pub fn is_to(permitted: &Permitted, caller: &CallerIds<'_>) -> bool {
    match permitted {
        Permitted::Call { uid, .. } => *uid == caller.uid,
        Permitted::Grant { to, .. } => match to {
            PermittedTo::User(uid) => *uid == caller.uid,
            PermittedTo::Group(gid) => caller.gids.contains(gid),
        },
    }
}
