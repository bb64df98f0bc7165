//! The arguments of each tool, and the request that each becomes.
//!
//! Copied, not judged: the daemon decides. Refused here is only what has no
//! meaning on the wire, such as a script and an argv at once. Pure.

mod job;

use std::collections::BTreeMap;
use std::fmt;

use remit_common::caps;
use remit_common::host::Section;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{Access, Bytes, Purpose, Request, Run, What};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use self::job::JobArgs;
use crate::tools::Tool;

/// Bytes quoted of a wrong argument.
const QUOTED: usize = 200;

/// What a tool asks of the daemon, and how its answer is shown.
#[derive(Debug, PartialEq)]
pub struct Call {
    /// The request.
    pub request: Request,
    /// Pages as base64.
    pub base64: bool,
}

impl From<Request> for Call {
    fn from(request: Request) -> Self {
        Self {
            request,
            base64: false,
        }
    }
}

/// Arguments of `access`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessArgs {
    /// Would running this be allowed? One string for each argument.
    argv: Option<Vec<String>>,
    /// Explain this named command.
    name: Option<String>,
}

/// Arguments of `host`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostArgs {
    /// Which facts; a default set when absent.
    sections: Option<Vec<Section>>,
}

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
    /// A command of remit's own: service.status, service.list, service.failed, logs.
    name: Option<String>,
    /// Its arguments, such as {"unit": "nginx"}; access explains them.
    args: Option<BTreeMap<String, Plain>>,
    /// Working directory. Default /.
    cwd: Option<String>,
    /// Environment variables to add; policy says which.
    env: Option<BTreeMap<String, String>>,
    /// Standard input, up to 1 MiB. Default none.
    stdin: Option<String>,
    /// Milliseconds to wait for the end. Default 20000.
    #[schemars(range(min = 0, max = 50000))]
    wait_ms: Option<u32>,
    /// Seconds after which the job is ended. Default 300.
    #[schemars(range(min = 1, max = 86400))]
    max_runtime_s: Option<u32>,
    /// Own id for safe retries: the same id with the same content is the same job.
    #[schemars(length(min = 1, max = 128))]
    request_id: Option<String>,
}

// A value as text, which some write as a number. (What stands here would stand in the schema.)
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(with = "String")]
enum Plain {
    Text(String),
    Number(i64),
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Arguments of `job_stop`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopArgs {
    /// Which job.
    job_id: String,
    /// First signal, a name or number. Default TERM. KILL follows.
    #[schemars(with = "Option<String>")]
    signal: Option<Signal>,
}

/// A signal as a caller may write it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Signal {
    Number(i32),
    Name(String),
}

/// What `tool` asks for with these arguments.
///
/// # Errors
/// [`Code::InvalidArgs`], naming the argument.
pub fn call(tool: Tool, arguments: Map<String, Value>) -> Result<Call, Refusal> {
    match tool {
        Tool::Access => access(parse(arguments)?),
        Tool::Host => {
            let args: HostArgs = parse(arguments)?;
            let sections = args.sections.unwrap_or_default();
            Ok(Request::Host { sections }.into())
        }
        Tool::Run => run(parse(arguments)?),
        Tool::Job => job::call(parse(arguments)?),
        Tool::JobStop => stop(parse(arguments)?),
    }
}

fn access(args: AccessArgs) -> Result<Call, Refusal> {
    let argv = args.argv.map(argv_bytes).transpose()?;
    if argv.is_some() && args.name.is_some() {
        return Err(invalid("'argv' and 'name' exclude each other"));
    }
    Ok(Request::Access(Access {
        argv,
        profile: None,
        name: args.name,
        query: None,
    })
    .into())
}

fn run(args: RunArgs) -> Result<Call, Refusal> {
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
                text: Bytes::from(script.into_bytes()),
                interpreter: optional("interpreter", args.interpreter)?,
            },
            (None, None, Some(name)) => What::Named {
                name,
                args: args
                    .args
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| (name, value.to_string()))
                    .collect(),
            },
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
    let request_id = match args.request_id {
        Some(id) if id.is_empty() => return Err(invalid("'request_id' is empty")),
        Some(id) if id.contains('\0') => return Err(has_nul("request_id")),
        id => id,
    };
    Ok(Request::Run(Run {
        what,
        cwd: optional("cwd", args.cwd)?,
        env,
        stdin: args.stdin.map(|text| Bytes::from(text.into_bytes())),
        profile: None,
        wait_ms: wait(args.wait_ms)?,
        max_runtime_s: args.max_runtime_s,
        request_id,
        purpose: Purpose::Use,
    })
    .into())
}

