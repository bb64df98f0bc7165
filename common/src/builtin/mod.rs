//! The built-in commands: questions that no program inside the `read` sandbox can ask for itself,
//! because the service manager answers on a bus that the sandbox does not reach.
//!
//! Here are their names and the types of their arguments, for every part of remit: one closed
//! table and one parser. Nothing of an argument can become an option of a program, and nothing
//! here asks, runs or decides.

mod given;
mod table;
mod time;
mod unit;
mod values;

use crate::refusal::Refusal;
use given::Given;

pub use table::{Argument, COMMANDS, Command, find, pair};
pub use time::Time;
pub use unit::{UnitName, UnitPattern};
pub use values::{Boot, Grep, Lines, Priorities, UnitState};

/// A built-in command with its arguments, each of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// One unit of the service manager: its state, its processes in numbers, its last log lines.
    ServiceStatus {
        /// Which.
        unit: UnitName,
    },
    /// Units in memory of the service manager.
    ServiceList {
        /// Only those in this state.
        state: Option<UnitState>,
        /// Only those of this name; services when absent.
        pattern: Option<UnitPattern>,
    },
    /// Units that have failed, and those that fail and are started again and again.
    ServiceFailed,
    /// Entries of the journal.
    Logs(LogQuery),
}

/// Which entries of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Of this unit.
    pub unit: Option<UnitName>,
    /// From this time on.
    pub since: Option<Time>,
    /// Up to this time.
    pub until: Option<Time>,
    /// Of these priorities.
    pub priority: Option<Priorities>,
    /// Whose message matches.
    pub grep: Option<Grep>,
    /// Of this boot.
    pub boot: Option<Boot>,
    /// The newest, at most so many lines.
    pub lines: Lines,
}

impl Builtin {
    /// The command that a name and its arguments mean.
    ///
    /// # Errors
    /// `not_found` for a name that the table has not; `too_large` over
    /// [`crate::caps::NAMED_ARGS`] arguments or [`crate::caps::NAMED_VALUE`] bytes in one;
    /// `invalid_args` for an argument that is unknown, missing, given twice, or not of its type.
    pub fn parse(name: &str, args: &[(String, String)]) -> Result<Self, Refusal> {
        let command = find(name)?;
        let given = Given::new(command, args)?;
        let parsed = match command.name {
            "service.status" => Self::ServiceStatus {
                unit: given.required("unit")?,
            },
            "service.list" => Self::ServiceList {
                state: given.optional("state")?,
                pattern: given.optional("pattern")?,
            },
            "service.failed" => Self::ServiceFailed,
            "logs" => Self::Logs(LogQuery {
                unit: given.optional("unit")?,
                since: given.optional("since")?,
                until: given.optional("until")?,
                priority: given.optional("priority")?,
                grep: given.optional("grep")?,
                boot: given.optional("boot")?,
                lines: given.optional("lines")?.unwrap_or_default(),
            }),
            _ => return Err(Refusal::no_such_command(name)),
        };
        Ok(parsed)
    }

    /// The command's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ServiceStatus { .. } => "service.status",
            Self::ServiceList { .. } => "service.list",
            Self::ServiceFailed => "service.failed",
            Self::Logs(_) => "logs",
        }
    }

    /// Whether the service manager has to be asked for it.
    #[must_use]
    pub const fn asks_manager(&self) -> bool {
        match self {
            Self::ServiceStatus { .. } | Self::ServiceList { .. } | Self::ServiceFailed => true,
            Self::Logs(_) => false,
        }
    }

    /// The arguments that were given, in the order of the table, written the one way that
    /// [`Builtin::parse`] reads back as the same command.
    #[must_use]
    pub fn args(&self) -> Vec<(&'static str, String)> {
        fn one<T: ToString>(
            name: &'static str,
            value: Option<&T>,
        ) -> Option<(&'static str, String)> {
            value.map(|value| (name, value.to_string()))
        }
        let all = match self {
            Self::ServiceStatus { unit } => vec![one("unit", Some(unit))],
            Self::ServiceList { state, pattern } => {
                vec![
                    one("state", state.as_ref()),
                    one("pattern", pattern.as_ref()),
                ]
            }
            Self::ServiceFailed => Vec::new(),
            Self::Logs(query) => {
                let lines = (query.lines != Lines::default()).then_some(&query.lines);
                vec![
                    one("unit", query.unit.as_ref()),
                    one("since", query.since.as_ref()),
                    one("until", query.until.as_ref()),
                    one("priority", query.priority.as_ref()),
                    one("grep", query.grep.as_ref()),
                    one("boot", query.boot.as_ref()),
                    one("lines", lines),
                ]
            }
        };
        all.into_iter().flatten().collect()
    }

    /// The name and each argument as `key=value`: a word each, none of which begins with a hyphen.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let args = self.args().into_iter();
        std::iter::once(self.name().to_owned())
            .chain(args.map(|(name, value)| format!("{name}={value}")))
            .collect()
    }

    /// What [`Builtin::words`] gave.
    ///
    /// # Errors
    /// As [`Builtin::parse`]; also for a word without `=`.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Refusal> {
        let mut words = words.into_iter();
        let name = words.next().unwrap_or_default();
        let args = words.map(|word| pair(name, word));
        Self::parse(name, &args.collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests;
