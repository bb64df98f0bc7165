//! Cuts lines for display. Pure.

use std::ops::Range;

use remit_common::caps;
use remit_common::outcome::Line;

use crate::output::page;

/// Bytes before the match in the shown part of a long line.
const BEFORE: usize = caps::GREP_LINE / 4;

/// Returns the whole line if it fits, otherwise the part around its match, cut between characters.
pub fn cut(number: u64, offset: u64, line: &[u8], found: Option<Range<usize>>) -> Line {
    let matches = found.is_some();
    let start = found.map_or(0, |found| found.start.saturating_sub(BEFORE));
    let start = start.min(line.len().saturating_sub(caps::GREP_LINE));
    let end = line.len().min(start + caps::GREP_LINE);
    let mut text = line.get(start..end).unwrap_or_default();
    if start > 0 {
        text = text.get(page::whole_start(text)..).unwrap_or_default();
    }
    if end < line.len() {
        text = text.get(..page::whole_end(text)).unwrap_or_default();
    }
    let omitted = u64::try_from(line.len() - text.len()).unwrap_or(u64::MAX);
    Line {
        number,
        offset,
        matches,
        text: text.to_vec().into(),
        omitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_line_is_cut_around_match_and_counted() {
        let long = "a".repeat(3000);
        let euros = "\u{20ac}".repeat(1000);
        for (line, found, start, length) in [
            ("short", None, 0, 5),
            ("", Some(0..0), 0, 0),
            (&long, None, 0, caps::GREP_LINE),
            (&long, Some(0..1), 0, caps::GREP_LINE),
            (&long, Some(1000..2000), 1000 - BEFORE, caps::GREP_LINE),
            (
                &long,
                Some(2999..3000),
                3000 - caps::GREP_LINE,
                caps::GREP_LINE,
            ),
            (
                &long[..caps::GREP_LINE],
                Some(1000..1001),
                0,
                caps::GREP_LINE,
            ),
            // Characters of three bytes: byte 744 starts one, byte 1768 is inside one.
            (&euros, Some(1000..1003), 744, 1023),
        ] {
            let cut = cut(7, 9, line.as_bytes(), found.clone());
            let expect = &line[start..start + length];
            assert_eq!(cut.text.as_slice(), expect.as_bytes(), "{found:?}");
            assert_eq!(cut.omitted as usize, line.len() - length);
            assert_eq!(
                (cut.number, cut.offset, cut.matches),
                (7, 9, found.is_some())
            );
        }
    }
}
