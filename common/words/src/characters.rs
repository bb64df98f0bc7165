//! How a character is shown where order decides: letters that run from right to left, and marks. Pure.

use remit_common::marks::is_mark;
use remit_common::text;

/// Returns true for letters of class R or AL (UAX 9), as Hebrew: they order digits and signs without a control.
#[must_use]
pub const fn is_right_to_left(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Escapes letters that may be shown in another order, control, invisible and combining characters, and every space other
/// than U+0020.
#[must_use]
pub fn ordered_piece(c: char) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        c if is_mark(c) || is_right_to_left(c) || (c != ' ' && c.is_whitespace()) => {
            c.escape_unicode().to_string()
        }
        c => text::show(c.encode_utf8(&mut [0; 4]).as_bytes()).text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_is_in_order_of_the_bytes() {
        let text = "a b\n\t\u{5d0}1/2\u{628}\u{301}\u{a0}\u{202e}\x1b\u{fc}\u{6f22}";
        let shown: String = text.chars().map(ordered_piece).collect();
        let expect = "a b\\n\\t\\u{5d0}1/2\\u{628}\\u{301}\\u{a0}\\u{202e}\\x1b\u{fc}\u{6f22}";
        assert_eq!(shown, expect);
        let mut all = ('\0'..=char::MAX).map(ordered_piece);
        assert!(all.all(|piece| !piece.chars().any(|c| is_right_to_left(c) || is_mark(c))));
    }
}
