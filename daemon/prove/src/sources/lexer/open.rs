//! What is open in a shell text until a byte closes it.

use crate::sources::shell::ShellCommand;

/// What the next word of a command is.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Redirect {
    #[default]
    No,
    Input,
    /// A file for output, or the end of a text.
    Other,
}

/// What is open, and what follows its end.
#[derive(Debug)]
pub enum Unclosed {
    Quote,
    /// `is_pattern`: the next words are patterns, until a parenthesis.
    Case {
        is_pattern: bool,
    },
    /// `(…)`, with what holds again behind it: the directory, and the input of the group around it.
    Group {
        directory: Option<Vec<u8>>,
        feed: Option<Vec<u8>>,
    },
    /// `{ …; }` with an input, and the input of the group around it.
    Braces {
        feed: Option<Vec<u8>>,
    },
    Substitution(Box<OuterCommand>),
}

/// The command that goes on behind a substitution.
#[derive(Debug)]
pub struct OuterCommand {
    /// What ends the substitution.
    pub end: u8,
    /// How many commands were found before it.
    pub first: usize,
    pub word: Vec<u8>,
    pub command: ShellCommand,
    pub redirect: Redirect,
    pub directory: Option<Vec<u8>>,
    pub feed: Option<Vec<u8>>,
}

impl Unclosed {
    /// Returns true if this byte closes it.
    pub fn is_closed_by(&self, byte: u8) -> bool {
        match self {
            Self::Group { .. } => byte == b')',
            Self::Substitution(outer) => byte == outer.end,
            Self::Quote | Self::Case { .. } | Self::Braces { .. } => false,
        }
    }
}
