//! Colours, for people at a terminal.

use std::io::{self, IsTerminal};

/// What a line means for who looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// As everything else.
    Plain,
    /// Nothing was done to the machine.
    Dim,
    /// Something was done, or may be.
    Green,
    /// Somebody decides, or decided.
    Yellow,
    /// Refused, or wrong.
    Red,
}

impl Colour {
    /// `text`, which is safe to show, in this colour.
    pub fn paint(self, text: &str) -> String {
        let number = match self {
            Self::Plain => return text.to_owned(),
            Self::Dim => 2,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
        };
        format!("\x1b[{number}m{text}\x1b[0m")
    }
}

/// On a terminal, unless its user wants none (no-color.org).
pub fn is_wanted() -> bool {
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !wants_none && !is_dumb
}
