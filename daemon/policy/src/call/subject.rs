//! Parses a hypothetical caller and call, for `[[test]]` tables and questions about a policy. No real one passes here.

use remit_common::text::line;
use remit_common::wire::Effect;
use remit_plan::PlanPath;

use crate::decide::{Ask, CallerIds};
use crate::model::command::CommitUse;
use crate::model::machine::Machine;
use crate::model::policy::{CHANGE, Policy, RUN};

/// Bytes of the name of a caller.
const LONGEST_NAME: usize = 256;

/// The uid of a member of one group and nothing else: the greatest that can have grants; no range of users has it.
const SOMEBODY: u32 = 0x7fff_ffff;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    uid: u32,
    gids: Vec<u32>,
}

impl Subject {
    /// Parses `user` with all groups of a login; `%group` or `%#gid`, a user only in it; `#uid`, that uid in no group.
    pub fn named(text: &str, machine: &dyn Machine) -> Result<Self, String> {
        let shown = line(text.as_bytes(), 96);
        // The machine is not asked about it: a question has a bound.
        if text.len() > LONGEST_NAME {
            return Err(format!("'{shown}' is over {LONGEST_NAME} bytes"));
        }
        let (uid, gids) = if let Some(digits) = text.strip_prefix("%#") {
            (SOMEBODY, vec![number(digits)?])
        } else if let Some(digits) = text.strip_prefix('#') {
            (number(digits)?, Vec::new())
        } else if let Some(group) = text.strip_prefix('%') {
            let gid = machine.group(group);
            (
                SOMEBODY,
                vec![gid.ok_or(format!(
                    "there is no group '{}'",
                    line(group.as_bytes(), 96)
                ))?],
            )
        } else {
            let ids = machine
                .user(text)
                .ok_or(format!("there is no user '{shown}'"))?;
            let mut gids = machine.groups_of(text);
            if !gids.contains(&ids.gid) {
                gids.push(ids.gid);
            }
            (ids.uid, gids)
        };
        Ok(Self { uid, gids })
    }

    pub fn caller(&self) -> CallerIds<'_> {
        CallerIds {
            uid: self.uid,
            gids: &self.gids,
        }
    }
}

fn number(digits: &str) -> Result<u32, String> {
    let number = digits.parse::<u32>().ok();
    number
        .filter(|number| number.to_string() == digits)
        .ok_or_else(|| format!("'{}' is no id", line(digits.as_bytes(), 96)))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub effect: Effect,
    /// `None` for any program or script.
    pub name: Option<String>,
    pub args: Vec<(String, String)>,
    pub profile: Option<String>,
    /// All that a commit or an undo changes. Without them nothing is known of that.
    pub paths: Vec<PlanPath>,
}

impl Call {
    /// Parses `run` or `change`: alone, or with a command's name and `key=value` words.
    pub fn parse(words: &[impl AsRef<str>]) -> Result<Self, String> {
        let mut words = words.iter().map(AsRef::as_ref);
        let tool = words.next().unwrap_or_default();
        let effect = match tool {
            RUN => Effect::Read,
            CHANGE => Effect::Change,
            other => {
                let shown = line(other.as_bytes(), 96);
                return Err(format!("'{shown}' is neither 'run' nor 'change'"));
            }
        };
        let name = words.next().map(str::to_owned);
        let mut args = Vec::new();
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                let shown = line(word.as_bytes(), 96);
                return Err(format!("'{shown}' is no argument: each is KEY=VALUE"));
            };
            args.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self {
            effect,
            name,
            args,
            profile: None,
            paths: Vec::new(),
        })
    }

    pub fn split(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        Self::parse(&words)
    }

    #[must_use]
    pub fn completed(mut self, policy: &Policy) -> Self {
        if let Some(name) = &self.name {
            policy.complete_args(name, &mut self.args, &|_| true);
        }
        self
    }

    /// Returns why it cannot have the paths that it has.
    #[must_use]
    pub fn wrong_paths(&self, policy: &Policy) -> Option<String> {
        let command = self.name.as_deref().and_then(|name| policy.command(name));
        let used = command.and_then(|command| command.commit_use());
        let changes = matches!(used, Some(CommitUse::Commit | CommitUse::Undo));
        let can_have = changes && self.effect == Effect::Change;
        let is_fine = can_have || self.paths.is_empty();
        (!is_fine).then(|| {
            "paths are only for a command that commits or undoes changes of files".to_owned()
        })
    }

    pub fn ask(&self) -> Ask<'_> {
        let profile = self.profile.as_deref();
        match (&self.name, self.effect) {
            (None, Effect::Read) => Ask::Run {
                profile,
                argv0: b"",
                env_names: &[],
            },
            (None, Effect::Change) => Ask::Change {
                profile,
                env_names: &[],
            },
            (Some(name), Effect::Change) if !self.paths.is_empty() => Ask::Paths {
                name,
                args: &self.args,
                paths: &self.paths,
            },
            (Some(name), _) => Ask::Command {
                name,
                effect: self.effect,
                args: &self.args,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ids, MachineTable};

    #[test]
    fn machine_is_asked_about_names_of_bounded_length_only() {
        for (length, is_asked) in [(LONGEST_NAME, true), (LONGEST_NAME + 1, false)] {
            let name = "x".repeat(length);
            let machine = MachineTable {
                users: [(name.clone(), Ids { uid: 7, gid: 7 })].into(),
                ..MachineTable::default()
            };
            assert_eq!(Subject::named(&name, &machine).is_ok(), is_asked);
        }
    }
}
