//! Splits bytes into lines of a bounded length. A longer line is dropped and counted.

/// The next line, or a note that it was dropped.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Whole(Vec<u8>),
    /// The line was longer than the bound, and was dropped. It may not have ended yet.
    TooLong,
}

#[derive(Debug)]
pub struct Lines {
    longest: usize,
    partial: Vec<u8>,
    is_dropping: bool,
}

impl Lines {
    pub fn new(longest: usize) -> Self {
        Self {
            longest,
            partial: Vec::new(),
            is_dropping: false,
        }
    }

    /// Takes bytes up to the end of a line, or all. Returns the number of bytes taken.
    pub fn take(&mut self, bytes: &[u8]) -> (Option<Line>, usize) {
        let newline = memchr::memchr(b'\n', bytes);
        let part = bytes.get(..newline.unwrap_or(bytes.len()));
        let part = part.unwrap_or_default();
        let taken = part.len() + usize::from(newline.is_some());
        let was_dropping = self.is_dropping;
        if self.is_dropping || self.partial.len() + part.len() > self.longest {
            self.partial = Vec::new();
            self.is_dropping = newline.is_none();
            return ((!was_dropping).then_some(Line::TooLong), taken);
        }
        self.partial.extend_from_slice(part);
        let whole = newline.map(|_| Line::Whole(std::mem::take(&mut self.partial)));
        (whole, taken)
    }

    /// Returns the last line if it has no newline.
    pub fn last(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.is_empty()).then_some(Line::Whole(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], buffer: usize) -> Vec<Line> {
        let (mut found, mut lines) = (Vec::new(), Lines::new(4));
        for mut bytes in input.chunks(buffer) {
            while !bytes.is_empty() {
                let (line, taken) = lines.take(bytes);
                found.extend(line);
                bytes = &bytes[taken..];
            }
        }
        found.extend(lines.last());
        found
    }

    #[test]
    fn lines_come_whole_whatever_the_buffer() {
        let whole = |text: &str| Line::Whole(text.into());
        for buffer in [1, 2, 3, 100] {
            assert_eq!(lines(b"", buffer), []);
            assert_eq!(
                lines(b"ab\n\ncd", buffer),
                [whole("ab"), whole(""), whole("cd")]
            );
            assert_eq!(lines(b"abcd\n", buffer), [whole("abcd")]);
            assert_eq!(lines(b"abcde\nx\n", buffer), [Line::TooLong, whole("x")]);
            assert_eq!(lines(b"abcdefghijkl", buffer), [Line::TooLong]);
            assert_eq!(
                lines(b"abcdefghij\n\nx", buffer),
                [Line::TooLong, whole(""), whole("x")]
            );
        }
    }
}
