//! Binds a call of a named command: the caller's arguments become an argv, in one pass. A value becomes one whole
//! element, or the end of an element after `--option=`. It is never split, parsed, or seen by a shell.

use remit_common::builtin::UnitName;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::service::is_protected;
use remit_common::wire::Effect;

use crate::call::request::within;
use crate::model::command::{
    ArgvElement, Command, Invocation, Param, ParamKind, Part, Stdin, Word,
};
use crate::model::diagnostic::quoted;
use crate::model::paths::beneath;
use crate::model::profile::Base;

const WAY_OUT: &str = "a person changes it by hand, or a [[command]] in a profile of base host that has \
                       the unit's name among its fixed words";

impl Command {
    /// Checks the arguments and returns what the command runs with them. Errors: `invalid_args` or `too_large`, about the
    /// first argument that is wrong. No message contains the value of a secret.
    pub fn bind(&self, args: &[(String, String)], has_stdin: bool) -> Result<Invocation, Refusal> {
        if has_stdin && !matches!(self.stdin, Stdin::Caller | Stdin::Plan) {
            let message = format!("{} takes no standard input", self.name);
            return Err(self.wrong("stdin", message));
        }
        let values = self.values(args)?;
        let mut argv = Argv::new(self, &values);
        for part in &self.argv {
            argv.part(part)?;
        }
        let stdin = match self.stdin {
            Stdin::Secret(at) => {
                let secret = values.get(at).and_then(|values| values.first());
                secret.map(|value| value.as_bytes().to_vec())
            }
            Stdin::None | Stdin::Caller | Stdin::Plan => None,
        };
        let mut words = vec![self.name.clone()];
        for (param, values) in self.params.iter().zip(&values) {
            if !matches!(param.kind, ParamKind::Secret { .. }) {
                words.extend(values.iter().map(|value| format!("{}={value}", param.name)));
            }
        }
        Ok(Invocation {
            argv: argv.out,
            literal: argv.literal,
            stdin,
            words,
        })
    }

    fn values<'a>(&'a self, args: &'a [(String, String)]) -> Result<Vec<Vec<&'a str>>, Refusal> {
        within("args", args.len(), caps::NAMED_ARGS, "arguments")
            .map_err(|refusal| refusal.next(self.takes()))?;
        let mut values = vec![Vec::new(); self.params.len()];
        for (name, value) in args {
            let of_name = |(param, _): &(&Param, &mut Vec<&str>)| param.name == *name;
            let Some((param, values)) = self.params.iter().zip(&mut values).find(of_name) else {
                return Err(self.unknown(name));
            };
            if let Some(why) = param.kind.refuses(value) {
                return Err(self.wrong(name, self.refused(param, value, &why)));
            }
            if let Some(why) = self.protects(param, value) {
                let why = match self.effect {
                    Effect::Change => format!("no command may change: {why}"),
                    Effect::Read => format!("no command without a sandbox may name: {why}"),
                };
                let message = self.refused(param, value, &why);
                return Err(self.wrong(name, message).lift(WAY_OUT));
            }
            if values.len() >= param.most {
                let message = match param.most {
                    1 => format!("argument '{name}' of {} is given twice", self.name),
                    most => format!(
                        "argument '{name}' of {} is given over {most} times",
                        self.name
                    ),
                };
                return Err(self.wrong(name, message));
            }
            values.push(value.as_str());
        }
        for (param, values) in self.params.iter().zip(&mut values) {
            if values.is_empty() {
                match &param.default {
                    Some(default) => values.push(default),
                    None if param.optional => {}
                    None => return Err(self.missing(param)),
                }
            }
        }
        Ok(values)
    }

    /// Checks the names alone: that each is an argument, and that none is missing but a secret, which no rule is about and
    /// no record has. Errors: `invalid_args`, as [`Self::bind`] would refuse it.
    pub(crate) fn check_names(&self, args: &[(String, String)]) -> Result<(), Refusal> {
        let is_known = |name: &str| self.params.iter().any(|param| param.name == name);
        if let Some((name, _)) = args.iter().find(|(name, _)| !is_known(name)) {
            return Err(self.unknown(name));
        }
        let is_passed = |param: &Param| args.iter().any(|(name, _)| *name == param.name);
        let is_secret = |param: &Param| matches!(param.kind, ParamKind::Secret { .. });
        let mut required = self.params.iter().filter(|param| param.required());
        match required.find(|param| !is_passed(param) && !is_secret(param)) {
            Some(param) => Err(self.missing(param)),
            None => Ok(()),
        }
    }

    fn unknown(&self, name: &str) -> Refusal {
        let message = format!("{} has no argument {}", self.name, quoted(name));
        self.wrong(name, message)
    }

    fn missing(&self, param: &Param) -> Refusal {
        let message = format!("{} needs the argument '{}'", self.name, param.name);
        self.wrong(&param.name, message)
    }

