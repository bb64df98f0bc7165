//! The terminal of whoever started us, wherever our output goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::termios::{FlushArg, tcflush};
use remit_common::text;

/// The longest line that is read, in bytes.
const LINE: usize = 256;

/// A terminal on which somebody can be asked.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// That of this process (tty(4)); nothing where it has none.
    pub fn open() -> Option<Self> {
        let path = Path::new("/dev/tty");
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.ok().map(Self)
    }

    /// Lines, made safe for a terminal.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn show(&mut self, lines: &str) -> io::Result<()> {
        let shown = text::show(lines.as_bytes()).text;
        self.0.write_all(shown.as_bytes())
    }

    /// The line that is typed after the question, and not before: what was pasted ahead of it, by
    /// somebody else's advice maybe, is no answer. `None` at the end of input.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        match tcflush(&self.0, FlushArg::TCIFLUSH) {
            // Not of a terminal.
            Ok(()) | Err(Errno::ENOTTY) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.show(question)?;
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            match (self.0.read(&mut byte)?, byte) {
                (0, _) if line.is_empty() => {
                    self.show("\n")?;
                    return Ok(None);
                }
                (0, _) | (_, [b'\n']) => break,
                (_, [byte]) if line.len() < LINE => line.push(byte),
                // Too long for any answer: read to its end, and still too long.
                (_, [_]) => {}
            }
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}
