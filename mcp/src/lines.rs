//! Splits bytes into lines of a bounded length. A longer line is dropped and counted.

/// Bytes of one line of a client, without its newline.
pub const MAX_LINE: usize = 4 << 20;

/// The next line, or a note that it was dropped.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Whole(Vec<u8>),
    /// The line was longer than the bound, and was dropped.
    TooLong(LineEnds),
}

/// Bytes that are kept at each end of a dropped line. Clients write an id there.
const END: usize = 1 << 10;

/// The beginning and the end of a dropped line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LineEnds {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl LineEnds {
    pub fn add(&mut self, bytes: &[u8]) {
        let first = bytes.len().min(END.saturating_sub(self.head.len()));
        self.head
            .extend_from_slice(bytes.get(..first).unwrap_or_default());
        let last = bytes.get(bytes.len().saturating_sub(END)..);
        self.tail.extend_from_slice(last.unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(END));
    }

    pub fn head(&self) -> &[u8] {
        &self.head
    }

    pub fn tail(&self) -> &[u8] {
        &self.tail
    }
}

#[derive(Debug)]
pub struct Lines {
    longest: usize,
    partial: Vec<u8>,
    dropped: Option<LineEnds>,
}

impl Lines {
    pub fn new(longest: usize) -> Self {
        Self {
            longest,
            partial: Vec::new(),
            dropped: None,
        }
    }

    /// Takes bytes up to the end of a line, or all. Returns the number of bytes taken.
    pub fn take(&mut self, bytes: &[u8]) -> (Option<Line>, usize) {
        let newline = memchr::memchr(b'\n', bytes);
        let part = bytes.get(..newline.unwrap_or(bytes.len()));
        let part = part.unwrap_or_default();
        let taken = part.len() + usize::from(newline.is_some());
        if self.is_dropping() || self.partial.len() + part.len() > self.longest {
            let ends = self.dropped.get_or_insert_default();
            ends.add(&std::mem::take(&mut self.partial));
            ends.add(part);
            let ended = newline.and_then(|_| self.dropped.take());
            return (ended.map(Line::TooLong), taken);
        }
        self.partial.extend_from_slice(part);
        let whole = newline.map(|_| Line::Whole(std::mem::take(&mut self.partial)));
        (whole, taken)
    }

    /// Returns true if the line that has not ended is already over the bound.
    pub fn is_dropping(&self) -> bool {
        self.dropped.is_some()
    }

    /// Returns the last line if it has no newline.
    pub fn last(&mut self) -> Option<Line> {
        if let Some(ends) = self.dropped.take() {
            return Some(Line::TooLong(ends));
        }
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
        let dropped = |text: &str| {
            let mut ends = LineEnds::default();
            ends.add(text.as_bytes());
            Line::TooLong(ends)
        };
        for buffer in [1, 2, 3, 100] {
            assert_eq!(lines(b"", buffer), []);
            assert_eq!(
                lines(b"ab\n\ncd", buffer),
                [whole("ab"), whole(""), whole("cd")]
            );
            assert_eq!(lines(b"abcd\n", buffer), [whole("abcd")]);
            assert_eq!(lines(b"abcde\nx\n", buffer), [dropped("abcde"), whole("x")]);
            assert_eq!(lines(b"abcdefghijkl", buffer), [dropped("abcdefghijkl")]);
            assert_eq!(
                lines(b"abcdefghij\n\nx", buffer),
                [dropped("abcdefghij"), whole(""), whole("x")]
            );
        }
    }

    #[test]
    fn dropped_line_keeps_its_ends() {
        let (mut lines, long) = (Lines::new(4), [b'a'; 3 * END]);
        assert_eq!(lines.take(b"start"), (None, 5));
        assert!(lines.is_dropping());
        for chunk in long.chunks(700) {
            lines.take(chunk);
        }
        let (Some(Line::TooLong(ends)), 4) = lines.take(b"end\nx") else {
            panic!("not dropped");
        };
        assert!(!lines.is_dropping());
        assert!(ends.head().starts_with(b"starta") && ends.head().len() == END);
        assert!(ends.tail().ends_with(b"aend") && ends.tail().len() == END);
    }
}
