//! Arguments of `run` and `change`, the tools that start a job, and of named commands, as texts for the daemon.

use std::collections::BTreeMap;

use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};
use remit_wire::{Bytes, Purpose, Request, Run, What};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DaemonCall, invalid, wait};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunArgs {
    /// Program and arguments, one string each; no shell reads them. Or script, or name.
    argv: Option<Vec<String>>,
    /// Script text, up to 1 MiB, given to the interpreter as a file: needs no quoting.
    script: Option<String>,
    /// Program that reads the script. Default sh.
    interpreter: Option<String>,
    /// A named command that looks, such as service.status or logs.
    name: Option<String>,
    /// Its arguments, as {"unit": "nginx"}; a list gives one several times. access explains them.
    args: Option<Map<String, Value>>,
    /// Sandbox of argv or script. Default read; access lists yours.
    profile: Option<String>,
    /// Working directory. Default /.
    cwd: Option<String>,
    /// Environment variables to add; policy says which.
    env: Option<BTreeMap<String, String>>,
    /// Standard input, up to 1 MiB. Default none.
    stdin: Option<String>,
    /// Milliseconds to wait for the end. Default 20000.
    #[schemars(range(min = 0, max = 50000))]
    wait_ms: Option<u32>,
    /// Seconds until it is ended. Default 300.
    #[schemars(range(min = 1, max = 86400))]
    max_runtime_s: Option<u32>,
    /// For safe retries: the same id with the same content is the same job.
    #[schemars(length(max = 128))]
    request_id: Option<String>,
}

/// Arguments of `change`. The bounds of `run` apply too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeArgs {
    /// A named command that changes the host; access lists yours.
    name: String,
    /// As of run.
    args: Option<Map<String, Value>>,
    /// Why, for the record.
    #[schemars(length(max = 1024))]
    reason: String,
    /// As of run.
    stdin: Option<String>,
    /// As of run.
    wait_ms: Option<u32>,
    /// As of run.
    max_runtime_s: Option<u32>,
    /// As of run. Without one, calling again changes again.
    request_id: Option<String>,
}

/// What the arguments of `run` ask for.
pub fn run(args: RunArgs) -> Result<DaemonCall, Refusal> {
    if args.interpreter.is_some() && args.script.is_none() {
        return Err(invalid("'interpreter' belongs to 'script'"));
    }
    if args.args.is_some() && args.name.is_none() {
        return Err(invalid("'args' belongs to 'name'")
            .next("a program's arguments stand in argv, after its name"));
    }
    let what =
        match (args.argv, args.script, args.name) {
            (Some(argv), None, None) => What::Argv(argv_bytes(argv)?),
            (None, Some(script), None) => What::Script {
                text: text_bytes(script),
                interpreter: optional("interpreter", args.interpreter)?,
            },
            (None, None, Some(name)) => command(name, args.args)?,
            (None, None, None) => {
                return Err(invalid("one of 'argv', 'script' and 'name' is needed").next(
                "give argv as a list, such as [\"df\", \"-h\"], or a shell script as script",
            ));
            }
            _ => return Err(invalid("'argv', 'script' and 'name' exclude each other")),
        };
    let mut env = Vec::new();
    for (name, value) in args.env.unwrap_or_default() {
        env.push((bytes("env", name)?, bytes("env", value)?));
    }
    Ok(Request::Run(Run {
        traceparent: None,
        what,
        cwd: optional("cwd", args.cwd)?,
        env,
        stdin: args.stdin.map(text_bytes),
        profile: args.profile,
        wait_ms: wait(args.wait_ms)?,
        max_runtime_s: args.max_runtime_s,
        request_id: request_id(args.request_id)?,
        purpose: Purpose::Use,
    })
    .into())
}

/// What the arguments of `change` ask for.
pub fn change(args: ChangeArgs) -> Result<DaemonCall, Refusal> {
    Ok(Request::Run(Run {
        traceparent: None,
        what: command(args.name, args.args)?,
        cwd: None,
        env: Vec::new(),
        stdin: args.stdin.map(text_bytes),
        profile: None,
        wait_ms: wait(args.wait_ms)?,
        max_runtime_s: args.max_runtime_s,
        request_id: request_id(args.request_id)?,
        purpose: Purpose::Change {
            reason: args.reason,
        },
    })
    .into())
}

