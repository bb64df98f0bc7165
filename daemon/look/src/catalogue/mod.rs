//! Commands of the shipped catalogue that no program of the distribution answers, or none as data: one JSON object a line.

mod certificates;
mod command_words;
mod containers;
mod cron;
mod files;
mod unix_sockets;
mod walk;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde::Serialize;

/// Answers, if the first word is one of these.
///
/// # Errors
/// A sentence: what is wrong with the words, or what cannot be had.
pub fn show(words: &[String]) -> Option<Result<ExitCode, String>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words[..] {
        ["certificates", directory, count] => certificates::list(directory, count),
        ["certificate", file] => certificates::show(file),
        ["unix-sockets"] => unix_sockets::list(),
        ["largest-files", directory, count] => files::largest(directory, count),
        ["largest-directories", directory, count] => files::directories(directory, count),
        ["recent-files", directory, minutes, count] => files::recent(directory, minutes, count),
        ["cron"] => cron::list(),
        ["containers", ref words @ ..] => containers::show(words),
        _ => return None,
    })
}

/// A number of the command line.
fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("'{word}' is no number that fits"))
}

/// Writes each as a line. Whoever does not read to the end has had enough.
fn lines<T: Serialize>(all: impl IntoIterator<Item = T>) -> Result<ExitCode, String> {
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

/// The same, where so many places could not be looked at: the answer may lack what is there, and says so.
fn lines_but<T: Serialize>(
    all: impl IntoIterator<Item = T>,
    unseen: u64,
) -> Result<ExitCode, String> {
    lines(all)?;
    if unseen > 0 {
        eprintln!("remit-look: {unseen} directories or files may not be looked at");
    }
    Ok(ExitCode::SUCCESS)
}

fn cannot_write(error: io::Error) -> String {
    format!("cannot write standard output: {error}")
}
