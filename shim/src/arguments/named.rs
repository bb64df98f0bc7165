//! Arguments of a named command, as texts for the daemon.

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use serde_json::{Map, Value};

use super::invalid;

const QUOTED: usize = 64;

/// Returns name and value pairs. A list gives one pair per element.
///
/// The length of a name is bounded, because the name is copied for each list element.
pub fn pairs(args: Map<String, Value>) -> Result<Vec<(String, String)>, Refusal> {
    let mut pairs = Vec::new();
    for (name, value) in args {
        let shown = text::line(name.as_bytes(), QUOTED);
        if name.len() > caps::NAME {
            let message = format!("'{shown}' in 'args' is longer than {} bytes", caps::NAME);
            return Err(Refusal::new(Code::TooLarge, message).object(shown));
        }
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            let value = scalar(value).map_err(|why| {
                invalid(&format!("'{shown}' in 'args' {why}"))
                    .object(shown.as_str())
                    .next("a value is a string, a whole number, a boolean, or a list of these")
            })?;
            pairs.push((name.clone(), value));
        }
    }
    Ok(pairs)
}

/// The error never contains the value, because it may be a secret.
fn scalar(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        Value::Number(_) => Err("is no whole number of 64 bits: give it as a string"),
        Value::Null => Err("is null: leave it out"),
        Value::Array(_) => Err("holds a list in a list"),
        Value::Object(_) => Err("is an object"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(args: &str) -> Result<Vec<(String, String)>, (Code, String)> {
        // Parses from text, because the client's number format matters.
        pairs(serde_json::from_str(args).unwrap())
            .map_err(|refusal| (refusal.code, refusal.message))
    }

    #[test]
    fn values_become_texts_and_lists_are_flattened() {
        for (args, expect) in [
            ("{}", &[][..]),
            (
                r#"{"unit": "nginx", "lines": 50, "boot": -1}"#,
                &[("boot", "-1"), ("lines", "50"), ("unit", "nginx")],
            ),
            (
                r#"{"quiet": true, "not": false, "empty": ""}"#,
                &[("empty", ""), ("not", "false"), ("quiet", "true")],
            ),
            (
                r#"{"n": [18446744073709551615, -9223372036854775808, 0]}"#,
                &[
                    ("n", "18446744073709551615"),
                    ("n", "-9223372036854775808"),
                    ("n", "0"),
                ],
            ),
            (
                r#"{"a": ["z", "a", "z", true, 1], "b": []}"#,
                &[
                    ("a", "z"),
                    ("a", "a"),
                    ("a", "z"),
                    ("a", "true"),
                    ("a", "1"),
                ],
            ),
        ] {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            assert_eq!(read(args), Ok(expect.iter().map(owned).collect()), "{args}");
        }
    }

    #[test]
    fn anything_else_is_refused_without_its_value() {
        for (value, why) in [
            ("null", "is null"),
            ("1.5", "no whole number"),
            ("1.0", "no whole number"),
            ("1e3", "no whole number"),
            ("-0", "no whole number"),
            ("18446744073709551616", "no whole number"),
            (r#"{"secret": 1}"#, "is an object"),
            (r#"[["secret"]]"#, "a list in a list"),
            (r#"["secret", null]"#, "is null"),
            (r#"["secret", {}]"#, "is an object"),
        ] {
            let (code, message) = read(&format!(r#"{{"key": {value}}}"#)).unwrap_err();
            assert_eq!(code, Code::InvalidArgs);
            assert!(message.starts_with("'key' in 'args' "), "{message}");
            assert!(message.contains(why), "{value}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn long_name_is_copied_once() {
        let args = |length: usize| json!({ "x".repeat(length): [1, 2] }).to_string();
        assert_eq!(read(&args(caps::NAME)).unwrap().len(), 2);
        let (code, _) = read(&args(caps::NAME + 1)).unwrap_err();
        assert_eq!(code, Code::TooLarge);
    }
}
