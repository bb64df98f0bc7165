//! JSON objects whose keys stay in the order of a vendor's examples.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A value whose objects keep their order.
#[derive(Clone, Debug)]
pub enum Json {
    Plain(Value),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Returns the object without the keys that have no value.
    pub fn object<const N: usize>(pairs: [(&str, Option<Json>); N]) -> Self {
        let pairs = pairs.into_iter();
        let present = pairs.filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Self::Object(present.collect())
    }

    /// Returns it as lines, with a newline at the end.
    pub fn pretty(&self) -> String {
        // Cannot fail: all keys are strings.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n")
    }
}

impl<T: Into<Value>> From<T> for Json {
    fn from(value: T) -> Self {
        Self::Plain(value.into())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::Object(pairs) => {
                serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
            }
        }
    }
}
