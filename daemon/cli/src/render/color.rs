//! Colors for terminals.

use std::io::{self, IsTerminal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Plain,
    /// No change to the machine.
    Dim,
    /// A change was made, or may be made.
    Green,
    /// A person decides or decided.
    Yellow,
    /// Refusal or fault.
    Red,
}

impl Colour {
    /// Paints `text`, which must be sanitized already.
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

/// Returns true if stdout is a terminal and [`is_allowed`].
pub fn is_wanted() -> bool {
    io::stdout().is_terminal() && is_allowed()
}

/// Returns true unless `NO_COLOR` is set (no-color.org) or TERM is missing or dumb.
pub fn is_allowed() -> bool {
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !wants_none && !is_dumb
}
