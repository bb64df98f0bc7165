//! Resolves the names of rules: `run`, the built-in commands, the policy's commands.

use std::sync::Arc;

use remit_common::builtin;
use remit_common::wire::Effect;

use crate::model::command::Command;
use crate::model::policy::Policy;
use crate::model::profile::Profile;
use crate::model::rule::Nature;

/// Any program or script, in the rule's profile; also the built-in commands, which run in `read`.
pub const RUN: &str = "run";

#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    Builtin(&'static builtin::Command),
    Command(&'a Arc<Command>),
}

impl<'a> Named<'a> {
    pub fn name(&self) -> &'a str {
        match self {
            Self::Builtin(builtin) => builtin.name,
            Self::Command(command) => &command.name,
        }
    }

    pub fn nature(&self) -> Nature<'a> {
        match self {
            Self::Builtin(_) => Nature::Looks,
            Self::Command(command) => Nature::of(command),
        }
    }

    pub fn effect(&self) -> Effect {
        match self {
            Self::Builtin(_) => Effect::Read,
            Self::Command(command) => command.effect,
        }
    }
}

impl Policy {
    pub fn named(&self, name: &str) -> Option<Named<'_>> {
        let builtin = builtin::COMMANDS
            .iter()
            .find(|builtin| builtin.name == name);
        let defined = || self.commands.get(name).map(Named::Command);
        builtin.map(Named::Builtin).or_else(defined)
    }

    pub fn all_named(&self) -> impl Iterator<Item = Named<'_>> {
        let builtin = builtin::COMMANDS.iter().map(Named::Builtin);
        builtin.chain(self.commands.values().map(Named::Command))
    }

    pub fn profile_of<'a>(&'a self, named: Named<'a>) -> &'a Arc<Profile> {
        match named {
            Named::Builtin(_) => &self.read,
            Named::Command(command) => &command.profile,
        }
    }
}
