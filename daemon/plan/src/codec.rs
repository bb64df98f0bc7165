//! Encoded values: a line with the version, then postcard. The length is checked first. Bytes after it are an error.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::Serialize;

use crate::{BUNDLE_BYTES, CONTENT_BYTES, ENTRIES, PlanPath};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    Empty,
    Many,
    Bytes,
    Bundle,
    Format(&'static str),
    Entry { path: PlanPath, why: &'static str },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the plan changes nothing"),
            Self::Many => write!(f, "the plan has more than {ENTRIES} entries; split it"),
            Self::Bytes => write!(
                f,
                "the plan has more than {CONTENT_BYTES} new bytes; split it"
            ),
            Self::Bundle => write!(
                f,
                "the plan and its old and new bytes are more than {BUNDLE_BYTES}; split it"
            ),
            Self::Format(why) => write!(f, "the plan cannot be read: {why}"),
            Self::Entry { path, why } => write!(f, "'{path}' cannot be in this plan: {why}"),
        }
    }
}

pub fn encode(magic: &[u8], value: &impl Serialize) -> Vec<u8> {
    // Writing to memory cannot fail. A value without its bytes would be refused.
    postcard::to_extend(value, magic.to_vec()).unwrap_or_default()
}

pub fn decode<T: DeserializeOwned>(
    magic: &[u8],
    most: usize,
    bytes: &[u8],
) -> Result<T, &'static str> {
    if bytes.len() > most {
        return Err("it is longer than its bound");
    }
    let body = bytes
        .strip_prefix(magic)
        .ok_or("it is not of this version")?;
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("it has bytes after its end"),
        Err(_) => Err("it is damaged"),
    }
}

struct AtMost<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for AtMost<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = from.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::custom("too many"));
            }
            list.push(element);
        }
        Ok(list)
    }
}

/// Deserializes at most as many elements as a plan has entries. A longer list ends the decoding and takes no memory.
pub fn at_most_entries<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    from.deserialize_seq(AtMost::<T, { ENTRIES }>(PhantomData))
}
