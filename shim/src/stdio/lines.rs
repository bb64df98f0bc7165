//! Splits input into lines.

use crate::jsonrpc::MAX_LINE;

#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Whole(Vec<u8>),
    /// The line exceeded [`MAX_LINE`] and was dropped.
    TooLong,
}

#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Takes bytes up to the first newline, or all. Returns the line, if complete, and the number of bytes taken.
    pub fn take(&mut self, bytes: &[u8]) -> (Option<Line>, usize) {
        let newline = memchr::memchr(b'\n', bytes);
        let part = bytes.get(..newline.unwrap_or(bytes.len()));
        let part = part.unwrap_or_default();
        if self.partial.len() + part.len() > MAX_LINE {
            self.too_long = true;
            self.partial = Vec::new();
        }
        if !self.too_long {
            self.partial.extend_from_slice(part);
        }
        match newline {
            Some(newline_at) => (Some(self.line()), newline_at + 1),
            None => (None, part.len()),
        }
    }

    /// Returns the last line at the end of the input, if it has no newline.
    pub fn last(&mut self) -> Option<Line> {
        (self.too_long || !self.partial.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> Line {
        let whole = std::mem::take(&mut self.partial);
        match std::mem::take(&mut self.too_long) {
            true => Line::TooLong,
            false => Line::Whole(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], buffer: usize) -> Vec<Line> {
        let (mut lines, mut partial) = (Vec::new(), Lines::default());
        for mut bytes in input.chunks(buffer) {
            while !bytes.is_empty() {
                let (line, taken) = partial.take(bytes);
                lines.extend(line);
                bytes = &bytes[taken..];
            }
        }
        lines.extend(partial.last());
        lines
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_come_whole_whatever_the_buffer() {
        for buffer in [1, 2, 3, 100] {
            assert_eq!(lines(b"", buffer), []);
            assert_eq!(
                lines(b"ab\n\ncd", buffer),
                [whole("ab"), whole(""), whole("cd")]
            );
            assert_eq!(lines(b"ab\n", buffer), [whole("ab")]);
        }
    }

    #[test]
    fn line_over_limit_is_dropped_and_next_read() {
        let mut input = vec![b'x'; MAX_LINE];
        input.extend_from_slice(b"\nafter");
        let got = lines(&input, 8192);
        assert_eq!(got.len(), 2);
        assert!(matches!(&got[0], Line::Whole(line) if line.len() == MAX_LINE));
        input.insert(0, b'x');
        assert_eq!(lines(&input, 8192), [Line::TooLong, whole("after")]);
        input.truncate(MAX_LINE + 1);
        assert_eq!(lines(&input, 8192), [Line::TooLong]);
    }
}
