//! Makes the unified diff of two files by lines, after Myers. Beyond a bound of work it is one replacement, which is
//! longer and as exact.
//!
//! **Invariant:** [`crate::patch`] of the old bytes with the diff gives the new bytes.
//!
//! **Invariant:** the text for people says which bytes the diff has. `…` never comes from a file: behind the sign it says
//! that the line is escaped (`\r`, `\x1b`, a backslash is doubled), and `[… …]` are remit's words.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use remit_common::escape::{self, ELLIPSIS};
use remit_plan::{hex, sha256};

use crate::patch::split;

/// Lines before and after a change.
const CONTEXT: usize = 3;
/// Most lines that the search adds and removes: memory grows with the square.
const WORK: usize = 1000;

/// Lines `old` are replaced by lines `new`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LineChange {
    old: Range<usize>,
    new: Range<usize>,
}

/// Returns hunks with three lines of context; nothing for equal bytes.
#[must_use]
pub fn diff(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (old, new) = (split(old), split(new));
    let edits = edits(&old, &new);
    let mut out = Vec::new();
    let mut rest = edits.as_slice();
    while let Some(first) = rest.first() {
        let close = |pair: &[LineChange]| match pair {
            [a, b] => b.old.start - a.old.end <= 2 * CONTEXT,
            _ => false,
        };
        let count = 1 + rest.windows(2).take_while(|pair| close(pair)).count();
        let (hunk, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        let last = hunk.last().unwrap_or(first);
        let before = first.old.start.min(CONTEXT);
        let behind = (old.len() - last.old.end).min(CONTEXT);
        let olds = first.old.start - before..last.old.end + behind;
        let news = first.new.start - before..last.new.end + behind;
        out.extend(format!("@@ -{} +{} @@\n", range(&olds), range(&news)).bytes());
        let mut at = olds.start;
        for edit in hunk {
            push(&mut out, b' ', old.get(at..edit.old.start));
            push(&mut out, b'-', old.get(edit.old.clone()));
            push(&mut out, b'+', new.get(edit.new.clone()));
            at = edit.old.end;
        }
        push(&mut out, b' ', old.get(at..olds.end));
        rest = after;
    }
    out
}

fn range(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn push(out: &mut Vec<u8>, sign: u8, lines: Option<&[&[u8]]>) {
    for line in lines.unwrap_or_default() {
        out.push(sign);
        out.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            out.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

fn edits<'a>(old: &[&'a [u8]], new: &[&'a [u8]]) -> Vec<LineChange> {
    let equal = |(a, b): &(&&[u8], &&[u8])| a == b;
    let head = old.iter().zip(new).take_while(equal).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most);
    let tail = tail.take_while(equal).count();
    let middle = |lines: usize| head..lines - tail;
    let (olds, news) = (middle(old.len()), middle(new.len()));
    if olds.is_empty() && news.is_empty() {
        return Vec::new();
    }
    let old_lines = old.get(olds.clone()).unwrap_or_default();
    let new_lines = new.get(news.clone()).unwrap_or_default();
    // Numbers compare faster than lines.
    let mut known: HashMap<&[u8], usize> = HashMap::new();
    let mut number = |lines: &[&'a [u8]]| -> Vec<usize> {
        let mut numbers = Vec::with_capacity(lines.len());
        for line in lines {
            let next = known.len();
            numbers.push(*known.entry(line).or_insert(next));
        }
        numbers
    };
    let (a, b) = (number(old_lines), number(new_lines));
    let whole = || {
        vec![LineChange {
            old: 0..a.len(),
            new: 0..b.len(),
        }]
    };
    let found = shortest(&a, &b).unwrap_or_else(whole);
    let shift = |range: Range<usize>| range.start + head..range.end + head;
    let shifted = found.into_iter().map(|edit| LineChange {
        old: shift(edit.old),
        new: shift(edit.new),
    });
    shifted.collect()
}

/// Returns the fewest edits, or `None` if they are more than [`WORK`].
fn shortest(a: &[usize], b: &[usize]) -> Option<Vec<LineChange>> {
    // The furthest position in `a` on each diagonal, after each number of edits.
    let mut passes: Vec<Vec<usize>> = Vec::new();
    for edits in 0..=WORK {
        let mut pass = vec![0; 2 * edits + 1];
        for (slot, diagonal) in (0_isize..).zip(-(edits as isize)..=edits as isize) {
            if slot % 2 != 0 {
                continue;
            }
            let mut x = match passes.last() {
                None => 0,
                Some(last) => step(last, edits, diagonal).0,
            };
            let Some(mut y) = x.checked_add_signed(-diagonal) else {
                continue;
            };
            while x < a.len() && y < b.len() && a.get(x) == b.get(y) {
                (x, y) = (x + 1, y + 1);
            }
            if let Some(furthest) = pass.get_mut(slot.unsigned_abs()) {
                *furthest = x;
            }
            if (x, y) == (a.len(), b.len()) {
                return Some(path(&passes, x, y));
            }
        }
        passes.push(pass);
    }
    None
}

/// Returns where the last of `edits` edits leads to on `diagonal`, and the diagonal it comes from.
fn step(last: &[usize], edits: usize, diagonal: isize) -> (usize, isize) {
    let most = edits as isize;
    let at = |diagonal: isize| {
        let slot = usize::try_from(diagonal + most - 1).ok();
        slot.and_then(|slot| last.get(slot)).copied().unwrap_or(0)
    };
    let is_insert = diagonal == -most || (diagonal != most && at(diagonal - 1) < at(diagonal + 1));
    match is_insert {
        true => (at(diagonal + 1), diagonal + 1),
        false => (at(diagonal - 1) + 1, diagonal - 1),
    }
}

/// Walks back from the end.
fn path(passes: &[Vec<usize>], mut x: usize, mut y: usize) -> Vec<LineChange> {
    let mut reversed: Vec<LineChange> = Vec::new();
    for (edits, last) in passes
        .iter()
        .enumerate()
        .rev()
        .map(|(at, pass)| (at + 1, pass))
    {
        let diagonal = x as isize - y as isize;
        let (after_x, from) = step(last, edits, diagonal);
        let after_y = after_x.saturating_add_signed(-diagonal);
        let (old, new) = match from > diagonal {
            true => (after_x..after_x, after_y.saturating_sub(1)..after_y),
            false => (after_x.saturating_sub(1)..after_x, after_y..after_y),
        };
        (x, y) = (old.start, new.start);
        match reversed.last_mut() {
            Some(next) if next.old.start == old.end && next.new.start == new.end => {
                next.old.start = old.start;
                next.new.start = new.start;
            }
            _ => reversed.push(LineChange { old, new }),
        }
    }
    reversed.reverse();
    reversed
}

/// Whether a tab of a line is shown as it is, or the line is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tabs {
    Shown,
    Escaped,
}

/// Returns at most about `most` bytes of text: whole lines, then how much is left out, with its hash.
#[must_use]
pub fn show(diff: &[u8], most: usize, tabs: Tabs) -> String {
    let mut text = String::new();
    let mut shown = 0;
    for line in split(diff) {
        let piece = piece(line, most.saturating_sub(text.len()), tabs);
        match piece {
            Some(piece) if text.len() + piece.len() <= most => text.push_str(&piece),
            _ => break,
        }
        shown += line.len();
    }
    let rest = diff.get(shown..).unwrap_or_default();
    if !rest.is_empty() {
        let (lines, bytes, sha) = (split(rest).len(), rest.len(), hex(&sha256(rest)));
        let _ = writeln!(
            text,
            "[… {lines} more lines, {bytes} bytes, sha256 {sha} …]"
        );
    }
    text
}

/// Returns the text of one line, or `None` if it is longer than `most` bytes.
fn piece(line: &[u8], most: usize, tabs: Tabs) -> Option<String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > most {
        return None;
    }
    if let Ok(text) = std::str::from_utf8(line)
        && is_plain(text, tabs)
    {
        return Some(format!("{text}\n"));
    }
    let (sign, rest) = line.split_first()?;
    let (text, taken) = escape::start(rest, most);
    let sign = char::from(*sign);
    (taken == rest.len()).then(|| format!("{sign}{ELLIPSIS} {text}\n"))
}

