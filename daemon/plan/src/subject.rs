//! An account or a group in a sentence.

use std::fmt;

use remit_common::accounts::ROOT_GROUPS;
use remit_common::escape;

/// An account or a group. The ones that can do more come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub standing: Standing,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Root,
    Old,
    New,
}

impl Subject {
    pub fn new(bytes: &[u8], is_old: bool) -> Self {
        let mut root = ROOT_GROUPS.iter();
        let standing = match root.any(|(name, _)| bytes == name.as_bytes()) {
            true => Standing::Root,
            false if is_old => Standing::Old,
            false => Standing::New,
        };
        Self {
            standing,
            name: shown(bytes),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

pub fn shown(name: &[u8]) -> String {
    escape::in_quotes(name, 64)
}
