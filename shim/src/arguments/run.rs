//! Arguments of `run` and `change`, the tools that start a job, and of named commands, as texts for the daemon.

use std::collections::BTreeMap;

use remit_common::id_prefix::IdPrefix;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};
use remit_mcp::unique::UniqueMap;
use remit_wire::edits::{COMMIT, THEN, UNDO};
use remit_wire::whole::whole;
use remit_wire::{Bytes, Purpose, Request, Run, What};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DaemonCall, PlanStep, filled, id_in, invalid, runtime, wait};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunArgs {
    /// Program and arguments, without a shell. Or script, or name.
    #[serde(default, deserialize_with = "filled")]
    argv: Option<Vec<String>>,
    /// Script text, up to 1 MiB.
    #[serde(default, deserialize_with = "filled")]
    script: Option<String>,
    /// Reads the script. Default sh.
    #[serde(default, deserialize_with = "filled")]
    interpreter: Option<String>,
    /// A named command that looks: service.status, logs.
    #[serde(default, deserialize_with = "filled")]
    name: Option<String>,
    /// {"unit": "nginx"}; a list repeats one.
    #[schemars(with = "Option<Map<String, Value>>")]
    #[serde(default, deserialize_with = "filled")]
    args: Option<UniqueMap<Value>>,
    /// Sandbox. Default read; access lists yours.
    #[serde(default, deserialize_with = "filled")]
    profile: Option<String>,
    /// Directory. Default /.
    #[serde(default, deserialize_with = "filled")]
    cwd: Option<String>,
    /// Variables to add.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    env: Option<UniqueMap<String>>,
    /// Standard input, up to 1 MiB.
    stdin: Option<String>,
    /// Milliseconds. Default 20000.
    #[schemars(range(min = 0, max = 50000))]
    #[serde(default, deserialize_with = "whole")]
    wait_ms: Option<u32>,
    /// Seconds. Default 300.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default, deserialize_with = "whole")]
    max_runtime_s: Option<u32>,
    /// For retries: same id and content, same job.
    #[schemars(length(max = 128))]
    request_id: Option<String>,
}

/// Arguments of `change`. The bounds of `run` apply too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeArgs {
    /// A named command that changes; access lists yours.
    #[serde(default, deserialize_with = "filled")]
    name: Option<String>,
    /// Make this plan's changes.
    #[serde(default, deserialize_with = "filled")]
    plan_id: Option<String>,
    /// A commit's undo id.
    #[serde(default, deserialize_with = "filled")]
    undo: Option<String>,
    /// Commands after it: service.reload unit=a.service
    #[serde(default, deserialize_with = "filled")]
    then: Option<Vec<String>>,
    /// As run.
    #[schemars(with = "Option<Map<String, Value>>")]
    #[serde(default, deserialize_with = "filled")]
    args: Option<UniqueMap<Value>>,
    /// As root, once a person approves.
    #[serde(default, deserialize_with = "filled")]
    argv: Option<Vec<String>>,
    /// As argv.
    #[serde(default, deserialize_with = "filled")]
    script: Option<String>,
    /// As run.
    #[serde(default, deserialize_with = "filled")]
    interpreter: Option<String>,
    /// Default host.
    #[serde(default, deserialize_with = "filled")]
    profile: Option<String>,
    /// Why, for the record.
    #[schemars(length(max = 1024))]
    reason: String,
    /// As run.
    stdin: Option<String>,
    /// As run.
    #[serde(default, deserialize_with = "whole")]
    wait_ms: Option<u32>,
    /// As run.
    #[serde(default, deserialize_with = "whole")]
    max_runtime_s: Option<u32>,
    /// As run. Without one, it changes again.
    request_id: Option<String>,
}

pub(super) fn of_name(name: &str, args: Vec<(String, String)>, purpose: Purpose) -> Run {
    let name = name.to_owned();
    Run::new(What::Named { name, args }, purpose)
}

