//! Exit statuses of sysexits(3head), and lines on standard error.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::columns;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// A host did not answer, or a command ended with another status than 0.
    Failed = 1,
    Usage = 64,
    Internal = 70,
    System = 71,
    Output = 74,
    Config = 78,
    /// By SIGINT, as shells have it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Writes a line, which may have texts of hosts, on standard error.
pub fn say(line: &str) {
    let line = format!("remit-fleet: {line}\n");
    let mut to = io::stderr();
    // If standard error is closed, nobody can be notified.
    let _ = to.write_all(columns::fitted(&line, to.is_terminal()).as_bytes());
}
