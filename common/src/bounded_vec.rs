//! Deserializes lists completely but keeps at most one element above the bound, so callers still see the excess.
//! Otherwise a frame of empty elements takes 24 times its size in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use crate::caps;
use crate::wire::Bytes;

struct BoundedVec<T, const CAP: usize>(Vec<T>);

struct BoundedVecVisitor<T, const CAP: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const CAP: usize> Visitor<'de> for BoundedVecVisitor<T, CAP> {
    type Value = BoundedVec<T, CAP>;

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
        Ok(BoundedVec(kept))
    }
}

impl<'de, T: Deserialize<'de>, const CAP: usize> Deserialize<'de> for BoundedVec<T, CAP> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(BoundedVecVisitor(PhantomData))
    }
}

type Argv = BoundedVec<Bytes, { caps::ARGV_COUNT }>;

pub fn argv<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bytes>, D::Error> {
    Argv::deserialize(from).map(|bounded| bounded.0)
}

pub fn optional_argv<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Bytes>>, D::Error> {
    Option::<Argv>::deserialize(from).map(|bounded| bounded.map(|bounded| bounded.0))
}

pub fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    BoundedVec::<_, { caps::NAMED_ARGS }>::deserialize(from).map(|bounded| bounded.0)
}

pub fn env<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(Bytes, Bytes)>, D::Error> {
    BoundedVec::<_, { caps::ENV_COUNT }>::deserialize(from).map(|bounded| bounded.0)
}
