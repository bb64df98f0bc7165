//! Columns of a screen. A line that is wider would go on at its begin, where lines of this program are. Pure.

use std::borrow::Cow;

/// Of the narrowest screen that is provided for.
pub const COLUMNS: usize = 80;
/// Before what is left of a line.
const REST: &str = "  + ";
/// Columns to the next stop, at most.
const TAB: usize = 8;

/// Returns text with texts of hosts as it is written: folded on a terminal.
pub fn fitted(text: &str, is_terminal: bool) -> Cow<'_, str> {
    match is_terminal {
        true => fold(text).into(),
        false => text.into(),
    }
}

/// Folds each line that is wider than a screen. No text, however long, gets before the mark of its further rows.
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (first, rest) = line.split_at(fitting(line, COLUMNS));
        out += first;
        if !rest.is_empty() {
            for part in parts(rest, COLUMNS - REST.len()) {
                out.push('\n');
                out += REST;
                out += part;
            }
        }
        out.push('\n');
    }
    out
}

/// Cuts a line into parts of at most so many columns. There is one, even if it is empty.
pub fn parts(line: &str, width: usize) -> Vec<&str> {
    let (first, mut rest) = line.split_at(fitting(line, width));
    let mut parts = vec![first];
    while !rest.is_empty() {
        // A character is not wider than any column here.
        let (part, further) = rest.split_at(fitting(rest, width));
        parts.push(part);
        rest = further;
    }
    parts
}

pub fn width(text: &str) -> usize {
    text.chars().map(of_char).sum()
}

/// Bytes at the begin that have at most so many columns.
fn fitting(line: &str, width: usize) -> usize {
    let mut taken = 0;
    let wider = line.char_indices().find(|(_, c)| {
        taken += of_char(*c);
        taken > width
    });
    wider.map_or(line.len(), |(at, _)| at)
}

/// An upper bound: no character takes more than two, but a tab.
const fn of_char(c: char) -> usize {
    match c {
        '\t' => TAB,
        _ if c.is_ascii() => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_of_a_folded_line_is_wider_than_a_screen() {
        let forged = "-- web1: x";
        for filler in ["x", "\t", "\u{4e2d}"] {
            for count in 0..=2 * COLUMNS {
                let text = format!("web2: {}{forged}", filler.repeat(count));
                let folded = fold(&text);
                let mut rows = folded.lines();
                let mut joined = rows.next().unwrap().to_owned();
                for row in rows {
                    assert!(width(row) <= COLUMNS, "{folded}");
                    joined += row.strip_prefix(REST).unwrap();
                }
                assert_eq!(joined, text);
            }
        }
        let short = "a\n\n  b\n";
        assert_eq!(fold(short), short);
        let line = "x".repeat(COLUMNS);
        assert_eq!(fold(&line), format!("{line}\n"));
        assert_eq!(fold(&format!("{line}yz")), format!("{line}\n  + yz\n"));
    }

    #[test]
    fn parts_are_the_whole_line() {
        assert_eq!(parts("", 4), [""]);
        assert_eq!(parts("abcd", 4), ["abcd"]);
        assert_eq!(parts("abcde\u{4e2d}fg", 4), ["abcd", "e\u{4e2d}f", "g"]);
    }
}
