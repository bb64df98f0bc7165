//! The one error of this crate: which call failed on what, or why a thing is refused.

use std::{fmt, io};

/// What went wrong, in words an operator can act on.
#[derive(Debug)]
pub enum Error {
    /// A system call failed.
    Call {
        /// What was being done, with the object's name: `cannot mount a tmpfs on '/tmp'`.
        doing: String,
        /// The errno.
        source: io::Error,
    },
    /// The kernel or the machine lacks or has something that makes this unsafe.
    Refused {
        /// What cannot be done.
        doing: String,
        /// Why, and the way out where there is one.
        why: String,
    },
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn refused(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused {
            doing: doing.into(),
            why: why.into(),
        }
    }

    /// The errno, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Call { source, .. } => source.raw_os_error(),
            Self::Refused { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { doing, .. } => f.write_str(doing),
            Self::Refused { doing, why } => write!(f, "{doing}: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call { source, .. } => Some(source),
            Self::Refused { .. } => None,
        }
    }
}

/// Adds what was being done to an errno.
pub(crate) trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Call {
            doing: doing(),
            source: e.into(),
        })
    }
}
