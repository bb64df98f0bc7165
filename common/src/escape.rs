//! Shows bytes of a request as one line of text. Nothing in it hides or passes for remit's own words. It converts back to
//! the bytes. A backslash is doubled. Invisible characters are escapes (`\n`, `\x1b`, `\u{202e}`), and bytes that are not
//! UTF-8 are `\xff`. `[… 12 spaces …]` are remit's words, because the character `…` of a request is an escape, too.

use std::fmt::Write;

use crate::marks::is_mark;
use crate::text::is_plain;

const MANY_SPACES: usize = 4;
pub const ELLIPSIS: char = '…';

/// Returns text of at most `cap` bytes, and how many of `bytes` it shows.
#[must_use]
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

/// Shows a requester's bytes in a list: cut with `…`, and empty if there are none.
#[must_use]
pub fn quoted(bytes: &[u8], cap: usize) -> String {
    let (text, taken) = start(bytes, cap);
    if taken == bytes.len() {
        return text;
    }
    let (mut text, _) = start(bytes, cap.saturating_sub(ELLIPSIS.len_utf8()));
    text.push(ELLIPSIS);
    text
}

/// Shows a requester's bytes as [`start`] does, their beginning and their end with `…` between if there are too many.
#[must_use]
pub fn middle(bytes: &[u8], cap: usize) -> String {
    let (text, taken) = start(bytes, cap);
    if taken == bytes.len() {
        return text;
    }
    let free_bytes = cap.saturating_sub(ELLIPSIS.len_utf8());
    let (mut text, taken) = start(bytes, free_bytes / 2);
    let end = bytes.get(taken..).unwrap_or_default();
    let is_inside = |at: usize| end.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let ends = (end.len().saturating_sub(cap)..=end.len()).filter(|at| !is_inside(*at));
    let mut ends = ends
        .filter_map(|at| end.get(at..))
        .map(|end| start(end, usize::MAX).0);
    let end = ends.find(|end| text.len() + end.len() <= free_bytes);
    text.push(ELLIPSIS);
    text.push_str(&end.unwrap_or_default());
    text
}

/// The same for text between two `'`: one of the requester's is `\'`.
#[must_use]
pub fn in_quotes(bytes: &[u8], cap: usize) -> String {
    middle(bytes, cap).replace('\'', "\\'")
}

/// Shows a requester's text that is already escaped, such as a command line. Its escapes stay, its marks do not.
#[must_use]
pub fn foreign(text: &str, cap: usize) -> String {
    on_a_line(text, cap, |c| c == '\\')
}

/// Shows text of the daemon or the policy: existing escapes and marks stay. Not a requester's: see [`foreign`].
#[must_use]
pub fn words(text: &str, cap: usize) -> String {
    on_a_line(text, cap, |c| matches!(c, '\\' | ELLIPSIS))
}

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

fn piece(bytes: &[u8]) -> (String, usize) {
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

/// Returns true for control, blank, combining and private-use characters, and for remit's own mark.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    match c {
        ' ' => false,
        ELLIPSIS => true,
        // The blank braille pattern.
        '\u{2800}' => true,
        // Private use, and noncharacters.
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => true,
        '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_whitespace() || !is_plain(c) || is_mark(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_words_stay() {
        assert_eq!(words("a\\nb…", 99), "a\\nb…");
        assert_eq!(words("a      b\n", 99), "a[… 6 spaces …]b\\n");
        assert_eq!(words("abcdefgh", 6), "abc…");
    }

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

    #[test]
    fn long_bytes_have_their_beginning_and_their_end() {
        assert_eq!(middle(b"/etc/sudoers.d/x", 16), "/etc/sudoers.d/x");
        assert_eq!(middle(b"/etc/sudoers.d/x", 13), "/etc/…s.d/x");
        assert_eq!(middle("ééééééé".as_bytes(), 11), "éé…éé");
        assert_eq!(middle(b"\xff\xff\xff\xff\n", 13), "\\xff…\\xff\\n");
        assert_eq!(middle(b"abc", 0), "…");
    }

    #[test]
    fn quote_of_a_requester_ends_no_quotes() {
        let forged = b"/srv/x' changes nothing. '";
        assert_eq!(in_quotes(forged, 99), "/srv/x\\' changes nothing. \\'");
        assert_eq!(in_quotes(b"a\\'", 99), "a\\\\\\'");
    }

    proptest::proptest! {
        #[test]
        fn middle_keeps_its_bound_and_both_ends(bytes: Vec<u8>, cap in 20_usize..90) {
            let shown = middle(&bytes, cap);
            assert!(shown.len() <= cap, "{shown}");
            if start(&bytes, usize::MAX).0.len() > cap {
                assert!(shown.matches(ELLIPSIS).count() % 2 == 1, "{shown}");
                assert!(start(&bytes, usize::MAX).0.starts_with(shown.split(ELLIPSIS).next().unwrap_or_default()));
            }
        }

        #[test]
        fn w11_a_requesters_mark_is_never_shown(before: String, after: String, cap in 40_usize..400) {
            let text = format!("{before}[… x …]{after}");
            for shown in [quoted(text.as_bytes(), cap), foreign(&text, cap)] {
                assert!(shown.len() <= cap, "{shown}");
                assert!(!shown.contains("[… x …]"), "{shown}");
            }
        }
    }
}
