//! JSON Schemas of arguments and results, derived from their types and kept short.

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// Returns a flat schema of arguments. It has no number formats, because clients warn about unknown ones.
pub fn schema<T: JsonSchema>() -> JsonObject {
    generate::<T>(SchemaSettings::draft2020_12(), Null::Absent)
}

/// Returns the schema of a result. Nothing is required, because a refusal replaces all of it.
pub fn output<T: JsonSchema>(null: Null) -> JsonObject {
    let schema = generate::<T>(SchemaSettings::draft2020_12().for_serialize(), null);
    let mut schema = without(schema, &["required"]);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            let description = property.get("description").cloned();
            if let Value::Object(inner) = property {
                // The names of states are in the manual page; those that matter are in the description.
                *inner = without(std::mem::take(inner), &["description", "enum"]);
                if let Some(description) = description {
                    inner.insert("description".to_owned(), description);
                }
            }
        }
        let refusal = json!({ "type": "object", "description": "A refusal instead" });
        properties.insert("error".to_owned(), refusal);
    }
    schema
}

fn generate<T: JsonSchema>(settings: SchemaSettings, null: Null) -> JsonObject {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    simplify(&mut schema, null);
    match schema {
        Value::Object(mut schema) => {
            schema.remove("description");
            schema
        }
        _ => JsonObject::new(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Null {
    Stays,
    /// The field is left out instead of null.
    Absent,
}

fn simplify(schema: &mut Value, null: Null) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| simplify(item, null)),
        Value::Object(object) => {
            for key in ["title", "format", "default"] {
                // A property with such a name is a schema itself.
                if object.get(key).is_some_and(|value| !value.is_object()) {
                    object.remove(key);
                }
            }
            // A minimum of 0 adds no information.
            if object.get("minimum") == Some(&json!(0)) {
                object.remove("minimum");
            }
            if null == Null::Absent {
                without_null(object);
            }
            one_of_names(object);
            if let Some(Value::Object(items)) = object.get_mut("items") {
                items.remove("description");
            }
            object.values_mut().for_each(|value| simplify(value, null));
        }
        _ => {}
    }
}

fn without_null(object: &mut JsonObject) {
    for key in ["type", "enum"] {
        if let Some(Value::Array(choices)) = object.get_mut(key) {
            choices.retain(|choice| !choice.is_null() && *choice != "null");
            if key == "type" && choices.len() == 1 {
                let only = choices.remove(0);
                object.insert(key.to_owned(), only);
            }
        }
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type") != Some(&json!("null")));
    if let [Value::Object(_)] = choices.as_slice()
        && let Value::Object(only) = choices.remove(0)
    {
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

fn one_of_names(object: &mut JsonObject) {
    let Some(Value::Array(choices)) = object.get("oneOf") else {
        return;
    };
    let names: Option<Vec<Value>> = choices
        .iter()
        .map(|choice| choice.get("const").cloned())
        .collect();
    if let Some(names) = names {
        object.remove("oneOf");
        object.insert("type".to_owned(), json!("string"));
        object.insert("enum".to_owned(), Value::Array(names));
    }
}

pub fn only(mut schema: JsonObject, names: &[&str]) -> JsonObject {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.retain(|name, _| *name == "error" || names.contains(&name.as_str()));
    }
    schema
}

pub fn terse(schema: JsonObject) -> JsonObject {
    without(schema, &["description", "enum"])
}

/// Keeps only the top-level properties with their types.
pub fn shallow(schema: JsonObject) -> JsonObject {
    let mut schema = terse(schema);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            property.retain(|key, _| key == "type");
        }
    }
    schema
}

/// Says nothing of what is in lists.
pub fn without_parts(schema: JsonObject) -> JsonObject {
    without(schema, &["items"])
}

/// Removes these keywords at any depth. No property has such a name.
fn without(schema: JsonObject, keywords: &[&str]) -> JsonObject {
    fn strip(value: &mut Value, keywords: &[&str]) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| strip(item, keywords)),
            Value::Object(object) => {
                object.retain(|key, _| !keywords.contains(&key.as_str()));
                object.values_mut().for_each(|inner| strip(inner, keywords));
            }
            _ => {}
        }
    }
    let mut schema = Value::Object(schema);
    strip(&mut schema, keywords);
    match schema {
        Value::Object(schema) => schema,
        _ => JsonObject::new(),
    }
}
