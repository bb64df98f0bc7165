//! The words of a command line as records have it. Pure.

/// A word of a [`command_line`](remit_common::text::command_line).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineWord {
    pub text: String,
    /// It may be another text: a backslash in it may have been one, or the start of an escape of [`line()`](remit_common::text::line).
    pub ambiguous: bool,
}

/// Returns the words of a [`command_line`](remit_common::text::command_line). `None` if it is none, or was truncated.
#[must_use]
pub fn words(line: &str) -> Option<Vec<LineWord>> {
    if line.ends_with('…') {
        return None;
    }
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let mut text = String::new();
        loop {
            if let Some(quoted) = rest.strip_prefix('\'') {
                let (inside, after) = quoted.split_once('\'')?;
                text += inside;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("\\'") {
                text.push('\'');
                rest = after;
            } else {
                let end = rest.find([' ', '\'', '\\']).unwrap_or(rest.len());
                let (plain, after) = rest.split_at(end);
                text += plain;
                rest = after;
                if after.is_empty() || after.starts_with(' ') {
                    break;
                }
                if after.starts_with('\\') && !after.starts_with("\\'") {
                    return None;
                }
            }
        }
        let is_escape = |after: &str| after.starts_with(['n', 't', 'x', 'u']);
        let ambiguous = text.split('\\').skip(1).any(is_escape);
        words.push(LineWord { text, ambiguous });
        match rest.strip_prefix(' ') {
            // A line never ends in a space.
            Some("") => return None,
            Some(after) => rest = after,
            None => break,
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use remit_common::text::command_line;

    use super::*;

    #[test]
    fn words_of_a_command_line_are_found_again() {
        let word = |text: &str, ambiguous| LineWord {
            text: text.to_owned(),
            ambiguous,
        };
        for (line, expect) in [
            ("", Some(vec![])),
            (
                r"ls -l 'a b' 'it'\''s'",
                Some(vec![
                    word("ls", false),
                    word("-l", false),
                    word("a b", false),
                    word("it's", false),
                ]),
            ),
            ("''", Some(vec![word("", false)])),
            (
                r"'a\nb' 'a\b'",
                Some(vec![word(r"a\nb", true), word(r"a\b", false)]),
            ),
            (
                r"'\x1b' '\u{202e}'",
                Some(vec![word(r"\x1b", true), word(r"\u{202e}", true)]),
            ),
            ("a…", None),
            ("'a", None),
            (r"a\b", None),
            ("a ", None),
        ] {
            assert_eq!(words(line), expect, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_words_are_found_again(argv: Vec<String>) {
            let found = words(&command_line(&argv, usize::MAX)).expect("it is whole");
            assert_eq!(found.len(), argv.len());
            for (found, word) in found.iter().zip(&argv) {
                assert!(found.ambiguous || found.text == *word, "{found:?} {word:?}");
            }
        }

        #[test]
        fn any_line_has_words_or_none(line: String) {
            if let Some(found) = words(&line) {
                let found: Vec<String> = found.into_iter().map(|word| word.text).collect();
                assert!(words(&command_line(&found, usize::MAX)).is_some());
            }
        }
    }
}
