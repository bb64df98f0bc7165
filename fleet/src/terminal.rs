//! The terminal of a person, for questions that no program answers.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use remit_common::text;

/// Bytes of an answer.
const LONGEST: u64 = 1024;

#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Opens the controlling terminal (tty(4)); `None` if there is none.
    pub fn open() -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty");
        file.ok().map(Self)
    }

    pub fn show(&mut self, lines: &str) -> io::Result<()> {
        let shown = text::show(lines.as_bytes()).text;
        self.0.write_all(shown.as_bytes())
    }

    /// Returns the line typed after the question; `None` at the end. An answer depends on what was shown, so a line that was
    /// typed before is none.
    pub fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        self.show(question)?;
        let mut line = Vec::new();
        // A terminal hands over one line at a time.
        BufReader::new((&mut self.0).take(LONGEST)).read_until(b'\n', &mut line)?;
        match line.is_empty() {
            true => Ok(None),
            false => Ok(Some(String::from_utf8_lossy(&line).trim().to_owned())),
        }
    }
}
