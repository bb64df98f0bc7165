//! Parses numbers, and writes one JSON object per line.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde::Serialize;

pub fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("'{word}' is no number that fits"))
}

pub fn lines<T: Serialize>(all: impl IntoIterator<Item = T>) -> Result<ExitCode, String> {
    let mut out = BufWriter::new(io::stdout().lock());
    for one in all {
        let written = serde_json::to_writer(&mut out, &one)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"));
        written.map_err(cannot_write)?;
    }
    out.flush().map_err(cannot_write)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the items, and warns if `unseen` paths could not be read: the answer may be incomplete.
pub fn lines_but<T: Serialize>(
    all: impl IntoIterator<Item = T>,
    unseen: u64,
) -> Result<ExitCode, String> {
    lines(all)?;
    if unseen > 0 {
        eprintln!("remit-look: {unseen} directories or files may not be looked at");
    }
    Ok(ExitCode::SUCCESS)
}

pub fn cannot_write(error: io::Error) -> String {
    format!("cannot write standard output: {error}")
}
