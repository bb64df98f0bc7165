//! What one look has read of texts for shells and of scripts.

use std::collections::BTreeSet;

use crate::facts::{Obeys, When};
use crate::path::FilePath;

/// Words of all texts of one look: of root, and of all others, which cannot use up those of root.
const ALL_WORDS: [usize; 2] = [1_000_000, 250_000];

/// What was read of all texts of a look.
#[derive(Debug, Default)]
pub struct ReadTexts {
    words: [usize; 2],
    /// Scripts of scripts.
    pub scripts: BTreeSet<(u32, When, FilePath)>,
    /// Facts and scripts of commands of a policy: calls with other values mostly have the same.
    facts_of_calls: BTreeSet<Obeys>,
    pub scripts_of_calls: BTreeSet<CalledScript>,
}

/// As whom, when, which file, in which directory, by which search path, and whether a shell reads it.
pub type CalledScript = (
    u32,
    When,
    FilePath,
    Option<FilePath>,
    Vec<FilePath>,
    Option<bool>,
);

impl ReadTexts {
    /// Has scripts of scripts and of commands read again.
    pub fn forget(&mut self) {
        self.scripts.clear();
        self.facts_of_calls.clear();
        self.scripts_of_calls.clear();
    }

    /// Returns false for a fact of a command that another of its calls has, too.
    pub fn is_new_fact(&mut self, obeys: &Obeys) -> bool {
        let is_called = matches!(obeys.when, When::Called { .. });
        !is_called || self.facts_of_calls.insert(obeys.clone())
    }

    /// Returns the words that texts of this account may still have, and counts some of them.
    pub fn spend(&mut self, uid: u32, words: usize) -> usize {
        let at = usize::from(uid != 0);
        let (Some(spent), Some(all)) = (self.words.get_mut(at), ALL_WORDS.get(at)) else {
            return 0;
        };
        *spent = spent.saturating_add(words);
        all.saturating_sub(*spent)
    }
}
