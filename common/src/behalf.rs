//! Whom a requester says it acts for. Nobody verifies it: it is for records and people, and decides nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text;

/// Bytes of a name.
const NAME: usize = 128;

/// One line of words without control characters, at most 128 bytes and a mark of what was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Behalf(String);

impl Behalf {
    /// Returns `None` if there is no word.
    #[must_use]
    pub fn new(words: &[u8]) -> Option<Self> {
        let words = words.trim_ascii();
        (!words.is_empty()).then(|| Self(text::line(words, NAME)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Behalf {
    /// For what another process sends: it is bounded here, too.
    fn from(words: String) -> Self {
        Self(text::line(words.as_bytes(), NAME))
    }
}

impl fmt::Display for Behalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_bounded_line() {
        let behalf = |words: &str| Behalf::new(words.as_bytes()).map(|behalf| behalf.to_string());
        assert_eq!(behalf(" ann@laptop\n").as_deref(), Some("ann@laptop"));
        assert_eq!(behalf(" \t\n"), None);
        let hostile = "ann\nREMIT_UID=0\u{202e}\x1b[2J";
        let shown = "ann\\nREMIT_UID=0\\u{202e}\\x1b[2J";
        assert_eq!(behalf(hostile).as_deref(), Some(shown));
        assert_eq!(Behalf::from(hostile.to_owned()).as_str(), shown);
        let long = behalf(&"x".repeat(4096)).unwrap();
        assert_eq!(long, format!("{}…", "x".repeat(NAME)));
        assert_eq!(Behalf::from("y".repeat(4096)).as_str().len(), long.len());
    }

    #[test]
    fn what_is_sent_is_bounded_when_it_is_read() {
        let sent = postcard::to_allocvec(&"a\nb".repeat(1000)).unwrap();
        let read: Behalf = postcard::from_bytes(&sent).unwrap();
        assert!(read.as_str().starts_with("a\\nba"), "{read}");
        assert!(read.as_str().len() < 140, "{read}");
    }
}
