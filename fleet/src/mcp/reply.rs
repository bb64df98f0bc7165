//! The answer of a tool. Pure.

use remit_common::text;
use serde_json::{Map, Value, json};

/// The answer of a tool, for models and for programs.
pub struct Reply {
    pub is_error: bool,
    pub text: String,
    pub data: Map<String, Value>,
}

impl Reply {
    pub fn plain(data: Map<String, Value>) -> Self {
        Self {
            is_error: false,
            text: Value::Object(data.clone()).to_string(),
            data,
        }
    }

    /// In the form of a refusal of mcp-shim, with one of its codes.
    pub fn refused(code: &str, why: &str) -> Self {
        let error = json!({ "code": code, "message": text::show(why.as_bytes()).text });
        Self {
            is_error: true,
            ..Self::plain(Map::from_iter([("error".to_owned(), error)]))
        }
    }

    /// A host's own answer, with the host named first.
    pub fn named(
        is_error: bool,
        text: String,
        mut data: Map<String, Value>,
        named: &[(&str, Value)],
    ) -> Self {
        let mut first = String::new();
        for (key, value) in named {
            first += &format!("{}:{value},", json!(key));
            data.insert((*key).to_owned(), value.clone());
        }
        // A second key of the same name would be the one that counts.
        let mut objects = serde_json::Deserializer::from_str(&text).into_iter::<Map<_, Value>>();
        let object = objects.next().and_then(Result::ok);
        let is_free = named
            .iter()
            .all(|(key, _)| object.as_ref().is_some_and(|it| !it.contains_key(*key)));
        let text = match text.strip_prefix('{').map(str::trim_start) {
            Some(rest) if is_free && rest.starts_with('"') => format!("{{{first}{rest}"),
            _ => format!("{{{}}}\n{text}", first.trim_end_matches(',')),
        };
        Self {
            is_error,
            text,
            data,
        }
    }
}
