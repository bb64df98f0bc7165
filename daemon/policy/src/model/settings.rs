//! What `remit.toml` names: commands of a policy, and users and groups of a machine.

use remit_common::wire::Effect;

use crate::model::command::Stdin;
use crate::model::diagnostic::quoted;
use crate::model::machine::Machine;
use crate::model::policy::Policy;
use crate::model::rule::{Principal, refused_id};

impl Policy {
    /// Fails with a part of a sentence if a command of `floor.require` in remit.toml could never end well, or is a change.
    pub fn check_required(&self, name: &str) -> Result<(), String> {
        let command = self
            .command(name)
            .ok_or_else(|| format!("there is no command {}", quoted(name)))?;
        if command.effect == Effect::Change {
            return Err(format!(
                "command '{name}' is a change, which would require itself"
            ));
        }
        let bound = command.bind(&[], command.stdin == Stdin::Caller);
        bound
            .map(drop)
            .map_err(|refusal| format!("command '{name}' needs arguments: {}", refusal.message))
    }
}

/// Why a word names no principal: a part of a sentence.
#[derive(Debug, PartialEq, Eq)]
pub enum NoPrincipal {
    /// The user database does not know it, or does not answer.
    Missing(String),
    Refused(String),
}

impl Principal {
    /// Resolves a word of `floor.approvers` in remit.toml: a user, a `%group`, `#uid` or `%#gid`.
    pub fn named(word: &str, machine: &dyn Machine) -> Result<Self, NoPrincipal> {
        let (is_group, name) = match word.strip_prefix('%') {
            Some(name) => (true, name),
            None => (false, word),
        };
        let id = match name.strip_prefix('#') {
            Some(digits) => digits.parse().ok(),
            None if is_group => machine.group(name),
            None => machine.user(name).map(|ids| ids.uid),
        };
        let what = if is_group { "group" } else { "user" };
        let id = id.ok_or_else(|| {
            let why = format!("there is no {what} {}", quoted(name));
            match name.starts_with('#') {
                true => NoPrincipal::Refused(why),
                false => NoPrincipal::Missing(why),
            }
        })?;
        match (refused_id(id), is_group) {
            (Some(why), _) => Err(NoPrincipal::Refused(format!(
                "{} can approve nothing: {why}",
                quoted(word)
            ))),
            (None, true) => Ok(Self::Group(id)),
            (None, false) => Ok(Self::User(id)),
        }
    }
}
