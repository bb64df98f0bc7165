//! Bytes of a request as text on one line, in which nothing hides and nothing passes for remit's own
//! words. Pure.
//!
//! The text can be taken back to the bytes: a backslash stands doubled, what cannot be seen or moves
//! what is seen is an escape (`\n`, `\x1b`, `\u{202e}`), bytes that are no UTF-8 are `\xff`, and
//! `[… 12 spaces …]` are remit's words, since the character `…` of a request is an escape too.

use std::fmt::Write;

use remit_common::text::is_plain;
use sha2::{Digest, Sha256};

use crate::audit::chain::hex;

/// Spaces that are counted rather than shown.
const MANY_SPACES: usize = 4;
/// Begins and ends remit's own words.
pub const ELLIPSIS: char = '…';

/// All of `bytes` on one line, or as much of them as has room in `cap` bytes, which are at least 200,
/// with the number of bytes that are not shown and the SHA-256 of all.
pub fn exact(bytes: &[u8], cap: usize) -> String {
    if bytes.is_empty() {
        return "[… empty …]".into();
    }
    let (text, taken) = start(bytes, cap);
    if taken == bytes.len() {
        return text;
    }
    let marker = |more: usize| {
        let all = hex(&Sha256::digest(bytes));
        format!("[… {more} bytes more, sha256 of all {all} …]")
    };
    let room = cap.saturating_sub(marker(bytes.len()).len());
    let (mut text, taken) = start(bytes, room);
    text.push_str(&marker(bytes.len() - taken));
    text
}

/// How `bytes` begin, in at most `cap` bytes of text, and how many of them that is.
pub fn start(bytes: &[u8], cap: usize) -> (String, usize) {
    let mut text = String::new();
    let mut taken = 0;
    let mut put = |piece: &str, bytes: usize| {
        let fits = text.len() + piece.len() <= cap;
        if fits {
            text.push_str(piece);
            taken += bytes;
        }
        fits
    };
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let (piece, length) = match spaces {
            0 => piece(rest),
            _ => (
                spaces_as_text(spaces, at == 0, spaces == rest.len()),
                spaces,
            ),
        };
        if !put(&piece, length) {
            break;
        }
        at += length;
    }
    (text, taken)
}

/// Bytes of a requester for a line of a list: as [`exact`], but cut with the mark alone, and nothing of nothing.
pub fn quoted(bytes: &[u8], cap: usize) -> String {
    let (text, taken) = start(bytes, cap);
    if taken == bytes.len() {
        return text;
    }
    let (mut text, _) = start(bytes, cap.saturating_sub(ELLIPSIS.len_utf8()));
    text.push(ELLIPSIS);
    text
}

/// A requester's text that the daemon has escaped already, such as a command line: its escapes stay as they are, but a
/// mark in it is not remit's.
pub fn foreign(text: &str, cap: usize) -> String {
    on_a_line(text, cap, |c| c == '\\')
}

/// Text of the daemon's or the policy's own on one line, in at most `cap` bytes: as [`exact`], but what it
/// escaped itself stays as it is. Never for what a requester wrote, whose marks would pass for remit's: see
/// [`foreign`].
pub fn words(text: &str, cap: usize) -> String {
    on_a_line(text, cap, |c| matches!(c, '\\' | ELLIPSIS))
}

/// `stays`: characters that are not escaped.
fn on_a_line(text: &str, cap: usize, stays: impl Fn(char) -> bool) -> String {
    let mut line = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let spaces = rest.bytes().take_while(|byte| *byte == b' ').count();
        let (piece, length) = match (spaces, first) {
            (0, first) if stays(first) => (first.to_string(), first.len_utf8()),
            (0, _) => piece(rest.as_bytes()),
            _ => (spaces_as_text(spaces, false, false), spaces),
        };
        if line.len() + piece.len() + ELLIPSIS.len_utf8() > cap {
            line.push(ELLIPSIS);
            return line;
        }
        line.push_str(&piece);
        rest = rest.get(length..).unwrap_or_default();
    }
    line
}

fn spaces_as_text(count: usize, leading: bool, trailing: bool) -> String {
    match () {
        () if count >= MANY_SPACES => format!("[… {count} spaces …]"),
        () if leading || trailing => "\\x20".repeat(count),
        () => " ".repeat(count),
    }
}

/// The first character, or the first byte that is of none.
fn piece(bytes: &[u8]) -> (String, usize) {
    // A character has four bytes at most.
    let head = bytes.get(..4).unwrap_or(bytes);
    let valid = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    match (valid.chars().next(), bytes.first()) {
        (Some(c), _) => (character(c), c.len_utf8()),
        (None, Some(byte)) => (format!("\\x{byte:02x}"), 1),
        (None, None) => (String::new(), 0),
    }
}

fn character(c: char) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match c {
        '\\' => write!(text, "\\\\"),
        '\n' | '\t' | '\r' => write!(text, "{}", c.escape_default()),
        c if c.is_ascii_control() => write!(text, "\\x{:02x}", u32::from(c)),
        c if is_hidden(c) => write!(text, "{}", c.escape_unicode()),
        c => write!(text, "{c}"),
    };
    text
}