fn command(name: String, args: Option<Map<String, Value>>) -> Result<What, Refusal> {
    let args = pairs(args.unwrap_or_default())?;
    Ok(What::Named { name, args })
}

fn request_id(id: Option<String>) -> Result<Option<String>, Refusal> {
    match id {
        Some(id) if id.is_empty() => Err(invalid("'request_id' is empty")),
        Some(id) if id.contains('\0') => Err(has_nul("request_id")),
        id => Ok(id),
    }
}

/// An argv, which has a program at least.
pub fn argv_bytes(argv: Vec<String>) -> Result<Vec<Bytes>, Refusal> {
    if argv.is_empty() {
        return Err(invalid("'argv' is empty"));
    }
    argv.into_iter().map(|arg| bytes("argv", arg)).collect()
}

fn optional(name: &str, value: Option<String>) -> Result<Option<Bytes>, Refusal> {
    value.map(|value| bytes(name, value)).transpose()
}

/// What ends up in execve(2), which ends every string at a NUL.
fn bytes(name: &str, value: String) -> Result<Bytes, Refusal> {
    if value.contains('\0') {
        return Err(has_nul(name));
    }
    Ok(Bytes::from(value.into_bytes()))
}

fn has_nul(name: &str) -> Refusal {
    invalid(&format!("argument '{name}': it holds a NUL byte"))
}

fn text_bytes(text: String) -> Bytes {
    Bytes::from(text.into_bytes())
}

const QUOTED: usize = 64;

/// Returns name and value pairs. A list gives one pair per element.
///
/// The length of a name is bounded, because the name is copied for each list element.
fn pairs(args: Map<String, Value>) -> Result<Vec<(String, String)>, Refusal> {
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
    use crate::arguments::tests::try_call;
    use crate::tools::Tool;

    fn asked(tool: Tool, arguments: Value) -> Run {
        match try_call(tool, arguments).unwrap().request {
            Request::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_is_copied_whole() {
        let run = asked(
            Tool::Run,
            json!({"script": "echo \u{fc}\0", "interpreter": "bash", "cwd": "/tmp", "env": {"A": "b"},
                   "profile": "wide", "stdin": "in\0", "wait_ms": 1, "max_runtime_s": 2, "request_id": "r"}),
        );
        let expect = Run {
            traceparent: None,
            what: What::Script {
                text: text_bytes("echo \u{fc}\0".to_owned()),
                interpreter: Some(Bytes::from(b"bash".to_vec())),
            },
            cwd: Some(Bytes::from(b"/tmp".to_vec())),
            env: vec![(Bytes::from(b"A".to_vec()), Bytes::from(b"b".to_vec()))],
            stdin: Some(Bytes::from(b"in\0".to_vec())),
            profile: Some("wide".to_owned()),
            wait_ms: Some(1),
            max_runtime_s: Some(2),
            request_id: Some("r".to_owned()),
            purpose: Purpose::Use,
        };
        assert_eq!(run, expect);
    }

    #[test]
    fn a_change_is_copied_whole() {
        let run = asked(
            Tool::Change,
            json!({"name": "nginx.reload", "args": {"b": [2, 1], "a": "x"}, "reason": "new site",
                   "stdin": "in", "wait_ms": 1, "max_runtime_s": 2, "request_id": "r"}),
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expect = Run {
            traceparent: None,
            what: What::Named {
                name: "nginx.reload".to_owned(),
                args: vec![pair("a", "x"), pair("b", "2"), pair("b", "1")],
            },
            cwd: None,
            env: Vec::new(),
            stdin: Some(Bytes::from(b"in".to_vec())),
            profile: None,
            wait_ms: Some(1),
            max_runtime_s: Some(2),
            request_id: Some("r".to_owned()),
            purpose: Purpose::Change {
                reason: "new site".to_owned(),
            },
        };
        assert_eq!(run, expect);
    }

    #[test]
    fn only_tool_decides_purpose() {
        let named = json!({"name": "a.b"});
        assert_eq!(asked(Tool::Run, named).purpose, Purpose::Use);
        let change = json!({"name": "a.b", "reason": ""});
        let reason = String::new();
        assert_eq!(
            asked(Tool::Change, change).purpose,
            Purpose::Change { reason }
        );
        let disguised = json!({"name": "a.b", "reason": "why"});
        let error = try_call(Tool::Run, disguised).unwrap_err();
        assert!(error.contains("unknown field `reason`"), "{error}");
    }

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
