//! Reads lines of an endless stream in bounded memory.

use std::io::{self, BufRead, Read};

/// In bytes. A record is smaller than 64 KiB; as a JSON byte array it is up to five times that.
pub const LINE: usize = 4 << 20;

#[derive(Debug, PartialEq, Eq)]
pub enum RecordLine {
    Whole(Vec<u8>),
    /// Longer than [`LINE`]; skipped.
    TooLong,
    /// The end of the stream without a newline.
    Rest(Vec<u8>),
}

/// Returns the next line, or `None` at the end. `rest` is the [`RecordLine::Rest`] of an earlier call, to be continued.
pub fn next(reader: &mut impl BufRead, rest: Vec<u8>) -> io::Result<Option<RecordLine>> {
    let mut line = rest;
    let limit = (LINE + 1).saturating_sub(line.len()) as u64;
    (&mut *reader).take(limit).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(RecordLine::Whole(line)));
    }
    if line.len() <= LINE {
        return Ok((!line.is_empty()).then_some(RecordLine::Rest(line)));
    }
    drop(line);
    reader.skip_until(b'\n')?;
    Ok(Some(RecordLine::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one() {
        let mut text = &b"a\n\nb"[..];
        let mut next = || next(&mut text, Vec::new()).unwrap();
        assert_eq!(next(), Some(RecordLine::Whole(b"a".to_vec())));
        assert_eq!(next(), Some(RecordLine::Whole(Vec::new())));
        assert_eq!(next(), Some(RecordLine::Rest(b"b".to_vec())));
        assert_eq!(next(), None);
        let mut more = &b"c\nd"[..];
        let line = super::next(&mut more, b"b".to_vec()).unwrap();
        assert_eq!(line, Some(RecordLine::Whole(b"bc".to_vec())));
    }

    #[test]
    fn endless_line_takes_no_memory() {
        let endless = io::repeat(b'x').take(10 * LINE as u64);
        let mut reader = io::BufReader::new(endless.chain(&b"\nb\n"[..]));
        assert_eq!(
            next(&mut reader, Vec::new()).unwrap(),
            Some(RecordLine::TooLong)
        );
        assert_eq!(
            next(&mut reader, Vec::new()).unwrap(),
            Some(RecordLine::Whole(b"b".to_vec()))
        );
        assert_eq!(next(&mut reader, Vec::new()).unwrap(), None);
        let mut exact = io::BufReader::new(io::repeat(b'x').take(LINE as u64).chain(&b"\n"[..]));
        assert_eq!(
            next(&mut exact, Vec::new()).unwrap(),
            Some(RecordLine::Whole(vec![b'x'; LINE]))
        );
    }
}
