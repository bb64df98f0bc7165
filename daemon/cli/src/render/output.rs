//! Prints remit's own messages. Output of jobs goes through [`crate::client::stream_writer`] instead.

use std::io::{self, Write};

use remit_common::text;
use serde::Serialize;

use crate::error::Failure;
use crate::exit::Exit;
use crate::render::untrusted_columns::Page;
use crate::render::{color, json};

const NOTE_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    /// One JSON object, for programs.
    Json,
}

/// Prints one line on stderr, sanitized.
pub fn note(sentence: &str) {
    let line = text::line(sentence.as_bytes(), NOTE_BYTES);
    // Without stderr there is nothing to report to.
    let _ = writeln!(io::stderr(), "remit: {line}");
}

/// Prints lines on stdout, sanitized for a terminal. Fails with [`Failure::Gone`] or [`Failure::Output`].
pub fn text(lines: &str) -> Result<(), Failure> {
    let shown = text::show(lines.as_bytes()).text;
    Ok(io::stdout().lock().write_all(shown.as_bytes())?)
}

/// Prints a page on stdout, in color on a terminal. Fails as [`text()`].
pub fn page(page: &Page) -> Result<(), Failure> {
    let text = page.text(color::is_wanted());
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// Prints lines on stderr, sanitized for a terminal.
pub fn complain(lines: &str) {
    let shown = text::show(lines.as_bytes()).text;
    let _ = io::stderr().lock().write_all(shown.as_bytes());
}

/// Prints one JSON object as a line. Fails as [`text()`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let line = json::line(value).map_err(io::Error::other)?;
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// Flushes stdout. A write error becomes the exit status.
pub fn finish(exit: Exit) -> Exit {
    match io::stdout().flush() {
        Ok(()) => exit,
        Err(error) => match Failure::from(error) {
            Failure::Gone => exit,
            failure => failure.report(Form::Text),
        },
    }
}
