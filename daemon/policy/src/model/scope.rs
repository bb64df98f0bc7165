//! Which calls of a command a rule is about, by the values that named arguments will have.

use std::collections::BTreeMap;
use std::fmt;

use remit_common::text::line;

use crate::model::command::{Command, Kind, Param};
use crate::model::glob::Glob;

/// Values shown of one argument; it counts the others.
const SHOWN: usize = 8;
/// Bytes of one that are shown.
const WIDE: usize = 64;

/// For each of these arguments, what its value must match one of. Without any it is about every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(BTreeMap<String, Vec<Glob>>);

impl Scope {
    /// The order of the globs does not matter.
    pub(crate) fn new(mut args: BTreeMap<String, Vec<Glob>>) -> Self {
        for globs in args.values_mut() {
            globs.sort();
            globs.dedup();
        }
        Self(args)
    }

    /// Whether it is about every call.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// The arguments, each with what its value must match one of, by name.
    pub(crate) fn args(&self) -> impl Iterator<Item = (&str, &[Glob])> {
        let args = self.0.iter();
        args.map(|(name, globs)| (name.as_str(), globs.as_slice()))
    }

    /// Whether there are calls of this command that it can be about: it has all these arguments.
    pub(crate) fn suits(&self, command: &Command) -> bool {
        let mut names = self.0.keys();
        names.all(|name| param(command, name).is_some())
    }

    /// Whether a permission for these calls is one for this call: each argument has a value, and all
    /// of its values match. No star stands for an `@`: what is behind that sign in the name of a unit is the
    /// caller's own text for its programs, and whoever permits it says so.
    pub(crate) fn covers(&self, command: &Command, args: &[(String, String)]) -> bool {
        self.0.iter().all(|(name, globs)| {
            let mut values = values(command, name, args).peekable();
            let is_text = param(command, name)
                .is_some_and(|param| matches!(param.kind, Kind::Unit { .. } | Kind::Text { .. }));
            let fits = |glob: &Glob, value: &str| match is_text {
                true => glob.matches_within(value, '@'),
                false => glob.matches(value),
            };
            let is_one_of = |value: &str| globs.iter().any(|glob| fits(glob, value));
            values.peek().is_some() && values.all(is_one_of)
        })
    }

    /// Whether a denial of these calls denies this call: of each argument one value matches.
    pub(crate) fn touches(&self, command: &Command, args: &[(String, String)]) -> bool {
        self.0.iter().all(|(name, globs)| {
            let mut values = values(command, name, args);
            values.any(|value| globs.iter().any(|glob| glob.matches(value)))
        })
    }
}

/// `unit: nginx.service, php*.service; verb: start`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, globs)) in self.args().enumerate() {
            let before = if at == 0 { "" } else { "; " };
            write!(f, "{before}{name}: ")?;
            for (at, glob) in globs.iter().take(SHOWN).enumerate() {
                let comma = if at == 0 { "" } else { ", " };
                write!(f, "{comma}{}", line(glob.as_str().as_bytes(), WIDE))?;
            }
            if globs.len() > SHOWN {
                write!(f, " and {} more", globs.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// An argument that a rule can look at: no secret.
fn param<'a>(command: &'a Command, name: &str) -> Option<&'a Param> {
    let found = command.params.iter().find(|param| param.name == name);
    found.filter(|param| !matches!(param.kind, Kind::Secret { .. }))
}

/// The values that the call will have: those given, else the default. A flag that is not given is false.
fn values<'a>(
    command: &'a Command,
    name: &'a str,
    args: &'a [(String, String)],
) -> impl Iterator<Item = &'a str> {
    let param = param(command, name);
    let given = args.iter().filter(move |(given, _)| given == name);
    let mut given = given.map(|(_, value)| value.as_str()).peekable();
    let absent = given.peek().is_none();
    let default = param.filter(|_| absent).and_then(|param| {
        let flag = matches!(param.kind, Kind::Flag(_)).then_some("false");
        param.default.as_deref().or(flag)
    });
    let known = param.is_some();
    given.chain(default).filter(move |_| known)
}