    /// Returns why the command does not take this unit: it changes the host, in any profile, or no sandbox holds it.
    pub fn protects(&self, param: &Param, value: &str) -> Option<&'static str> {
        let can_change = self.effect == Effect::Change || self.profile.base == Base::Host;
        let is_unit = match param.kind {
            ParamKind::Unit { .. } => true,
            // Programs that take units take the whole name of one by these types, too.
            ParamKind::User | ParamKind::Package => {
                let unit = value.parse::<UnitName>();
                unit.is_ok_and(|unit| unit.as_str() == value)
            }
            ParamKind::Text { .. }
            | ParamKind::Int { .. }
            | ParamKind::Enum(_)
            | ParamKind::Flag(_)
            | ParamKind::Path { .. }
            | ParamKind::Secret { .. } => false,
        };
        (can_change && is_unit).then(|| is_protected(value))?
    }

    fn refused(&self, param: &Param, value: &str, why: &str) -> String {
        let (command, name) = (&self.name, &param.name);
        match param.kind {
            ParamKind::Secret { .. } => format!("argument '{name}' of {command} {why}"),
            _ => format!(
                "argument '{name}' of {command} is {}, which {why}",
                quoted(value)
            ),
        }
    }

    fn wrong(&self, object: &str, message: String) -> Refusal {
        let object = remit_common::text::line(object.as_bytes(), 64);
        Refusal::new(Code::InvalidArgs, message)
            .object(object)
            .next(self.takes())
    }
}

/// The argv so far, within the limits that apply to every argv.
struct Argv<'a> {
    command: &'a Command,
    values: &'a [Vec<&'a str>],
    out: Vec<ArgvElement>,
    /// For each of `out`: true if the definition fixes all of it.
    literal: Vec<bool>,
    bytes: usize,
    /// Number of elements of `out` that are paths or secrets.
    things: usize,
}

impl<'a> Argv<'a> {
    fn new(command: &'a Command, values: &'a [Vec<&'a str>]) -> Self {
        Self {
            command,
            values,
            out: Vec::new(),
            literal: Vec::new(),
            bytes: 0,
            things: 0,
        }
    }

    fn part(&mut self, part: &Part) -> Result<(), Refusal> {
        match part {
            Part::Word(word) => match param_position(word) {
                None => self.word(word, ""),
                Some(at) => self
                    .of(at)
                    .iter()
                    .try_for_each(|value| self.word(word, value)),
            },
            Part::Group(words) => {
                let Some(at) = words.iter().find_map(param_position) else {
                    return Ok(());
                };
                for value in self.of(at) {
                    for word in words {
                        self.word(word, value)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Returns the values that count for a parameter. For a flag only `true` counts.
    fn of(&self, at: usize) -> Vec<&'a str> {
        let flag = matches!(self.kind(at), Some(ParamKind::Flag(_)));
        let values = self.values.get(at).into_iter().flatten().copied();
        values.filter(|value| !flag || *value == "true").collect()
    }

    fn kind(&self, at: usize) -> Option<&'a ParamKind> {
        self.command.params.get(at).map(|param| &param.kind)
    }

    fn word(&mut self, word: &Word, value: &str) -> Result<(), Refusal> {
        let element = match word {
            Word::Literal(text) => ArgvElement::Text(text.clone().into_bytes()),
            Word::Value(at) => self.element("", *at, value),
            Word::Attached(before, at) => self.element(before, *at, value),
        };
        self.bytes += length(&element) + 1;
        within("argv", self.bytes, caps::ARGV, "bytes with final NULs")?;
        within("argv", self.out.len() + 1, caps::ARGV_COUNT, "elements")?;
        // A sandbox opens no more. Checked here because a failure there would look like a fault of the sandbox.
        self.things += usize::from(!matches!(element, ArgvElement::Text(_)));
        within("args", self.things, caps::NAMED_ARGS, "paths and secrets")?;
        self.out.push(element);
        // A flag's word is fixed by the definition, too: the caller only decides if it is used.
        let flag = |at| matches!(self.kind(at), Some(ParamKind::Flag(_)));
        self.literal.push(param_position(word).is_none_or(flag));
        Ok(())
    }

    fn element(&self, before: &str, at: usize, value: &str) -> ArgvElement {
        let before = before.as_bytes().to_vec();
        match self.kind(at) {
            Some(ParamKind::Path {
                under, is, pass, ..
            }) => ArgvElement::Path {
                before,
                under: under.clone(),
                beneath: beneath(value, under).unwrap_or_default().to_owned(),
                is: *is,
                pass: *pass,
            },
            Some(ParamKind::Secret { .. }) => ArgvElement::Secret {
                before,
                value: value.as_bytes().to_vec(),
            },
            Some(ParamKind::Flag(word)) => {
                ArgvElement::Text([before.as_slice(), word.as_bytes()].concat())
            }
            _ => ArgvElement::Text([before.as_slice(), value.as_bytes()].concat()),
        }
    }
}

pub fn param_position(word: &Word) -> Option<usize> {
    match word {
        Word::Literal(_) => None,
        Word::Value(at) | Word::Attached(_, at) => Some(*at),
    }
}

fn length(element: &ArgvElement) -> usize {
    match element {
        ArgvElement::Text(text) => text.len(),
        ArgvElement::Path {
            before,
            under,
            beneath,
            ..
        } => before.len() + under.len() + 1 + beneath.len(),
        ArgvElement::Secret { before, value } => before.len() + value.len(),
    }
}
