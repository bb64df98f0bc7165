//! Lists that are read to their end, but kept only up to one element above their cap: a
//! frame of empty elements would else take 24 times its size in memory. Whoever checks
//! the cap still sees that it is exceeded.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::Bytes;
use crate::caps;

struct Few<T, const CAP: usize>(Vec<T>);

struct Reader<T, const CAP: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const CAP: usize> Visitor<'de> for Reader<T, CAP> {
    type Value = Few<T, CAP>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(element) = from.next_element()? {
            if kept.len() <= CAP {
                kept.push(element);
            }
        }
        Ok(Few(kept))
    }
}

impl<'de, T: Deserialize<'de>, const CAP: usize> Deserialize<'de> for Few<T, CAP> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Reader(PhantomData))
    }
}

type Argv = Few<Bytes, { caps::ARGV_COUNT }>;

pub fn argv<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bytes>, D::Error> {
    Argv::deserialize(from).map(|few| few.0)
}

pub fn optional_argv<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Bytes>>, D::Error> {
    Option::<Argv>::deserialize(from).map(|few| few.map(|few| few.0))
}

pub fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    Few::<_, { caps::NAMED_ARGS }>::deserialize(from).map(|few| few.0)
}

pub fn env<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(Bytes, Bytes)>, D::Error> {
    Few::<_, { caps::ENV_COUNT }>::deserialize(from).map(|few| few.0)
}
