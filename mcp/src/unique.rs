//! Parses JSON in which a name is given twice as an error. Others take the first or the last value, so two readers of the
//! same text could see two requests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

#[derive(Debug)]
pub enum NotUnique {
    /// This name is twice in one object.
    Twice(String),
    Json(serde_json::Error),
}

pub fn parse(text: &[u8]) -> Result<Value, NotUnique> {
    let twice = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = UniqueWalk(&twice).deserialize(&mut json);
    let value = value.and_then(|value| json.end().map(|()| value));
    value.map_err(|error| match twice.take() {
        Some(name) => NotUnique::Twice(name),
        None => NotUnique::Json(error),
    })
}

/// Builds a value, and notes the first name that is given twice.
#[derive(Clone, Copy)]
struct UniqueWalk<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for UniqueWalk<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueWalk<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.0.replace(Some(name));
                return Err(A::Error::custom("a name is given twice"));
            }
            object.insert(name, members.next_value_seed(self)?);
        }
        Ok(object.into())
    }
}

/// A map as a part of typed arguments.
#[derive(Debug, Default, PartialEq)]
pub struct UniqueMap<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(MapVisitor(PhantomData))
    }
}

struct MapVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for MapVisitor<V> {
    type Value = UniqueMap<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, value)) = members.next_entry()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is given twice"));
            }
        }
        Ok(UniqueMap(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_json_is_parsed_as_by_the_library() {
        for text in [
            r#"{"a":[1,-1,1.5,1e3,18446744073709551615,null,true,"\u0061"],"b":{"a":{}}}"#,
            r#"[{"a":1},{"a":1}]"#,
            " 7 ",
            r#""\ud800""#,
            "{",
            "{} {}",
            "1e999",
            &"[".repeat(1000),
        ] {
            let parsed = parse(text.as_bytes()).map_err(|error| match error {
                NotUnique::Json(error) => error.to_string(),
                NotUnique::Twice(name) => panic!("{name}"),
            });
            let expect = serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
            assert_eq!(parsed, expect, "{text}");
        }
    }

    #[test]
    fn duplicate_name_is_an_error() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"\u0061":1}"#,
            r#"[{"b":{"a":1,"a":{"#,
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(
                matches!(&error, NotUnique::Twice(name) if name == "a"),
                "{error:?}"
            );
        }
        let map = serde_json::from_str::<UniqueMap<Value>>;
        assert_eq!(map(r#"{"a":1,"b":2}"#).unwrap().0.len(), 2);
        assert!(map(r#"{"a":1,"b":2,"a":1}"#).is_err());
    }
}
