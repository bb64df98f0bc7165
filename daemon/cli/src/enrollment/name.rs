//! Validates names of accounts and groups. Pure: does not look them up.

use std::fmt;
use std::str::FromStr;

/// In bytes (useradd(8)).
const NAME: usize = 32;

/// A name that useradd(8) accepts, and that no program can mistake for an option or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName;

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it must be a small letter or '_', then small letters, digits, '_' or '-', 32 at most",
        )
    }
}

impl std::error::Error for NotAName {}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let later = |byte: u8| first(byte) || byte.is_ascii_digit() || byte == b'-';
        let good =
            text.bytes().next().is_some_and(first) && text.bytes().all(later) && text.len() <= NAME;
        good.then(|| Self(text.to_owned())).ok_or(NotAName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_every_program() {
        for text in ["a", "_a", "agent-7", "x_1", &"a".repeat(32)] {
            assert_eq!(text.parse::<Name>().map(|name| name.0).as_deref(), Ok(text));
        }
        for text in [
            "",
            "-a",
            "--help",
            "1a",
            "A",
            "a b",
            "a.b",
            "a/b",
            "../a",
            "a\n",
            "a:b",
            "a,b",
            "a$",
            "\u{fc}",
            "%u",
            &"a".repeat(33),
        ] {
            assert_eq!(text.parse::<Name>(), Err(NotAName), "{text:?}");
        }
    }
}