fn stop(args: StopArgs) -> Result<Call, Refusal> {
    let job = job_id(&args.job_id)?;
    let signal = args.signal.map(number).transpose()?;
    Ok(Request::Stop { job, signal }.into())
}

fn job_id(text: &str) -> Result<JobId, Refusal> {
    text.parse().map_err(|error| {
        invalid(&format!("argument 'job_id': {error}"))
            .object(text::line(text.as_bytes(), QUOTED))
            .next("call job without arguments to list your jobs")
    })
}

fn wait(wait_ms: Option<u32>) -> Result<Option<u32>, Refusal> {
    match wait_ms {
        Some(wait) if wait > caps::WAIT_MS => Err(invalid(&format!(
            "argument 'wait_ms': at most {}",
            caps::WAIT_MS
        ))
        .next("wait less; the job goes on, and job waits for it again")),
        other => Ok(other),
    }
}

/// The number of a signal: signal(7), the same on every machine remit is built for.
fn number(signal: Signal) -> Result<i32, Refusal> {
    const NAMES: [(&str, i32); 13] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("CONT", 18),
        ("STOP", 19),
        ("WINCH", 28),
    ];
    let number = match &signal {
        Signal::Number(number) => Some(*number),
        Signal::Name(name) => {
            let upper = name.to_ascii_uppercase();
            let short = upper.strip_prefix("SIG").unwrap_or(&upper);
            let named = NAMES.iter().find(|(name, _)| *name == short);
            named.map_or_else(|| name.parse().ok(), |(_, number)| Some(*number))
        }
    };
    number
        .filter(|number| (1..=64).contains(number))
        .ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            invalid("argument 'signal': no such signal").next(format!(
                "one of {}, or a number from 1 to 64",
                names.join(" ")
            ))
        })
}

