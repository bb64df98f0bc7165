//! Built-in commands. They answer questions that need the service manager's bus, which the `read` sandbox blocks.
//!
//! Only names, argument types and one parser are here. No argument can become an option of a program.

mod call_args;
mod table;
mod time;
mod unit;
mod values;

use crate::refusal::Refusal;
use call_args::CallArgs;

pub use table::{Argument, COMMANDS, Command, find, pair};
pub use time::Time;
pub use unit::{UnitName, UnitPattern};
pub use values::{BootSelector, Grep, Lines, Priorities, UnitState};

/// A built-in command with its parsed arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// State of one unit: state, number of processes, last log lines.
    ServiceStatus {
        /// The unit.
        unit: UnitName,
    },
    /// Units in memory of the service manager.
    ServiceList {
        /// Only units in this state.
        state: Option<UnitState>,
        /// Only units with such a name; services if absent.
        pattern: Option<UnitPattern>,
    },
    /// Failed units, and units that fail and restart repeatedly.
    ServiceFailed,
    /// Entries of the journal.
    Logs(LogQuery),
}

/// Filters for entries of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Unit of the entry.
    pub unit: Option<UnitName>,
    /// Earliest time.
    pub since: Option<Time>,
    /// Latest time.
    pub until: Option<Time>,
    /// Priorities of the entry.
    pub priority: Option<Priorities>,
    /// Pattern that the message matches.
    pub grep: Option<Grep>,
    /// Boot of the entry.
    pub boot: Option<BootSelector>,
    /// Maximum number of lines; the newest are kept.
    pub lines: Lines,
}

impl Builtin {
    /// Parses a command from its name and arguments.
    /// Errors: `not_found` for an unknown name. `too_large` above [`crate::caps::NAMED_ARGS`] or
    /// [`crate::caps::NAMED_VALUE`]. `invalid_args` for an unknown, missing, repeated or badly typed argument.
    pub fn parse(name: &str, args: &[(String, String)]) -> Result<Self, Refusal> {
        let command = find(name)?;
        let call_args = CallArgs::new(command, args)?;
        let parsed = match command.name {
            "service.status" => Self::ServiceStatus {
                unit: call_args.required("unit")?,
            },
            "service.list" => Self::ServiceList {
                state: call_args.optional("state")?,
                pattern: call_args.optional("pattern")?,
            },
            "service.failed" => Self::ServiceFailed,
            "logs" => Self::Logs(LogQuery {
                unit: call_args.optional("unit")?,
                since: call_args.optional("since")?,
                until: call_args.optional("until")?,
                priority: call_args.optional("priority")?,
                grep: call_args.optional("grep")?,
                boot: call_args.optional("boot")?,
                lines: call_args.optional("lines")?.unwrap_or_default(),
            }),
            _ => return Err(Refusal::no_such_command(name)),
        };
        Ok(parsed)
    }

    /// Returns the name of the command.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ServiceStatus { .. } => "service.status",
            Self::ServiceList { .. } => "service.list",
            Self::ServiceFailed => "service.failed",
            Self::Logs(_) => "logs",
        }
    }

    /// Returns true if the service manager must be asked.
    #[must_use]
    pub const fn asks_manager(&self) -> bool {
        match self {
            Self::ServiceStatus { .. } | Self::ServiceList { .. } | Self::ServiceFailed => true,
            Self::Logs(_) => false,
        }
    }

    /// Returns the present arguments in table order, in the one form that parses as the same command.
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

    /// Returns the name, then each argument as `key=value`. No element starts with a hyphen.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let args = self.args().into_iter();
        std::iter::once(self.name().to_owned())
            .chain(args.map(|(name, value)| format!("{name}={value}")))
            .collect()
    }

    /// Parses the result of [`Builtin::words`]. Fails as [`Builtin::parse`], and with `invalid_args` without `=`.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Refusal> {
        let mut words = words.into_iter();
        let name = words.next().unwrap_or_default();
        let args = words.map(|word| pair(name, word));
        Self::parse(name, &args.collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests;
