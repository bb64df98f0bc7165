//! Errors that end the daemon or prevent its start.

use std::fmt;
use std::process::ExitCode;

use crate::identity::user_names::AccountError;

/// An error with an exit status of sysexits.h.
#[derive(Debug)]
pub enum Fatal {
    Usage(String),
    /// A missing requirement: a sandbox layer, a lock, a socket.
    Unavailable(String),
    System(String),
    Config(String),
}

impl Fatal {
    pub fn report(&self) -> ExitCode {
        say_error!("{self}");
        ExitCode::from(self.status())
    }

    /// The unit does not start the daemon again after 64 and 78.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Unavailable(_) => 69,
            Self::System(_) => 71,
            Self::Config(_) => 78,
        }
    }

    pub fn call(doing: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::System(format!("{doing}: {error}"))
    }
}

impl From<AccountError> for Fatal {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Refused(text) => Self::Config(text),
            // An exit for good would keep a boot without network from the undo that gives it back.
            AccountError::Missing(text) => Self::Unavailable(format!(
                "{text}\nthe user database may not be complete yet, so remitd.service tries again every 5 s"
            )),
        }
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

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
