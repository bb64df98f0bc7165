//! Bytes as they come, split into lines. Pure.

use crate::line::MAX_LINE;

/// One line of input, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The whole line.
    Whole(Vec<u8>),
    /// It was longer than [`MAX_LINE`] and is gone.
    TooLong,
}

/// What of a line has come so far.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Takes bytes up to the first newline, or all of them. Gives the line, if one has ended, and how
    /// many bytes were taken.
    pub fn take(&mut self, bytes: &[u8]) -> (Option<Line>, usize) {
        let newline = memchr::memchr(b'\n', bytes);
        let part = bytes.get(..newline.unwrap_or(bytes.len()));
        let part = part.unwrap_or_default();
        if self.begun.len() + part.len() > MAX_LINE {
            self.too_long = true;
            self.begun = Vec::new();
        }
        if !self.too_long {
            self.begun.extend_from_slice(part);
        }
        match newline {
            Some(place) => (Some(self.line()), place + 1),
            None => (None, part.len()),
        }
    }

    /// The last line, at the end of the input: one without a newline counts, no line at all does not.
    pub fn last(&mut self) -> Option<Line> {
        (self.too_long || !self.begun.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> Line {
        let whole = std::mem::take(&mut self.begun);
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
        let (mut lines, mut begun) = (Vec::new(), Lines::default());
        for mut bytes in input.chunks(buffer) {
            while !bytes.is_empty() {
                let (line, taken) = begun.take(bytes);
                lines.extend(line);
                bytes = &bytes[taken..];
            }
        }
        lines.extend(begun.last());
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
    fn a_line_is_cut_off_at_its_limit_and_the_next_one_is_read() {
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
