//! Arguments of a call to a built-in command, found by name and parsed as their type.

use std::str::FromStr;

use super::table::Command;
use crate::caps;
use crate::refusal::{Code, Refusal};
use crate::text;

/// Bytes shown of a wrong value.
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
