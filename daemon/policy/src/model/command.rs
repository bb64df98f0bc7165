//! Data of a named command and of one call of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::wire::Effect;

use crate::model::diagnostic::quoted;
use crate::model::pattern::Pattern;
use crate::model::profile::{Inspect, Profile, ProfileLimits};
use crate::model::rule::RuleId;
use serde::{Deserialize, Serialize};

/// The argument of a commit or an undo with commands that follow it, and how many there can be.
pub const THEN: &str = "then";
pub const ACTS: usize = 4;
/// The word before each of them in argv.
pub const THEN_WORD: &str = "--then";
/// The word of remit-commit for an undo that takes new directories away with all that is in them.
pub const CONTENTS_WORD: &str = "--with-contents";

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

impl Part {
    #[must_use]
    pub fn words(&self) -> &[Word] {
        match self {
            Self::Word(word) => std::slice::from_ref(word),
            Self::Group(words) => words,
        }
    }
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
        /// May be an instance of a template, such as `getty@tty1.service`: the text after the `@` goes to its programs.
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
    /// A bundle of `remit-plan`. remit-commit gets it; another program sees the files and gets no standard input.
    Plan,
}

/// What a command of remit-commit does with a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitUse {
    Commit,
    Undo,
    Recover,
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
        if self.stdin == Stdin::Plan {
            let what = match self.is_commit() {
                true => "",
                false => ", to check its files; without it the files are checked as they are",
            };
            lines.push(format!(
                "standard input: the output of the command 'plan.make'{what}"
            ));
        }
        lines
    }

    /// Returns why this command cannot have its profile, if that inspects: only the package's remit-look does, by the
    /// words that are for this right and typed values, and what it opens by path was opened for it.
    pub fn inspects(&self) -> Result<(), String> {
        let Some(inspect) = self.profile.inspect else {
            return Ok(());
        };
        let what = format!("a profile with inspect = \"{}\"", inspect.name());
        if self.effect != Effect::Read {
            return Err(format!("{what} is for effect \"read\""));
        }
        let literal = |at: usize| match self.argv.get(at) {
            Some(Part::Word(Word::Literal(word))) => word.as_str(),
            _ => "",
        };
        let (program, command) = (literal(0), literal(1));
        let input = match inspect.reads_input(command) {
            true => Stdin::Caller,
            false => Stdin::None,
        };
        if self.stdin != input && self.stdin != Stdin::None {
            return Err(format!("{what} gives no standard input"));
        }
        // The loader obeys some, and the program has the right from its first instruction. ld.so(8).
        if !self.env.is_empty() || !self.profile.env.is_empty() {
            return Err(format!("{what} sets no variables"));
        }
        if !inspect.is_for(program, command) {
            return Err(format!(
                "{}, and this command runs {}",
                inspect.only_for(),
                quoted(format!("{program} {command}").trim_end())
            ));
        }
        let other = self.params.iter().find(|param| !param.kind.is_for(inspect));
        if let Some(param) = other {
            let path = match inspect {
                Inspect::Names => ", and path with is = \"directory\" and pass = \"descriptor\"",
                Inspect::Processes => "",
                Inspect::File => ", and path with pass = \"descriptor\"",
            };
            return Err(format!(
                "{what} takes arguments of type int, enum, bool, unit, string{path}: '{}' is another",
                param.name
            ));
        }
        let files = self.params.iter().filter(|param| param.kind.is_path());
        let is_one = files.map(|param| param.most).sum::<usize>() == 1;
        match inspect == Inspect::File && !is_one {
            true => Err(format!(
                "{what} shows one file: one argument of type path, and no list"
            )),
            false => Ok(()),
        }
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

impl Part {
    /// Returns true if it is the program that commits changes of files.
    #[must_use]
    pub fn is_committer(&self) -> bool {
        matches!(self, Self::Word(Word::Literal(program)) if program.ends_with("/remit-commit"))
    }
}

impl ParamKind {
    /// Returns true if a command that inspects can take it: what it opens gives no more than its profile.
    fn is_for(&self, inspect: Inspect) -> bool {
        match self {
            Self::Int { .. }
            | Self::Enum(_)
            | Self::Flag(_)
            | Self::Unit { .. }
            | Self::Text { .. } => true,
            Self::Path { is, pass, .. } => {
                let opened = match inspect {
                    Inspect::Names => Some(PathIs::Directory),
                    Inspect::Processes => None,
                    Inspect::File => Some(PathIs::File),
                };
                Some(*is) == opened && *pass == PassAs::Descriptor
            }
            Self::User | Self::Package | Self::Secret { .. } => false,
        }
    }

    pub fn is_path(&self) -> bool {
        matches!(self, Self::Path { .. })
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
