//! Shows what units have written to the journal.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use remit_common::text;

const JOURNALCTL: &str = "/usr/bin/journalctl";
const LINES: &str = "--lines=10";
// Bytes read in all, and bytes shown of one line.
const MOST: u64 = 64 << 10;
const LINE: usize = 1000;

/// Prints the last journal lines of a unit since a time, by one journalctl. An unreadable journal is no failure.
pub fn show_journal(unit: &str, since: Duration) {
    match last_lines(unit, since) {
        Ok(said) if said.trim_ascii().is_empty() => println!("It has written nothing since."),
        Ok(said) => {
            println!("Its last lines since:");
            for line in said.trim_ascii_end().split(|byte| *byte == b'\n') {
                println!("  {}", text::line(line, LINE));
            }
        }
        Err(error) => println!("Its lines cannot be shown: '{JOURNALCTL}': {error}"),
    }
}

fn last_lines(unit: &str, since: Duration) -> std::io::Result<Vec<u8>> {
    let mut child = Command::new(JOURNALCTL)
        .env_clear()
        .env("TZ", "UTC")
        .args(["--quiet", "--no-pager", "--output=short-iso", LINES])
        .arg(format!(
            "--since=@{}.{:06}",
            since.as_secs(),
            since.subsec_micros()
        ))
        .arg(format!("--unit={unit}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(MOST).read_to_end(&mut said)?;
    }
    child.wait()?;
    Ok(said)
}
