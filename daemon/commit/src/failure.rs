//! Why something cannot be put back.

use std::fmt;
use std::io;

use remit_plan::Entry;

use crate::tree::about;

#[derive(Debug)]
pub enum Failure {
    /// Somebody else has changed what it is about, so trying again does not help.
    Changed(String),
    /// The machine has failed. A recovery tries again.
    Machine(String),
    /// The machine's disk, or one that the owner of a directory fills.
    Full(String),
}

impl Failure {
    pub fn changed(entry: &Entry, why: impl fmt::Display) -> Self {
        Self::Changed(about(entry, why))
    }

    pub fn new(entry: &Entry, error: &io::Error) -> Self {
        Self::from_line(about(entry, error), error)
    }

    pub fn doing(entry: &Entry, what: &str, error: &io::Error) -> Self {
        Self::from_line(about(entry, format!("cannot {what}: {error}")), error)
    }

    /// Whoever owns a directory of the plan can cause every error that is not listed here, and keep it up. A quota is full
    /// by its user's files, in whosever directory.
    fn from_line(line: String, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::EIO
                | libc::ENOMEM
                | libc::EMFILE
                | libc::ENFILE
                | libc::EROFS
                | libc::EINTR
                | libc::EUCLEAN
                | libc::EBADMSG
                | libc::ESTALE
                | libc::ETIMEDOUT
                | libc::ENODEV
                | libc::ESHUTDOWN,
            ) => Self::Machine(line),
            Some(libc::ENOSPC) => Self::Full(line),
            _ => Self::Changed(line),
        }
    }

    pub fn is_changed(&self) -> bool {
        matches!(self, Self::Changed(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(line) | Self::Machine(line) | Self::Full(line) => f.write_str(line),
        }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Changed(line) | Failure::Machine(line) | Failure::Full(line) => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_a_cause() {
        for (cause, errors) in [
            (
                "machine",
                &[
                    libc::EIO,
                    libc::ENOMEM,
                    libc::EMFILE,
                    libc::ENFILE,
                    libc::EROFS,
                    libc::EINTR,
                    libc::EUCLEAN,
                    libc::EBADMSG,
                    libc::ESTALE,
                    libc::ETIMEDOUT,
                    libc::ENODEV,
                    libc::ESHUTDOWN,
                ][..],
            ),
            ("full", &[libc::ENOSPC]),
            (
                "changed",
                &[libc::EDQUOT, libc::ENOENT, libc::EACCES, libc::ENOTEMPTY],
            ),
        ] {
            for error in errors {
                let error = io::Error::from_raw_os_error(*error);
                let found = match Failure::from_line(String::new(), &error) {
                    Failure::Machine(_) => "machine",
                    Failure::Full(_) => "full",
                    Failure::Changed(_) => "changed",
                };
                assert_eq!(found, cause, "{error}");
            }
        }
    }
}
