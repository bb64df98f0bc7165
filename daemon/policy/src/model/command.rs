//! A named command as policy defines it, and one call of it. Data alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::wire::Effect;

use crate::model::pattern::Pattern;
use crate::model::profile::{Profile, ProfileLimits};
use crate::model::rule::RuleId;

/// A named command: a program with fixed words and typed places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name, as `nginx.test`.
    pub name: String,
    /// What it does, in one line.
    pub summary: String,
    /// Whether it looks or changes the host.
    pub effect: Effect,
    /// The sandbox it runs in.
    pub profile: Arc<Profile>,
    /// Where it is defined.
    pub id: RuleId,
    /// What is executed: the first is the program's absolute path, a literal.
    pub argv: Vec<Part>,
    /// Its arguments, in the order of their names.
    pub params: Vec<Param>,
    /// What its standard input is.
    pub stdin: Stdin,
    /// Variables besides the profile's.
    pub env: BTreeMap<String, String>,
    /// The working directory; `/` unless said.
    pub cwd: String,
    /// Bounds besides the profile's.
    pub limits: ProfileLimits,
}

/// A part of an argv template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This word.
    Word(Word),
    /// These words, once for each value of the one argument in them; none without a value.
    Group(Vec<Word>),
}

/// One word of a template. It becomes one element of argv for each value, or none without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// As it stands.
    Literal(String),
    /// The value of an argument, by its place in [`Command::params`].
    Value(usize),
    /// `--option=` with the value behind it.
    Attached(String, usize),
}

/// An argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// What it must be.
    pub kind: Kind,
    /// One line for those who call it; may be empty.
    pub summary: String,
    /// Whether it may be left out.
    pub optional: bool,
    /// The value when it is left out.
    pub default: Option<String>,
    /// How often it may be given; 1 unless said.
    pub most: usize,
}

/// The type of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text that matches as a whole.
    Text {
        /// What the whole of it matches.
        pattern: Pattern,
        /// Bytes at most.
        max: usize,
        /// May begin with a hyphen.
        dash: bool,
    },
    /// A decimal number without sign (but `-`), spaces or leading zeros.
    Int {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// One of these.
    Enum(Vec<String>),
    /// `true` or `false`; true stands for this word, false for none.
    Flag(String),
    /// The full name of a unit of the service manager.
    Unit {
        /// May be an instance of a template, as `getty@tty1.service`: what stands behind the `@` is text of
        /// the caller's for the programs of that template.
        instances: bool,
    },
    /// The name of a user, as useradd(8) takes it.
    User,
    /// The name of a package, Debian's or RPM's.
    Package,
    /// A path beneath a directory, reached without symbolic links.
    Path {
        /// The directory.
        under: String,
        /// What must be there.
        is: PathIs,
        /// How the program gets it.
        pass: Pass,
    },
    /// A value that no record shows. The program reads it from a file or its standard input.
    Secret {
        /// Bytes at most.
        max: usize,
    },
}

/// What must be at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathIs {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// One or the other.
    Either,
}

/// How a program gets a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As text; refused where others than root and the job's user could change the way to it.
    Path,
    /// As `/proc/self/fd/N` of what was opened and checked.
    Descriptor,
}

/// The standard input of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    None,
    /// What the caller gives.
    Caller,
    /// The secret argument of this place in [`Command::params`].
    Secret(usize),
}

/// One call of a command: every value checked, nothing looked at on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What is executed.
    pub argv: Vec<Given>,
    /// Which elements of it are the definition's own words, with nothing of the caller's in them.
    pub literal: Vec<bool>,
    /// What its standard input is, where it is a secret.
    pub stdin: Option<Vec<u8>>,
    /// The name and each argument as `key=value`, secrets left out: for records and lists.
    pub words: Vec<String>,
}

/// One element of the argv of an [`Invocation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// These bytes.
    Text(Vec<u8>),
    /// A path, to be opened beneath `under` inside the sandbox without following any link.
    Path {
        /// What stands before it in the same element, as `--file=`; mostly empty.
        before: Vec<u8>,
        /// The directory.
        under: String,
        /// Relative to it: plain names with `/` between them; empty for the directory itself.
        beneath: String,
        /// What must be there.
        is: PathIs,
        /// How the program gets it.
        pass: Pass,
    },
    /// The path of a file that holds these bytes and nobody else can open.
    Secret {
        /// What stands before it in the same element.
        before: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
}
