//! Our own words on stdout and stderr.
//!
//! What a job wrote goes through [`crate::sink`] instead.

use std::io::{self, Write};

use remit_common::text;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::json;

/// The longest note, in bytes.
const NOTE: usize = 4096;

/// For whom output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Text,
    /// Programs: one JSON object.
    Json,
}

/// One line on stderr, whatever is in it.
pub fn note(sentence: &str) {
    let line = text::line(sentence.as_bytes(), NOTE);
    // Without a stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "remit: {line}");
}

/// Lines for people on stdout, made safe for a terminal.
///
/// # Errors
/// [`Failure::Gone`] or [`Failure::Output`].
pub fn text(lines: &str) -> Result<(), Failure> {
    let shown = text::show(lines.as_bytes()).text;
    Ok(io::stdout().lock().write_all(shown.as_bytes())?)
}

/// Lines for people on stderr, made safe for a terminal.
pub fn complain(lines: &str) {
    let shown = text::show(lines.as_bytes()).text;
    // Without a stderr there is nobody to tell.
    let _ = io::stderr().lock().write_all(shown.as_bytes());
}

/// One JSON object on a line of stdout.
///
/// # Errors
/// As [`text()`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let line = json::line(value).map_err(io::Error::other)?;
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// Flushes stdout; what cannot be written is a failure, not a loss.
pub fn finish(exit: Exit) -> Exit {
    match io::stdout().flush() {
        Ok(()) => exit,
        Err(error) => match Failure::from(error) {
            Failure::Gone => exit,
            failure => failure.report(Form::Text),
        },
    }
}
