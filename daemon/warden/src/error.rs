//! What ends the daemon, or keeps it from starting.

use std::fmt;
use std::process::ExitCode;

/// A reason to end, with an exit status of sysexits.h.
#[derive(Debug)]
pub enum Fatal {
    /// The command line is wrong (64).
    Usage(String),
    /// Something that must be there is not: a wall, a lock, a socket (69).
    Unavailable(String),
    /// A system call failed (71).
    System(String),
    /// Configuration or policy is wrong (78).
    Config(String),
}

impl Fatal {
    /// Says it on stderr, and which status to end with.
    pub fn report(&self) -> ExitCode {
        say_error!("{self}");
        ExitCode::from(match self {
            Self::Usage(_) => 64,
            Self::Unavailable(_) => 69,
            Self::System(_) => 71,
            Self::Config(_) => 78,
        })
    }

    /// A failed call on a named thing: `cannot open '/x'`.
    pub fn call(doing: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::System(format!("{doing}: {error}"))
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => write!(f, "{text}; see remitd --help"),
            Self::Unavailable(text) | Self::System(text) | Self::Config(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fatal {}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