pub fn run(args: RunArgs) -> Result<DaemonCall, Refusal> {
    let what = Runnable {
        argv: args.argv,
        script: args.script,
        interpreter: args.interpreter,
        name: args.name,
        args: args.args,
    };
    let stdin = stdin(args.stdin, &what);
    let what = what.what()?;
    let mut env = Vec::new();
    for (name, value) in args.env.unwrap_or_default().0 {
        env.push((bytes("env", name)?, bytes("env", value)?));
    }
    Ok(Request::Run(Run {
        cwd: optional("cwd", args.cwd)?,
        env,
        stdin,
        profile: args.profile,
        wait_ms: wait(args.wait_ms)?,
        max_runtime_s: runtime(args.max_runtime_s)?,
        request_id: request_id(args.request_id)?,
        ..Run::new(what, Purpose::Use)
    })
    .into())
}

pub fn change(mut args: ChangeArgs) -> Result<DaemonCall, Refusal> {
    let (plan, undo) = (args.plan_id.take(), args.undo.take());
    if plan.is_some() || undo.is_some() {
        return of_plan(args, plan, undo);
    }
    if args.then.is_some() {
        return Err(invalid("'then' belongs to 'plan_id' or 'undo'"));
    }
    if args.name.is_some() && args.profile.is_some() {
        return Err(invalid("'profile' belongs to 'argv' or 'script'")
            .next("leave it out: a named command has its own"));
    }
    if args.name.is_none() && args.argv.is_none() && args.script.is_none() {
        let text = "one of 'name', 'plan_id', 'undo', 'argv' and 'script' is needed";
        let next = "give the name of a command that access lists, or the plan_id of a plan; argv or script only if access \
                    lists change";
        return Err(invalid(text).next(next));
    }
    let what = Runnable {
        argv: args.argv,
        script: args.script,
        interpreter: args.interpreter,
        name: args.name,
        args: args.args,
    };
    let stdin = stdin(args.stdin, &what);
    let (what, reason) = (what.what()?, args.reason);
    Ok(Request::Run(Run {
        stdin,
        profile: args.profile,
        wait_ms: wait(args.wait_ms)?,
        max_runtime_s: runtime(args.max_runtime_s)?,
        request_id: request_id(args.request_id)?,
        ..Run::new(what, Purpose::Change { reason })
    })
    .into())
}

fn of_plan(
    args: ChangeArgs,
    plan: Option<String>,
    undo: Option<String>,
) -> Result<DaemonCall, Refusal> {
    let ChangeArgs {
        name,
        plan_id: _,
        undo: _,
        then,
        args: pairs,
        argv,
        script,
        interpreter,
        profile,
        reason,
        stdin,
        wait_ms,
        max_runtime_s,
        request_id: id,
    } = args;
    let stdin = stdin.filter(|stdin| !stdin.is_empty());
    let others = [&name, &script, &interpreter, &profile, &stdin];
    if others.iter().any(|other| other.is_some()) || argv.is_some() || pairs.is_some() {
        return Err(invalid(
            "'plan_id' and 'undo' need nothing else that says what runs",
        ));
    }
    let purpose = Purpose::Change { reason };
    let then = then.unwrap_or_default().into_iter();
    let then = then.map(|call| (THEN.to_owned(), call));
    let (run, step) = match (plan, undo) {
        (Some(plan), None) => {
            let plan = id_in("plan_id", &plan)?;
            (
                of_name(COMMIT, then.collect(), purpose),
                PlanStep::Commit(plan),
            )
        }
        (None, Some(undo)) => {
            let args = [("id".to_owned(), commit_id(&undo)?)];
            let args = args.into_iter().chain(then);
            (of_name(UNDO, args.collect(), purpose), PlanStep::None)
        }
        _ => return Err(invalid("'plan_id' and 'undo' exclude each other")),
    };
    let run = Run {
        wait_ms: wait(wait_ms)?,
        max_runtime_s: runtime(max_runtime_s)?,
        request_id: request_id(id)?,
        ..run
    };
    Ok(DaemonCall {
        plan: step,
        ..Request::Run(run).into()
    })
}

/// Returns the id of a commit in its one form.
fn commit_id(text: &str) -> Result<String, Refusal> {
    let prefix: Option<IdPrefix> = text.parse().ok();
    let whole = prefix.and_then(|prefix| prefix.whole());
    whole.map(|id| id.to_string()).ok_or_else(|| {
        invalid("argument 'undo': the id of a commit is 32 hexadecimal digits")
            .object(text::line(text.as_bytes(), QUOTED))
            .next("it is undo in the commit's answer, and in that of job with the commit's job_id")
    })
}

