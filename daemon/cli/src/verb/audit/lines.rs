//! Lines of something that may be endless, one by one, in bounded memory.

use std::io::{self, BufRead, Read};

/// The longest line that is read. A record stays below 64 KiB; as the journal's bytes it is five times that.
pub const LINE: usize = 4 << 20;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// As it stands there.
    Whole(Vec<u8>),
    /// Longer than [`LINE`]: passed over.
    TooLong,
    /// What stands at the end without a newline.
    Rest(Vec<u8>),
}

/// The next line; `None` at the end. `rest` is what an earlier call gave as [`Line::Rest`], to be gone on with.
///
/// # Errors
/// What the reader says.
pub fn next(reader: &mut impl BufRead, rest: Vec<u8>) -> io::Result<Option<Line>> {
    let mut line = rest;
    let room = (LINE + 1).saturating_sub(line.len()) as u64;
    (&mut *reader).take(room).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Line::Whole(line)));
    }
    if line.len() <= LINE {
        return Ok((!line.is_empty()).then_some(Line::Rest(line)));
    }
    drop(line);
    reader.skip_until(b'\n')?;
    Ok(Some(Line::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one() {
        let mut text = &b"a\n\nb"[..];
        let mut next = || next(&mut text, Vec::new()).unwrap();
        assert_eq!(next(), Some(Line::Whole(b"a".to_vec())));
        assert_eq!(next(), Some(Line::Whole(Vec::new())));
        assert_eq!(next(), Some(Line::Rest(b"b".to_vec())));
        assert_eq!(next(), None);
        let mut more = &b"c\nd"[..];
        let line = super::next(&mut more, b"b".to_vec()).unwrap();
        assert_eq!(line, Some(Line::Whole(b"bc".to_vec())));
    }

    #[test]
    fn a_line_that_does_not_end_takes_no_memory() {
        let endless = io::repeat(b'x').take(10 * LINE as u64);
        let mut reader = io::BufReader::new(endless.chain(&b"\nb\n"[..]));
        assert_eq!(next(&mut reader, Vec::new()).unwrap(), Some(Line::TooLong));
        assert_eq!(
            next(&mut reader, Vec::new()).unwrap(),
            Some(Line::Whole(b"b".to_vec()))
        );
        assert_eq!(next(&mut reader, Vec::new()).unwrap(), None);
        let mut exact = io::BufReader::new(io::repeat(b'x').take(LINE as u64).chain(&b"\n"[..]));
        assert_eq!(
            next(&mut exact, Vec::new()).unwrap(),
            Some(Line::Whole(vec![b'x'; LINE]))
        );
    }
}