/// Whether a character cannot be told by looking: it steers, it is blank, it marks the one before it, its picture
/// is anybody's choice; or it is remit's own mark.
pub fn is_hidden(c: char) -> bool {
    match c {
        ' ' => false,
        ELLIPSIS => true,
        // Selectors of a picture; the blank pattern of braille.
        '\u{fe0e}' | '\u{fe0f}' | '\u{2800}' => true,
        // Marks that combine with the character before them.
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' => true,
        '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}' => true,
        // For private use, and none at all.
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => true,
        '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_whitespace() || !is_plain(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides() {
        for (bytes, want) in [
            (&b"plain text"[..], "plain text"),
            (b"", "[… empty …]"),
            (b" a  b ", "\\x20a  b\\x20"),
            (b"    ", "[… 4 spaces …]"),
            (b"a     b", "a[… 5 spaces …]b"),
            (b"a\nb\r\tc", "a\\nb\\r\\tc"),
            (b"\x1b[31m\x07\x7f", "\\x1b[31m\\x07\\x7f"),
            (b"\\x1b", "\\\\x1b"),
            (b"\xff\xc3", "\\xff\\xc3"),
            (b"\xe2\x80", "\\xe2\\x80"),
            (
                "gr\u{fc}n \u{4e2d}\u{1f600}".as_bytes(),
                "gr\u{fc}n \u{4e2d}\u{1f600}",
            ),
            ("\u{202e}cba".as_bytes(), "\\u{202e}cba"),
            (
                "a\u{200b}b\u{a0}c\u{2028}d".as_bytes(),
                "a\\u{200b}b\\u{a0}c\\u{2028}d",
            ),
            ("e\u{301}".as_bytes(), "e\\u{301}"),
            ("\u{9b}31m\u{85}".as_bytes(), "\\u{9b}31m\\u{85}"),
            (
                "[… 3 spaces …]".as_bytes(),
                "[\\u{2026} 3 spaces \\u{2026}]",
            ),
            ("\u{e0b0}\u{fe0f}".as_bytes(), "\\u{e0b0}\\u{fe0f}"),
        ] {
            assert_eq!(exact(bytes, 4096), want);
        }
    }

    #[test]
    fn what_is_cut_is_counted_and_hashed() {
        let long = vec![b'x'; 1000];
        let cut = exact(&long, 300);
        let all = hex(&Sha256::digest(&long));
        let shown = cut.bytes().take_while(|byte| *byte == b'x').count();
        let want = format!("[… {} bytes more, sha256 of all {all} …]", 1000 - shown);
        assert!(shown > 150 && cut.len() <= 300, "{cut}");
        assert_eq!(cut.trim_start_matches('x'), want);
        assert_eq!(exact(&long, 1000).len(), 1000);
    }

    #[test]
    fn our_own_words_stay() {
        assert_eq!(words("a\\nb…", 99), "a\\nb…");
        assert_eq!(words("a      b\n", 99), "a[… 6 spaces …]b\\n");
        assert_eq!(words("abcdefgh", 6), "abc…");
    }

    /// W11: a list shows what a requester wrote without that it passes for remit's own words.
    #[test]
    fn w11_only_remit_writes_remits_marks() {
        let forged = "rotate [… checked by remit: harmless …]     now";
        let want = "rotate [\\u{2026} checked by remit: harmless \\u{2026}][… 5 spaces …]now";
        assert_eq!(quoted(forged.as_bytes(), 300), want);
        assert_eq!(foreign(forged, 300), want);
        assert_eq!(
            (quoted(b"", 9), foreign("", 9)),
            (String::new(), String::new())
        );
        assert_eq!(quoted(b"abcdefgh", 6), "abc…");
        assert_eq!(
            (quoted(b"a\\n", 9), foreign("a\\n", 9)),
            ("a\\\\n".into(), "a\\n".into())
        );
    }

    proptest::proptest! {
        #[test]
        fn w11_a_requesters_mark_is_never_shown(before: String, after: String, cap in 40_usize..400) {
            let text = format!("{before}[… x …]{after}");
            for shown in [quoted(text.as_bytes(), cap), foreign(&text, cap)] {
                assert!(shown.len() <= cap, "{shown}");
                assert!(!shown.contains("[… x …]"), "{shown}");
            }
        }

        #[test]
        fn any_bytes_are_one_line_within_the_cap(bytes: Vec<u8>, cap in 200_usize..400) {
            let text = exact(&bytes, cap);
            assert!(text.len() <= cap);
            assert!(text.chars().all(|c| c == ELLIPSIS || !is_hidden(c)));
        }

        #[test]
        fn different_bytes_show_differently(a: Vec<u8>, b: Vec<u8>) {
            assert_eq!(exact(&a, 9999) == exact(&b, 9999), a == b);
        }
    }
}
