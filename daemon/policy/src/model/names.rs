//! What a rule can speak of: `run`, the built-in commands, the policy's commands.

use std::sync::Arc;

use remit_common::builtin;
use remit_common::wire::Effect;

use crate::model::command::Command;
use crate::model::policy::Policy;
use crate::model::profile::Profile;

/// Any program or script, in the rule's profile; also the built-in commands, which run in `read`.
pub(crate) const RUN: &str = "run";

/// A command that has a name.
#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    /// One of remit's own.
    Builtin(&'static builtin::Command),
    /// One that the policy defines.
    Command(&'a Arc<Command>),
}

impl<'a> Named<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Builtin(builtin) => builtin.name,
            Self::Command(command) => &command.name,
        }
    }

    /// Whether it looks or changes the host.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Builtin(_) => Effect::Read,
            Self::Command(command) => command.effect,
        }
    }
}

impl Policy {
    /// The command of this name, built-in or defined.
    pub fn named(&self, name: &str) -> Option<Named<'_>> {
        let builtin = builtin::COMMANDS
            .iter()
            .find(|builtin| builtin.name == name);
        let defined = || self.commands.get(name).map(Named::Command);
        builtin.map(Named::Builtin).or_else(defined)
    }

    /// Every command: the built-in ones, then those defined, by name.
    pub(crate) fn all_named(&self) -> impl Iterator<Item = Named<'_>> {
        let builtin = builtin::COMMANDS.iter().map(Named::Builtin);
        builtin.chain(self.commands.values().map(Named::Command))
    }

    /// The sandbox that it runs in.
    pub(crate) fn profile_of<'a>(&'a self, named: Named<'a>) -> &'a Arc<Profile> {
        match named {
            Named::Builtin(_) => &self.read,
            Named::Command(command) => &command.profile,
        }
    }
}
