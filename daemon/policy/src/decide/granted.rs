//! Finds whether a rule is about a caller and a command at all. A caller without one learns nothing of the command, and reads
//! their own request later: so neither its arguments nor its description may depend on the command.

use std::sync::Arc;

use remit_common::builtin::UnitName;

use crate::decide::CallerIds;
use crate::decide::acts::{parse, text};
use crate::model::command::{Command, Param, ParamKind, THEN};
use crate::model::policy::Policy;
use crate::model::rule::{GrantRule, refused_id};

impl Policy {
    /// Returns true if a rule grants this caller a command, with any arguments. Otherwise all calls of it have one verdict.
    pub fn is_granted(&self, caller: CallerIds<'_>, name: &str) -> bool {
        let speaking = self.granting.of(caller);
        let mut granting = self.granting.positions(&speaking, name);
        refused_id(caller.uid).is_none() && granting.next().is_some()
    }

    /// Returns the definition of a command that a rule grants this caller, with any arguments. `None` also for a built-in one.
    pub fn granted_command(&self, caller: CallerIds<'_>, name: &str) -> Option<&Arc<Command>> {
        let command = self.command(name);
        command.filter(|_| self.is_granted(caller, name))
    }

    /// Returns the rules about this caller and name, in the order of decision.
    pub(super) fn rules_about(&self, caller: CallerIds<'_>, name: &str) -> Vec<&GrantRule> {
        let speaking = self.granting.of(caller);
        let positions = self.granting.positions(&speaking, name);
        positions.filter_map(|at| self.grants.get(at)).collect()
    }

    /// Completes units in the arguments of a command that a rule grants this caller: `nginx` becomes `nginx.service`, so rules
    /// and records have one name. Of the calls that are to follow a commit, it completes those that such a rule names.
    pub fn complete(&self, caller: CallerIds<'_>, name: &str, args: &mut [(String, String)]) {
        if !self.is_granted(caller, name) {
            return;
        }
        // Few commands take such calls.
        let may_follow = |act: &str| {
            let mut rules = self.rules_about(caller, name).into_iter();
            rules.any(|rule| rule.acts.contains(act))
        };
        self.complete_args(name, args, &may_follow);
    }

    /// Completes the arguments of a command, whoever calls it. `may_follow`: what follows a commit is completed if this is true
    /// of its name.
    pub(crate) fn complete_args(
        &self,
        name: &str,
        args: &mut [(String, String)],
        may_follow: &dyn Fn(&str) -> bool,
    ) {
        let Some(command) = self.command(name) else {
            return;
        };
        for (name, value) in args {
            if command.takes_acts() && name == THEN {
                self.complete_act(value, may_follow);
            }
            let is_unit =
                |param: &Param| param.name == *name && matches!(param.kind, ParamKind::Unit { .. });
            if let (true, Ok(unit)) = (
                command.params.iter().any(is_unit),
                value.parse::<UnitName>(),
            ) {
                *value = unit.to_string();
            }
        }
    }

    fn complete_act(&self, then: &mut String, may_follow: &dyn Fn(&str) -> bool) {
        if let Ok((name, mut args)) = parse(then)
            && may_follow(&name)
            && self
                .command(&name)
                .is_some_and(|command| !command.is_commit())
        {
            self.complete_args(&name, &mut args, may_follow);
            *then = text(&name, &args);
        }
    }
}
