//! Errors of arguments with the wrong type, in the words of JSON: clients do not know the types of Rust.

use remit_wire::edits::EditText;
use serde_json::{Map, Value};

/// Returns the path of a wrong value within the argument `name`, and what is wrong with it. serde does not name the field of
/// an edit, so each is tried separately.
pub fn wrong_words(name: &str, value: &Value, error: &str) -> String {
    match (name, value) {
        ("edits", Value::Array(edits)) => {
            let mut edits = edits.iter().enumerate();
            edits.find_map(|(at, edit)| wrong_in_edit(at, edit))
        }
        _ => None,
    }
    .unwrap_or_else(|| format!("'{name}': {}", json_words(name, error)))
}

fn wrong_in_edit(at: usize, edit: &Value) -> Option<String> {
    let fields = edit.as_object()?.iter();
    fields.into_iter().find_map(|(field, value)| {
        let mut alone = Map::from_iter([(field.clone(), value.clone())]);
        alone
            .entry("path")
            .or_insert_with(|| Value::String(String::new()));
        let error = serde_json::from_value::<EditText>(Value::Object(alone)).err()?;
        let words = match field.as_str() {
            "replace" if !value.is_array() => {
                "expected a list of objects with old and new".to_owned()
            }
            field => json_words(field, &error.to_string()),
        };
        Some(format!("'edits[{at}].{field}': {words}"))
    })
}

/// Replaces what serde says of a wrong value of the argument `name`. Anything else stays as it is.
fn json_words(name: &str, error: &str) -> String {
    if let Some(values) = error.strip_prefix("unknown variant ") {
        return format!("unknown value {values}");
    }
    if error.starts_with("data did not match any variant of untagged enum") {
        return "expected a whole number or a string".to_owned();
    }
    let wrong = ["invalid type: ", "invalid value: "];
    let wrong = wrong.iter().find_map(|start| error.strip_prefix(start));
    // A text that is quoted comes before the last comma.
    match wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let (found, expected) = (found_words(found), expected_words(name, expected));
            format!("expected {expected}, not {found}")
        }
        None => error.to_owned(),
    }
}

fn expected_words(name: &str, expected: &str) -> String {
    let words = match expected {
        "a sequence" if name == "edits" => "a list of objects",
        "a sequence" => "a list of strings",
        "a map" => "an object",
        "a boolean" => "true or false",
        // A name of several.
        "string or map" | "a borrowed string" => "a string",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    words.to_owned()
}

fn found_words(found: &str) -> String {
    let quoted = |kind: &str| {
        let value = found.strip_prefix(kind)?.strip_prefix(" `")?;
        value.strip_suffix('`')
    };
    let number = quoted("integer").or_else(|| quoted("floating point"));
    match (found, number) {
        ("sequence", _) => "a list".to_owned(),
        ("map", _) => "an object".to_owned(),
        ("null" | "unit value" | "Option value", _) => "null".to_owned(),
        (_, Some(number)) => format!("the number {number}"),
        _ => match (quoted("boolean"), found.strip_prefix("string ")) {
            (Some(value), _) => value.to_owned(),
            (None, Some(text)) => format!("the string {text}"),
            (None, None) => found.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::try_call;
    use super::*;
    use crate::tools::Tool;

    #[test]
    fn wrong_types_are_in_words_of_json() {
        let run = |name: &str, value: Value| (Tool::Run, json!({ name: value }));
        for ((tool, arguments), expect) in [
            (
                run("argv", json!("df -h")),
                "argument 'argv': expected a list of strings, not the string \"df -h\"",
            ),
            (
                run("argv", json!(", expected a map")),
                "argument 'argv': expected a list of strings, not the string \", expected a map\"",
            ),
            (
                run("argv", json!({"a": 1})),
                "argument 'argv': expected a list of strings, not an object",
            ),
            (
                run("argv", json!(["df", 1])),
                "argument 'argv': expected a string, not the number 1",
            ),
            (
                run("argv", json!([null])),
                "argument 'argv': expected a string, not null",
            ),
            (
                run("args", json!(["unit"])),
                "argument 'args': expected an object, not a list",
            ),
            (
                run("env", json!({"A": 1.5})),
                "argument 'env': expected a string, not the number 1.5",
            ),
            (
                run("wait_ms", json!("5")),
                "argument 'wait_ms': expected a whole number that is not negative, not the string \"5\"",
            ),
            (
                run("wait_ms", json!(-1)),
                "argument 'wait_ms': expected a whole number that is not negative, not the number -1",
            ),
            (
                run("wait_ms", json!(0.5)),
                "argument 'wait_ms': expected a whole number that is not negative, not the number 0.5",
            ),
            (
                run("wait_ms", json!(5_000_000_000.0)),
                "argument 'wait_ms': expected a whole number up to 4294967295, not the number 5000000000",
            ),
            (
                run("wait_ms", json!(5_000_000_000_u64)),
                "argument 'wait_ms': expected a whole number up to 4294967295, not the number 5000000000",
            ),
            (
                (Tool::History, json!({"before": 1.5e20})),
                "argument 'before': expected a whole number up to 18446744073709551615, not the number 1.5e+20",
            ),
            (
                run("script", json!(true)),
                "argument 'script': expected a string, not true",
            ),
            (
                (Tool::Change, json!({"reason": "x", "then": "a"})),
                "argument 'then': expected a list of strings, not the string \"a\"",
            ),
            (
                (Tool::Plan, json!({"edits": {}})),
                "argument 'edits': expected a list of objects, not an object",
            ),
            (
                (
                    Tool::Plan,
                    json!({"edits": [{"path": "/a", "mkdir": true}, {"path": "/b", "replace": "9001"}]}),
                ),
                "argument 'edits[1].replace': expected a list of objects with old and new",
            ),
            (
                (Tool::Plan, json!({"edits": [{"path": "/b", "write": 7}]})),
                "argument 'edits[0].write': expected a string, not the number 7",
            ),
            (
                (Tool::Plan, json!({"edits": [{"path": "/b", "wirte": "a"}]})),
                "argument 'edits[0].wirte': unknown field `wirte`, expected one of `path`, `write`, `write_base64`, `upload`, \
                 `replace`, `patch`, `remove`, `mkdir`, `link`, `mode`, `owner`, `group`, `base_sha256`, `create_only`",
            ),
            (
                (Tool::Plan, json!({"edits": [7]})),
                "argument 'edits': expected an object, not the number 7",
            ),
            (
                (Tool::Plan, json!({"edits": [], "private": "yes"})),
                "argument 'private': expected true or false, not the string \"yes\"",
            ),
            (
                (Tool::History, json!({"kind": 7})),
                "argument 'kind': expected a string, not the number 7",
            ),
            (
                (Tool::JobStop, json!({"job_id": "a", "signal": []})),
                "argument 'signal': expected a whole number or a string",
            ),
        ] {
            let error = try_call(tool, arguments.clone()).unwrap_err();
            assert_eq!(error, expect, "{arguments}");
        }
    }

    #[test]
    fn other_errors_stay() {
        for error in [
            "missing field `reason`",
            "unknown field `x`",
            "a, expected b",
            "",
        ] {
            assert_eq!(json_words("argv", error), error);
        }
    }
}
