//! Asks questions on the controlling terminal, even if stdin or stdout is redirected.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::termios::{FlushArg, tcflush};
use remit_common::text;

use crate::render::display;
use crate::render::untrusted_columns::Page;

const LINE_BYTES: usize = 256;

#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Opens the controlling terminal (tty(4)); `None` if there is none.
    pub fn open() -> Option<Self> {
        let path = Path::new("/dev/tty");
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.ok().map(Self)
    }

    pub fn show(&mut self, lines: &str) -> io::Result<()> {
        let shown = text::show(lines.as_bytes()).text;
        self.0.write_all(shown.as_bytes())
    }

    pub fn show_page(&mut self, page: &Page) -> io::Result<()> {
        self.0
            .write_all(page.text(display::is_color_allowed()).as_bytes())
    }

    /// Returns the line typed after the question; `None` at the end of input. Discards earlier input, because text
    /// pasted in advance, perhaps on an attacker's advice, is not an answer.
    pub fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        match tcflush(&self.0, FlushArg::TCIFLUSH) {
            // Not a terminal.
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
                (_, [byte]) if line.len() < LINE_BYTES => line.push(byte),
                // Reads an overlong line to its end. Its kept part is still too long for any answer.
                (_, [_]) => {}
            }
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}
