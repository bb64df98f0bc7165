//! Shows all bytes of a value on one line, or counts and hashes what does not fit.

use remit_common::escape::start;
use sha2::{Digest, Sha256};

use crate::hex;

/// Shows all bytes, or as many as fit into `cap` (at least 200) with their number and the SHA-256 of all.
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
    let free_bytes = cap.saturating_sub(marker(bytes.len()).len());
    let (mut text, taken) = start(bytes, free_bytes);
    text.push_str(&marker(bytes.len() - taken));
    text
}

#[cfg(test)]
mod tests {
    use remit_common::escape::{ELLIPSIS, is_hidden};

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

    proptest::proptest! {
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
