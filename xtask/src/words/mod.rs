//! Finds banned words in the repository. `xtask/words.toml` has the words. Text is split at every character that is
//! not a letter, and names also before capital letters: `no_room`, `NoRoom` and "no room" are the same words.

pub mod old_names;
pub mod split;
pub mod table;
pub mod texts;

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