/// Arguments that say what runs.
pub(super) struct Runnable {
    pub(super) argv: Option<Vec<String>>,
    pub(super) script: Option<String>,
    pub(super) interpreter: Option<String>,
    pub(super) name: Option<String>,
    pub(super) args: Option<UniqueMap<Value>>,
}

impl Runnable {
    pub(super) fn what(self) -> Result<What, Refusal> {
        if self.interpreter.is_some() && self.script.is_none() {
            return Err(invalid("'interpreter' belongs to 'script'"));
        }
        if self.args.is_some() && self.name.is_none() {
            return Err(invalid("'args' belongs to 'name'")
                .next("a program's arguments stand in argv, after its name"));
        }
        match (self.argv, self.script, self.name) {
            (Some(argv), None, None) => Ok(What::Argv(argv_bytes(argv)?)),
            (None, Some(script), None) => Ok(What::Script {
                text: text_bytes(script),
                interpreter: optional("interpreter", self.interpreter)?,
            }),
            (None, None, Some(name)) => command(name, self.args),
            (None, None, None) => Err(invalid("one of 'argv', 'script' and 'name' is needed")
                .next(
                    "give argv as a list, such as [\"df\", \"-h\"], or a shell script as script",
                )),
            _ => {
                Err(invalid("'argv', 'script' and 'name' exclude each other")
                    .next("give one of them"))
            }
        }
    }
}

fn command(name: String, args: Option<UniqueMap<Value>>) -> Result<What, Refusal> {
    let args = pairs(args.unwrap_or_default())?;
    Ok(What::Named { name, args })
}

pub(super) fn request_id(id: Option<String>) -> Result<Option<String>, Refusal> {
    match id {
        // It could be an id that was lost: without one the same call starts another job.
        Some(id) if id.is_empty() => {
            Err(invalid("'request_id' is empty").next("give an id, or leave it out"))
        }
        Some(id) if id.contains('\0') => Err(has_nul("request_id")),
        id => Ok(id),
    }
}

pub fn argv_bytes(argv: Vec<String>) -> Result<Vec<Bytes>, Refusal> {
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

/// Returns the standard input. A named command that takes none refuses also an empty one.
fn stdin(text: Option<String>, what: &Runnable) -> Option<Bytes> {
    let is_meant = |text: &String| what.name.is_none() || !text.is_empty();
    text.filter(is_meant).map(text_bytes)
}

fn text_bytes(text: String) -> Bytes {
    Bytes::from(text.into_bytes())
}

const QUOTED: usize = 64;

/// Returns name and value pairs, one per list element. Names are bounded, because each element copies it.
fn pairs(args: UniqueMap<Value>) -> Result<Vec<(String, String)>, Refusal> {
    let mut pairs = Vec::new();
    for (name, value) in args.0 {
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
            set: None,
            behalf: None,
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
            set: None,
            behalf: None,
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
    fn one_off_change_is_copied_whole() {
        let run = asked(
            Tool::Change,
            json!({"argv": ["dpkg", "--configure", "-a"], "reason": "half installed", "profile": "host"}),
        );
        let argv = ["dpkg", "--configure", "-a"].map(|arg| Bytes::from(arg.as_bytes().to_vec()));
        let reason = "half installed".to_owned();
        assert_eq!(run.what, What::Argv(argv.to_vec()));
        assert_eq!(run.purpose, Purpose::Change { reason });
        assert_eq!(run.profile.as_deref(), Some("host"));
        let script = json!({"script": "true\n", "interpreter": "bash", "reason": "x"});
        let expect = What::Script {
            text: text_bytes("true\n".to_owned()),
            interpreter: Some(Bytes::from(b"bash".to_vec())),
        };
        assert_eq!(asked(Tool::Change, script).what, expect);
        for (wrong, why) in [
            (json!({"reason": "x"}), "is needed"),
            (
                json!({"reason": "x", "argv": ["a"], "name": "a.b"}),
                "exclude each other",
            ),
            (
                json!({"reason": "x", "argv": ["a"], "interpreter": "sh"}),
                "belongs to 'script'",
            ),
            (json!({"argv": ["a"]}), "reason"),
        ] {
            let error = try_call(Tool::Change, wrong).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
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
