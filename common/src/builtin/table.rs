//! Names, arguments and help sentences of the built-in commands. Arguments are found by name and parsed as their type.

use std::str::FromStr;

use crate::refusal::{Code, Refusal};
use crate::{caps, text};

#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub name: &'static str,
    pub summary: &'static str,
    /// Arguments in the order of the help.
    pub args: &'static [Argument],
}

#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: &'static str,
    pub required: bool,
    /// Valid values, in one line.
    pub what: &'static str,
}

const fn required(name: &'static str, what: &'static str) -> Argument {
    let required = true;
    Argument {
        name,
        required,
        what,
    }
}

const fn optional(name: &'static str, what: &'static str) -> Argument {
    let required = false;
    Argument {
        name,
        required,
        what,
    }
}

pub const COMMANDS: [Command; 4] = [
    Command {
        name: "service.status",
        summary: "one unit: state, since when, why it failed, processes, memory, last log lines",
        args: &[required(
            "unit",
            "name of a unit, .service when it says no kind: nginx, ssh.socket",
        )],
    },
    Command {
        name: "service.list",
        summary: "units in memory with their state",
        args: &[
            optional(
                "state",
                "active, inactive, failed, activating, deactivating, reloading, running, exited, \
                 dead, listening, waiting, auto-restart, not-found or masked",
            ),
            optional(
                "pattern",
                "part of a name, or a whole one with * and ?: ssh, *.timer; services when absent",
            ),
        ],
    },
    Command {
        name: "service.failed",
        summary: "units that have failed, with result, and those that are restarted over and over",
        args: &[],
    },
    Command {
        name: "logs",
        summary: "entries of the journal, repeats folded; times are UTC",
        args: &[
            optional("unit", "name of a unit: nginx"),
            optional(
                "since",
                "-2h, '30 min ago', today, yesterday, '2026-11-20 10:00' (UTC)",
            ),
            optional("until", "as since"),
            optional(
                "priority",
                "emerg, alert, crit, err, warning, notice, info, debug: this and graver; or a \
                 range, as err..warning",
            ),
            optional(
                "grep",
                "a regular expression for the message; without capitals it ignores case",
            ),
            optional("boot", "0 this boot, -1 the one before, or a boot id"),
            optional("lines", "the newest, 1 to 2000; 100 when absent"),
        ],
    },
];

impl Command {
    /// Returns the call form: name, then arguments in capitals, optional ones in brackets.
    #[must_use]
    pub fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        for arg in self.args {
            let value = arg.name.to_uppercase();
            usage += &match arg.required {
                true => format!(" {}={value}", arg.name),
                false => format!(" [{}={value}]", arg.name),
            };
        }
        usage
    }

    pub(super) fn takes(&self) -> String {
        let names: Vec<&str> = self.args.iter().map(|arg| arg.name).collect();
        match names.is_empty() {
            true => format!("{} takes no arguments", self.name),
            false => format!("arguments of {}: {}", self.name, names.join(", ")),
        }
    }
}

pub fn find(name: &str) -> Result<&'static Command, Refusal> {
    let mut all = COMMANDS.iter();
    all.find(|command| command.name == name)
        .ok_or_else(|| Refusal::no_such_command(name))
}

/// Splits `key=value`, an argument of command `name`. Refuses with `not_found`, or with `invalid_args` without `=`.
pub fn pair(name: &str, word: &str) -> Result<(String, String), Refusal> {
    if let Some((key, value)) = word.split_once('=') {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let command = find(name)?;
    let shown = text::line(word.as_bytes(), 64);
    Err(Refusal::new(
        Code::InvalidArgs,
        format!("'{shown}' is no argument: each is KEY=VALUE"),
    )
    .object(shown)
    .next(command.takes()))
}

/// Bytes of a wrong value.
const SHOWN: usize = 64;

pub(super) struct CallArgs<'a> {
    command: &'static Command,
    args: &'a [(String, String)],
}

impl<'a> CallArgs<'a> {
    pub fn new(command: &'static Command, args: &'a [(String, String)]) -> Result<Self, Refusal> {
        if args.len() > caps::NAMED_ARGS {
            let text = format!(
                "{} arguments, at most {} are allowed",
                args.len(),
                caps::NAMED_ARGS
            );
            return Err(Refusal::new(Code::TooLarge, text)
                .object("args")
                .next(command.takes()));
        }
        for (at, (name, value)) in args.iter().enumerate() {
            let refuse = |code, why: String| {
                let shown = text::line(name.as_bytes(), SHOWN);
                let text = format!("argument '{shown}' of {} {why}", command.name);
                Err(Refusal::new(code, text).object(shown).next(command.takes()))
            };
            if !command.args.iter().any(|arg| arg.name == name) {
                return refuse(Code::InvalidArgs, "does not exist".into());
            }
            if args.iter().take(at).any(|(earlier, _)| earlier == name) {
                return refuse(Code::InvalidArgs, "is given twice".into());
            }
            if value.len() > caps::NAMED_VALUE {
                let why = format!(
                    "has {} bytes, at most {} are allowed",
                    value.len(),
                    caps::NAMED_VALUE
                );
                return refuse(Code::TooLarge, why);
            }
        }
        Ok(Self { command, args })
    }

    pub fn optional<T: FromStr<Err = &'static str>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some((_, value)) = self.args.iter().find(|(key, _)| key == name) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|why| {
            let shown = text::line(value.as_bytes(), SHOWN);
            let args = self.command.args.iter();
            let right = args.filter(|arg| arg.name == name).map(|arg| arg.what);
            let right: String = right.collect();
            let text = format!(
                "argument '{name}' of {}: '{shown}' {why}; right is: {right}",
                self.command.name
            );
            Refusal::new(Code::InvalidArgs, text)
                .object(name)
                .next(self.command.takes())
        })
    }

    pub fn required<T: FromStr<Err = &'static str>>(&self, name: &str) -> Result<T, Refusal> {
        self.optional(name)?.ok_or_else(|| {
            let text = format!("argument '{name}' of {} is missing", self.command.name);
            Refusal::new(Code::InvalidArgs, text)
                .object(name)
                .next(self.command.usage())
        })
    }
}
