//! Arguments of `run` and `change`, the tools that start a job.

use std::collections::BTreeMap;

use remit_common::refusal::Refusal;
use remit_common::wire::{Bytes, Purpose, Request, Run, What};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DaemonCall, invalid, named, wait};

/// Arguments of `run`.
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
    let args = named::pairs(args.unwrap_or_default())?;
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
}
