//! Writes a job's output to a descriptor: raw to files and pipes, sanitized to a terminal, because output is hostile
//! data.

use std::io::{self, IsTerminal, Write};

use remit_common::text;

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

    /// Writes bytes. A character may be split over two calls.
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

    /// Flushes everything except an incomplete character.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Writes an incomplete character too, and flushes.
    pub fn finish(mut self) -> io::Result<()> {
        if let Mode::Shown(carry) = &self.mode {
            self.to.write_all(text::show(carry).text.as_bytes())?;
        }
        self.to.flush()
    }
}

/// Returns how many bytes come before an incomplete last character.
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

#[cfg(test)]
mod tests {
    use super::*;

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