fn argv_bytes(argv: Vec<String>) -> Result<Vec<Bytes>, Refusal> {
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

fn invalid(message: &str) -> Refusal {
    Refusal::new(Code::InvalidArgs, message)
}

/// The typed arguments. The names of arguments are in every error.
fn parse<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, Refusal> {
    // serde does not say which field has a wrong type, so the fields are tried alone.
    let wrong = |name: &str, value: &Value| {
        let alone = Map::from_iter([(name.to_owned(), value.clone())]);
        let error = serde_json::from_value::<T>(Value::Object(alone)).err()?;
        let error = error.to_string();
        (!error.starts_with("missing field")).then(|| format!("argument '{name}': {error}"))
    };
    serde_json::from_value(Value::Object(arguments.clone())).map_err(|error| {
        let message = arguments
            .iter()
            .find_map(|(name, value)| wrong(name, value))
            .unwrap_or_else(|| error.to_string());
        invalid(&text::line(message.as_bytes(), 2 * QUOTED))
            .next("compare the arguments with the tool's inputSchema")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn try_call(tool: Tool, arguments: Value) -> Result<Call, String> {
        let Value::Object(arguments) = arguments else {
            panic!("not an object")
        };
        call(tool, arguments).map_err(|refusal| {
            assert_eq!(refusal.code, Code::InvalidArgs);
            refusal.message
        })
    }

    #[test]
    fn errors_name_the_argument() {
        let id = "0".repeat(32);
        let cases = [
            (Tool::Run, json!({}), "one of 'argv', 'script' and 'name'"),
            (
                Tool::Run,
                json!({"name": "logs", "argv": ["a"]}),
                "exclude each other",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "args": {}}),
                "'args' belongs to 'name'",
            ),
            (
                Tool::Run,
                json!({"name": "logs", "args": {"unit": ["a"]}}),
                "argument 'args'",
            ),
            (
                Tool::Access,
                json!({"name": "logs", "argv": ["a"]}),
                "exclude each other",
            ),
            (Tool::Run, json!({"argv": []}), "'argv' is empty"),
            (
                Tool::Run,
                json!({"argv": "df -h"}),
                "argument 'argv': invalid type: string",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "wait_ms": "5"}),
                "argument 'wait_ms'",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "wait_ms": -1}),
                "argument 'wait_ms'",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "wait_ms": 50001}),
                "argument 'wait_ms': at most 50000",
            ),
            (
                Tool::Run,
                json!({"argv": ["a\0b"]}),
                "argument 'argv': it holds a NUL",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "cwd": "/\0"}),
                "argument 'cwd': it holds a NUL",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "env": {"A": "\0"}}),
                "argument 'env': it holds a NUL",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "request_id": ""}),
                "'request_id' is empty",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "script": "b"}),
                "exclude each other",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "interpreter": "sh"}),
                "'interpreter' belongs to",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "profile": "host"}),
                "unknown field `profile`",
            ),
            (Tool::Job, json!({"job_id": "x"}), "argument 'job_id'"),
            (
                Tool::Job,
                json!({"job_id": id, "stream": "both"}),
                "argument 'stream'",
            ),
            (Tool::JobStop, json!({}), "missing field `job_id`"),
            (
                Tool::JobStop,
                json!({"job_id": id, "signal": "NOPE"}),
                "argument 'signal'",
            ),
            (
                Tool::JobStop,
                json!({"job_id": id, "signal": 65}),
                "argument 'signal'",
            ),
            (
                Tool::JobStop,
                json!({"job_id": id, "signal": []}),
                "argument 'signal'",
            ),
            (
                Tool::Host,
                json!({"sections": ["nope"]}),
                "argument 'sections': unknown variant `nope`",
            ),
            (Tool::Access, json!({"nam": "x"}), "unknown field `nam`"),
        ];
        for (tool, arguments, expect) in cases {
            let error = try_call(tool, arguments.clone()).unwrap_err();
            assert!(error.contains(expect), "{arguments}: {error}");
        }
    }

    #[test]
    fn a_run_is_copied_whole() {
        let call = try_call(
            Tool::Run,
            json!({"script": "echo \u{fc}\0", "interpreter": "bash", "cwd": "/tmp", "env": {"A": "b"},
                   "stdin": "in\0", "wait_ms": 1, "max_runtime_s": 2, "request_id": "r"}),
        );
        let expect = Request::Run(Run {
            what: What::Script {
                text: Bytes::from("echo \u{fc}\0".as_bytes().to_vec()),
                interpreter: Some(Bytes::from(b"bash".to_vec())),
            },
            cwd: Some(Bytes::from(b"/tmp".to_vec())),
            env: vec![(Bytes::from(b"A".to_vec()), Bytes::from(b"b".to_vec()))],
            stdin: Some(Bytes::from(b"in\0".to_vec())),
            profile: None,
            wait_ms: Some(1),
            max_runtime_s: Some(2),
            request_id: Some("r".to_owned()),
            purpose: Purpose::Use,
        });
        assert_eq!(call, Ok(expect.into()));
    }

    #[test]
    fn a_named_command_has_texts_for_arguments() {
        for (args, expect) in [
            (None, vec![]),
            (
                Some(json!({"unit": "nginx", "lines": 50, "boot": -1})),
                vec![("boot", "-1"), ("lines", "50"), ("unit", "nginx")],
            ),
        ] {
            let mut arguments = json!({"name": "logs"});
            if let Some(args) = args {
                arguments["args"] = args;
            }
            let call = try_call(Tool::Run, arguments).unwrap();
            let Request::Run(run) = call.request else {
                panic!("not a run");
            };
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let expect = What::Named {
                name: "logs".to_owned(),
                args: expect.into_iter().map(owned).collect(),
            };
            assert_eq!(run.what, expect);
        }
        let call = try_call(Tool::Access, json!({"name": "logs"})).unwrap();
        assert!(matches!(call.request, Request::Access(access) if access.name.is_some()));
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (signal, expect) in [
            (json!("TERM"), 15),
            (json!("sigkill"), 9),
            (json!("2"), 2),
            (json!(64), 64),
        ] {
            let call = try_call(
                Tool::JobStop,
                json!({"job_id": "1".repeat(32), "signal": signal}),
            );
            let Ok(Call {
                request: Request::Stop { signal, .. },
                ..
            }) = call
            else {
                panic!("{call:?}")
            };
            assert_eq!(signal, Some(expect));
        }
    }
}