/// A blank at the end of a line cannot be seen.
fn is_plain(line: &str, tabs: Tabs) -> bool {
    let text = line.get(1..).unwrap_or_default();
    let is_shown = |c: char| match c {
        '\t' => tabs == Tabs::Shown,
        c => !escape::is_hidden(c),
    };
    text.chars().all(is_shown) && !text.ends_with([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_shown_as_they_are() {
        let text = diff(b"a \\ b\n\tc\n", b"a \\ b\n\td    e\n");
        assert_eq!(show(&text, 999, Tabs::Shown).as_bytes(), text);
    }

    #[test]
    fn tabs_are_escaped_where_they_would_be_columns() {
        let text = diff(b"", b"a\tb \\t\n");
        let escaped = show(&text, 999, Tabs::Escaped);
        assert_eq!(escaped, "@@ -0,0 +1 @@\n+… a\\tb \\\\t\n");
    }

    #[test]
    fn what_cannot_be_seen_is_escaped_and_marked() {
        for (line, expect) in [
            (&b"a\r\n"[..], "+… a\\r\n"),
            (b"a\\ \x1b[1m\n", "+… a\\\\ \\x1b[1m\n"),
            (b"caf\xe9\n", "+… caf\\xe9\n"),
            ("a\u{202e}b\n".as_bytes(), "+… a\\u{202e}b\n"),
            (
                "[… 3 more lines …]\n".as_bytes(),
                "+… [\\u{2026} 3 more lines \\u{2026}]\n",
            ),
            (b"a \n", "+… a\\x20\n"),
            (b"a\0b\n", "+… a\\x00b\n"),
        ] {
            let text = show(&diff(b"", line), 999, Tabs::Shown);
            assert_eq!(text, format!("@@ -0,0 +1 @@\n{expect}"));
        }
    }

    #[test]
    fn nothing_is_left_out_without_count_and_hash() {
        let text = diff(b"", &b"line\n".repeat(100));
        let shown = show(&text, 200, Tabs::Shown);
        let (kept, note) = shown.split_at(shown.find("[…").unwrap_or(0));
        let rest = text.get(kept.len()..).unwrap_or_default();
        let expect = format!(
            "[… {} more lines, {} bytes, sha256 {} …]\n",
            split(rest).len(),
            rest.len(),
            hex(&sha256(rest))
        );
        assert_eq!(note, expect);
        assert!(kept.len() <= 200 && !kept.is_empty());
        let long = diff(b"", &vec![0x1b; 1 << 20]);
        assert!(
            show(&long, 4096, Tabs::Shown).contains(" 2 more lines, "),
            "{}",
            show(&long, 4096, Tabs::Shown)
        );
    }
}
