//! Data of a named command and of one call of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::wire::Effect;

use crate::model::diagnostic::quoted;
use crate::model::pattern::Pattern;
use crate::model::profile::{Profile, ProfileLimits};
use crate::model::rule::RuleId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub name: String,
    pub summary: String,
    pub effect: Effect,
    #[serde(with = "crate::model::encoded::by_name")]
    pub profile: Arc<Profile>,
    pub id: RuleId,
    /// The first is the program's absolute path, a literal.
    pub argv: Vec<Part>,
    pub params: Vec<Param>,
    pub stdin: Stdin,
    pub env: BTreeMap<String, String>,
    /// `/` by default.
    pub cwd: String,
    pub limits: ProfileLimits,
    /// All of this and of its profile as text.
    pub definition: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    Word(Word),
    /// These words, once for each value of the one argument in them; none without a value.
    Group(Vec<Word>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    Literal(String),
    /// The value of an argument, by its position in [`Command::params`].
    Value(usize),
    /// `--option=` followed by the value.
    Attached(String, usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    pub name: String,
    pub kind: ParamKind,
    pub summary: String,
    pub optional: bool,
    pub default: Option<String>,
    /// Maximum number of values; 1 by default.
    pub most: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParamKind {
    Text {
        /// It must match the whole value.
        pattern: Pattern,
        max: usize,
        dash: bool,
    },
    /// A decimal number without sign (but `-`), spaces or leading zeros.
    Int {
        min: i64,
        max: i64,
    },
    Enum(Vec<String>),
    /// `true` adds this word, `false` none.
    Flag(String),
    Unit {
        /// May be an instance of a template, such as `getty@tty1.service`: the text after the `@` then goes from the
        /// caller to the programs of that template.
        instances: bool,
    },
    User,
    /// The name of a package, Debian's or RPM's.
    Package,
    /// A path beneath a directory, reached without symbolic links.
    Path {
        under: String,
        is: PathIs,
        pass: PassAs,
    },
    /// A value that no record shows. The program reads it from a file or its standard input.
    Secret {
        max: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathIs {
    File,
    Directory,
    Either,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PassAs {
    /// As text; refused if others than root and the job's user could change the way to it.
    Path,
    /// As `/proc/self/fd/N` of the file that was opened and checked.
    Descriptor,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    None,
    Caller,
    /// The secret argument at this position in [`Command::params`].
    Secret(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    pub argv: Vec<ArgvElement>,
    /// For each element: true if the definition fixes all of it.
    pub literal: Vec<bool>,
    /// Set only if it is a secret.
    pub stdin: Option<Vec<u8>>,
    /// The name and each argument as `key=value`, without secrets: for records and lists.
    pub words: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgvElement {
    Text(Vec<u8>),
    /// A path, to be opened beneath `under` inside the sandbox without following any link.
    Path {
        /// Text before it in the same element, such as `--file=`; mostly empty.
        before: Vec<u8>,
        under: String,
        /// Relative to `under`: plain names with `/` between them; empty for the directory itself.
        beneath: String,
        is: PathIs,
        pass: PassAs,
    },
    /// The path of a file with these bytes that no other user can open.
    Secret {
        before: Vec<u8>,
        value: Vec<u8>,
    },
}

impl Command {
    /// Returns the call's form: the name, and the arguments in capitals, optional ones in brackets.
    pub fn usage(&self) -> String {
        let mut usage = self.name.clone();
        for param in &self.params {
            let value = param.name.to_uppercase();
            let more = if param.most > 1 { "…" } else { "" };
            usage += &match param.required() {
                true => format!(" {}={value}{more}", param.name),
                false => format!(" [{}={value}{more}]", param.name),
            };
        }
        usage
    }

    /// Returns a line for each argument: what it must be, and its default; last, one for a caller's standard input.
    pub fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.params.iter().map(Param::describe).collect();
        if self.stdin == Stdin::Caller {
            lines.push("standard input: what the caller gives".into());
        }
        lines
    }

    pub fn takes(&self) -> String {
        let names: Vec<&str> = self
            .params
            .iter()
            .map(|param| param.name.as_str())
            .collect();
        match names.is_empty() {
            true => format!("{} takes no arguments", self.name),
            false => format!("arguments of {}: {}", self.name, names.join(", ")),
        }
    }
}

impl Param {
    pub fn required(&self) -> bool {
        !self.optional && self.default.is_none()
    }

    fn describe(&self) -> String {
        let mut line = format!("{}: ", self.name);
        if !self.summary.is_empty() {
            line += &format!("{}; ", self.summary);
        }
        line += &self.kind.describe();
        if self.most > 1 {
            line += &format!("; up to {} times", self.most);
        }
        match &self.default {
            Some(default) => line += &format!("; {} when absent", quoted(default)),
            None if self.optional => line += "; may be absent",
            None => {}
        }
        line
    }
}
