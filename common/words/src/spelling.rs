//! Finds what a misspelt word probably means. Pure.

/// Bytes. Longer words are not compared.
const LONGEST: usize = 64;

/// Returns the known words that `word` probably means, the nearest first: one edit for each three bytes, at most three. None for a
/// word over 64 bytes.
#[must_use]
pub fn similar<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let bound = (word.len() / 3).clamp(1, 3);
    let near = |one: &&str| one.len().abs_diff(word.len()) <= bound && one.len() <= LONGEST;
    let known = known.into_iter().filter(|one| *one != word).filter(near);
    let known = known.filter(|_| word.len() <= LONGEST);
    let known = known.map(|one| (distance(word.as_bytes(), one.as_bytes()), one));
    let mut known: Vec<(usize, &str)> = known.filter(|(edits, _)| *edits <= bound).collect();
    known.sort_by_key(|(edits, _)| *edits);
    known.into_iter().map(|(_, one)| one).collect()
}

/// Counts edits between two words (optimal string alignment).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, x) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in other.iter().enumerate() {
            let changed = at(&last, j) + usize::from(x != y);
            let longer_or_shorter = at(&last, j + 1).min(at(&row, j)) + 1;
            let is_exchanged =
                i > 0 && j > 0 && one.get(i - 1) == Some(y) && other.get(j - 1) == Some(x);
            let exchanged = if is_exchanged {
                at(&before, j - 1) + 1
            } else {
                usize::MAX
            };
            row.push(changed.min(longer_or_shorter).min(exchanged));
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_word_has_suggestions_the_nearest_first() {
        let known = [
            "allow",
            "approval",
            "unconfined",
            "web.test",
            "web.reload",
            "to",
        ];
        for (word, expect) in [
            ("alow", ["allow"].as_slice()),
            ("aproval", &["approval"]),
            ("unconfind", &["unconfined"]),
            ("web.tset", &["web.test"]),
            ("web.relaod", &["web.reload"]),
            ("web.rest", &["web.test"]),
            ("tp", &["to"]),
            ("allow", &[]),
            ("everything", &[]),
            ("", &[]),
        ] {
            assert_eq!(similar(word, known), expect, "{word}");
        }
        assert_eq!(
            similar("abcdef", ["abcd", "abcde", "ab"]),
            ["abcde", "abcd"]
        );
        assert_eq!(similar(&"a".repeat(65), [&*"a".repeat(64)]), [""; 0]);
    }

    #[test]
    fn edits_are_counted() {
        for (one, other, expect) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(
                distance(one.as_bytes(), other.as_bytes()),
                expect,
                "{one} {other}"
            );
        }
    }
}
