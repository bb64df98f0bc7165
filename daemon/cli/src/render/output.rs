//! Prints remit's own messages, safe for a terminal. [`Sink`] writes the output of jobs, [`Terminal`] asks questions.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::{process, thread};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};
use remit_common::names::Runtime;
use remit_common::text;
use serde::Serialize;

use crate::error::{Exit, Failure};
use crate::render::units::{self, Width};
use crate::render::untrusted_columns::Page;

const NOTE_BYTES: usize = 4096;

pub struct Context {
    pub runtime: Runtime,
    pub form: Form,
    pub width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

pub fn note(sentence: &str) {
    let line = text::line(sentence.as_bytes(), NOTE_BYTES);
    let _ = writeln!(io::stderr(), "remit: {line}");
}

/// Prints lines on stdout, sanitized for a terminal. A reader that has left is no failure, because the exit status is an
/// answer, too. Fails with [`Failure::Output`].
pub fn text(lines: &str) -> Result<(), Failure> {
    unless_gone(part(lines))
}

/// Prints a part of an answer that goes on until nobody reads it: fails also with [`Failure::Gone`].
pub fn part(lines: &str) -> Result<(), Failure> {
    let shown = text::show(lines.as_bytes()).text;
    Ok(io::stdout().lock().write_all(shown.as_bytes())?)
}

/// Ends this process when nobody reads its standard output any more. A program that seldom writes would not learn of it: without
/// a terminal sshd sends no signal when its client goes.
pub fn end_without_reader() {
    thread::spawn(|| {
        let stdout = io::stdout();
        let mut ends = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while poll(&mut ends, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        let [end] = ends;
        if end.revents().is_some_and(|events| events.intersects(gone)) {
            process::exit(0);
        }
    });
}

fn unless_gone(printed: Result<(), Failure>) -> Result<(), Failure> {
    match printed {
        Err(Failure::Gone) => Ok(()),
        printed => printed,
    }
}

/// Writes data for a program on stdout. Fails as [`text()`].
pub fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(data).and_then(|()| stdout.flush());
    unless_gone(written.map_err(Failure::from))
}

/// Prints a page on stdout, in color and folded on a terminal. Fails as [`text()`].
pub fn page(page: &Page) -> Result<(), Failure> {
    painted(&page.text(units::is_color_wanted(), Width::of_stdout()))
}

/// Prints a page with commands and diffs to copy, which has no column of marks. Fails as [`text()`].
pub fn unfolded(page: &Page) -> Result<(), Failure> {
    painted(&page.text(units::is_color_wanted(), Width::UNLIMITED))
}

/// Prints lines that are sanitized already, with their colors. Fails as [`text()`].
pub fn painted(lines: &str) -> Result<(), Failure> {
    bytes(lines.as_bytes())
}

pub fn complain(lines: &str) {
    let shown = text::show(lines.as_bytes()).text;
    let _ = io::stderr().lock().write_all(shown.as_bytes());
}

/// Prints a line of JSON on stdout. Fails as [`text()`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    unless_gone(json_part(value))
}

/// As [`part`], a line of JSON.
pub fn json_part(value: &impl Serialize) -> Result<(), Failure> {
    let line = json_line(value).map_err(io::Error::other)?;
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

/// Serializes `value` to one line. Characters that are not plain become `\u` escapes, so nothing is lost.
pub fn json_line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if text::is_plain(c) {
            line.push(c);
            continue;
        }
        // Outside strings JSON has only plain characters, so this one is inside a string.
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(line, "\\u{unit:04x}");
        }
    }
    Ok(line)
}

/// Writes a job's output: raw to files and pipes, sanitized to a terminal, because output is hostile.
pub struct Sink<'a> {
    to: Box<dyn Write + 'a>,
    mode: Mode,
}

enum Mode {
    Raw,
    /// Sanitized. The bytes are an incomplete character.
    Shown(Vec<u8>),
}

impl<'a> Sink<'a> {
    pub fn new(to: impl Write + IsTerminal + 'a) -> Self {
        let mode = if to.is_terminal() {
            Mode::Shown(Vec::new())
        } else {
            Mode::Raw
        };
        let to = Box::new(to);
        Self { to, mode }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.mode {
            Mode::Raw => self.to.write_all(bytes),
            Mode::Shown(carry) => {
                carry.extend_from_slice(bytes);
                let rest = carry.split_off(whole(carry));
                let ready = std::mem::replace(carry, rest);
                self.to.write_all(text::show(&ready).text.as_bytes())
            }
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    pub fn finish(mut self) -> io::Result<()> {
        if let Mode::Shown(carry) = &self.mode {
            self.to.write_all(text::show(carry).text.as_bytes())?;
        }
        self.to.flush()
    }
}

fn whole(bytes: &[u8]) -> usize {
    for back in 1..=3 {
        let Some(at) = bytes.len().checked_sub(back) else {
            break;
        };
        let length = match bytes.get(at) {
            Some(0xc2..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..=0xf4) => 4,
            Some(0x80..=0xbf) => continue,
            Some(_) | None => break,
        };
        return if length > back { at } else { bytes.len() };
    }
    bytes.len()
}

/// Longer lines are read and not kept whole.
pub const LINE_BYTES: usize = 256;

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
        let width = Width::of_terminal(&self.0);
        let rows = page.text(units::is_color_allowed(), width);
        self.0.write_all(rows.as_bytes())
    }

    /// Returns the line typed after the question; `None` at the end. Discards text pasted before: it is not an answer.
    pub fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        match tcflush(&self.0, FlushArg::TCIFLUSH) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_read_back() {
        let hostile = "a\n\t\x1b[2J\u{9b}\u{7f}\u{202e}\u{e0041}\u{feff}z\u{fc}";
        let line = json_line(&hostile).unwrap();
        assert!(
            line.chars().all(|c| text::is_plain(c) && c != '\n'),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(json_line(&"gr\u{fc}n").unwrap(), "\"gr\u{fc}n\"");
    }

    fn shown(chunks: &[&[u8]]) -> String {
        let mut written = Vec::new();
        let mut sink = Sink {
            to: Box::new(&mut written),
            mode: Mode::Shown(Vec::new()),
        };
        for chunk in chunks {
            sink.write(chunk).unwrap();
        }
        sink.finish().unwrap();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn a_split_character_is_shown_whole() {
        for text in ["\u{fc}x", "\u{20ac}", "\u{1f600}", "a\u{1f600}b\u{fc}"] {
            for at in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(at);
                assert_eq!(shown(&[head, tail]), text);
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(shown(&bytes), text);
        }
    }

    #[test]
    fn split_terminal_controls_are_escaped() {
        assert_eq!(shown(&[b"\x1b", b"[2J"]), "\\x1b[2J");
        assert_eq!(shown(&[b"\xc2", b"\x9b2J"]), "\\u{9b}2J");
        assert_eq!(shown(&[b"ab\xe2\x82"]), "ab\\xe2\\x82");
        assert_eq!(shown(&[b"\x80\x80\x80\x80", b"a"]), "\\x80\\x80\\x80\\x80a");
    }
}
