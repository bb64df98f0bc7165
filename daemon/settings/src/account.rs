//! An account by its name or its number.

use serde::{Deserialize, Deserializer, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AccountRef {
    Id(u32),
    Name(String),
}

/// A file has a number or a text. Bytes do not describe themselves, so they begin with the kind.
impl<'de> Deserialize<'de> for AccountRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.is_human_readable() {
            true => InFile::deserialize(from),
            false => InBytes::deserialize(from),
        }
    }
}

#[derive(Deserialize)]
#[serde(remote = "AccountRef", untagged)]
enum InFile {
    Id(u32),
    Name(String),
}

#[derive(Deserialize)]
#[serde(remote = "AccountRef")]
enum InBytes {
    Id(u32),
    Name(String),
}
