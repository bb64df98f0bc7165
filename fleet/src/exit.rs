//! Exit statuses of sysexits(3head), and lines on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

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

pub fn say(line: &str) {
    // If standard error is closed, nobody can be notified.
    let _ = writeln!(io::stderr(), "remit-fleet: {line}");
}
