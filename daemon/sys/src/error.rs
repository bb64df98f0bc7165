//! The one error type of this crate: a system call that failed, or a refusal with its reason.

use std::{fmt, io};

#[derive(Debug)]
pub enum Error {
    Call {
        /// The failed action with the object's name: `cannot mount a tmpfs on '/tmp'`.
        doing: String,
        source: io::Error,
    },
    /// The kernel or the machine lacks or has something that makes this unsafe.
    Refused {
        doing: String,
        /// The reason, and a remedy if there is one.
        why: String,
    },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn refused(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused {
            doing: doing.into(),
            why: why.into(),
        }
    }

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

pub trait Doing<T> {
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
