//! Finds banned words in the repository. `xtask/words.toml` has the words. Text is split at every character that is
//! not a letter, and names also before capital letters: `no_room`, `NoRoom` and "no room" are the same words.

pub mod table;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    Path,
    Name,
    Comment,
    String,
    Script,
    Page,
    Document,
    Setting,
}

impl TextKind {
    pub fn is_prose(self) -> bool {
        !matches!(self, Self::Path | Self::Name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct WordHit {
    pub file: String,
    /// Counted from 1; 0 for the path itself.
    pub line: usize,
    pub kind: TextKind,
    pub word: String,
}

/// Calls `word` with each word of `text`: letters only, split before capitals as in `CamelCase`.
pub fn for_each_word<'a>(text: &'a str, mut word: impl FnMut(&'a str)) {
    let bytes = text.as_bytes();
    let mut start = None;
    let mut previous = 0_u8;
    for (at, &byte) in bytes.iter().enumerate() {
        let is_letter = byte.is_ascii_alphabetic() || byte >= 0x80;
        let next = bytes.get(at + 1).copied().unwrap_or_default();
        let is_hump = byte.is_ascii_uppercase()
            && (previous.is_ascii_lowercase()
                || previous.is_ascii_uppercase() && next.is_ascii_lowercase());
        if let Some(from) = start
            && (!is_letter || is_hump)
        {
            text.get(from..at).into_iter().for_each(&mut word);
            start = None;
        }
        if is_letter && start.is_none() {
            start = Some(at);
        }
        previous = byte;
    }
    if let Some(from) = start {
        text.get(from..).into_iter().for_each(&mut word);
    }
}

pub fn lowercase_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for_each_word(text, |word| words.push(word.to_lowercase()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_prose_split_alike() {
        for (text, words) in [
            ("no_room2", vec!["no", "room"]),
            ("NoRoom", vec!["no", "room"]),
            ("No room: \"left\".", vec!["no", "room", "left"]),
            ("HTTPServer", vec!["http", "server"]),
            ("MAX_ROOM", vec!["max", "room"]),
            ("größe", vec!["größe"]),
            ("", vec![]),
        ] {
            assert_eq!(lowercase_words(text), words, "{text}");
        }
    }

    #[test]
    fn longer_words_stay_whole() {
        assert_eq!(lowercase_words("background"), ["background"]);
    }
}
