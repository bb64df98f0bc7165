//! Converts the arguments of each tool to requests. Only arguments without a meaning on the wire are refused, such as
//! a script with an argv. The daemon decides the rest.

mod history;
mod job;
mod json_words;
mod plan;
mod run;

use remit_common::caps;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_mcp::unique::{self, NotUnique};
use remit_wire::edits::{CallText, EditText};
use remit_wire::host::Section;
use remit_wire::{Access, Request};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

pub use self::history::HistoryArgs;
pub use self::job::JobArgs;
use self::json_words::wrong_words;
pub use self::plan::{PlanArgs, check, extract, rest};
pub use self::run::{ChangeArgs, RunArgs};
use crate::direct;
use crate::tools::Tool;

/// Bytes quoted of a wrong argument.
const QUOTED: usize = 200;

/// What a tool asks of the daemon, and how its answer is shown.
#[derive(Debug, PartialEq)]
pub struct DaemonCall {
    pub request: Request,
    pub base64: bool,
    /// A job with its sandbox, limits, times and totals.
    pub detail: bool,
    /// The caller names its request, so it can have sent it before.
    pub has_own_id: bool,
    /// Jobs that a list shows.
    pub listed: usize,
    pub plan: PlanStep,
    /// What a plan is made of: its input, which needs numbers of accounts, is made at the call.
    pub edits: Vec<EditText>,
    /// Run on a plan that was made.
    pub checks: Vec<CallText>,
}

/// What a call has to do with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanStep {
    None,
    /// The output of the job is a plan.
    Make,
    /// The job changes its copy of the machine. Another one makes a plan of that.
    Try,
    /// The plan that this job has written is the standard input of the request.
    Commit(JobId),
}

impl From<Request> for DaemonCall {
    fn from(request: Request) -> Self {
        Self {
            has_own_id: matches!(&request, Request::Run(run) if run.request_id.is_some()),
            request,
            base64: false,
            detail: false,
            listed: 0,
            plan: PlanStep::None,
            edits: Vec::new(),
            checks: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessArgs {
    /// Would running this be allowed?
    #[serde(default, deserialize_with = "filled")]
    argv: Option<Vec<String>>,
    /// In this sandbox. Default read.
    #[serde(default, deserialize_with = "filled")]
    profile: Option<String>,
    /// Explain this named command.
    #[serde(default, deserialize_with = "filled")]
    name: Option<String>,
    /// Words: the commands that fit best.
    #[serde(default, deserialize_with = "filled")]
    query: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostArgs {
    /// Which facts.
    sections: Option<Vec<Section>>,
    /// What changed since -1h, boot, job_id.
    #[serde(default, deserialize_with = "filled")]
    since: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopArgs {
    /// Which job.
    job_id: String,
    /// First signal. Default TERM; KILL follows.
    #[schemars(with = "Option<String>")]
    signal: Option<Signal>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Signal {
    Number(i32),
    Name(String),
}

/// What `tool` asks for with these arguments. Errors: [`Code::InvalidArgs`], naming the argument.
pub fn call(tool: Tool, arguments: Map<String, Value>) -> Result<DaemonCall, Refusal> {
    RawArguments::Values(arguments).call(tool)
}

/// What `tool` asks for with the arguments in this JSON text. None where that is not an object.
pub fn read(tool: Tool, arguments: &str) -> Option<Result<DaemonCall, Refusal>> {
    let refusal = match RawArguments::Text(arguments).call(tool) {
        Ok(call) => return Some(Ok(call)),
        Err(refusal) => refusal,
    };
    // The values only word the error: they never become a call that the text was not.
    let refusal = match unique::parse(arguments.as_bytes()) {
        Ok(Value::Object(arguments)) => call(tool, arguments).err().unwrap_or(refusal),
        Err(NotUnique::Twice(name)) => {
            let name = text::line(name.as_bytes(), QUOTED);
            invalid(&format!("an argument is given twice: {name}"))
                .object(name)
                .next("give it once, or a list if it takes several values")
        }
        Ok(_) | Err(NotUnique::Json(_)) => return None,
    };
    Some(Err(refusal))
}

enum RawArguments<'a> {
    Text(&'a str),
    Values(Map<String, Value>),
}

impl RawArguments<'_> {
    fn call(self, tool: Tool) -> Result<DaemonCall, Refusal> {
        match tool {
            Tool::Access => access(self.parse()?),
            Tool::Host => host(self.parse()?),
            Tool::Run => run::run(self.parse()?),
            Tool::Change => run::change(self.parse()?),
            Tool::Plan => plan::plan(self.parse()?),
            Tool::Job => job::call(self.parse()?),
            Tool::JobStop => stop(self.parse()?),
            Tool::History => history::call(&self.parse()?),
        }
    }

    fn parse<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        match self {
            Self::Text(text) => direct::object(text).ok_or_else(|| invalid("not an object")),
            Self::Values(arguments) => parse(arguments),
        }
    }
}

/// Reads an argument that has no meaning while it is empty: some models fill in each property of a schema.
fn filled<'de, D, T>(json: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de> + PartialEq,
{
    let value: Option<T> = Deserialize::deserialize(json)?;
    Ok(value.filter(|value| *value != T::default()))
}

fn host(args: HostArgs) -> Result<DaemonCall, Refusal> {
    let sections = args.sections.unwrap_or_default();
    match args.since {
        None => Ok(Request::Host { sections }.into()),
        // Some clients send default values. They mean the same as absent ones.
        Some(since) if sections.is_empty() => {
            Ok(Request::HostChanges(history::since(&since)?).into())
        }
        Some(_) => Err(invalid("give 'sections' or 'since', not both")),
    }
}

fn access(args: AccessArgs) -> Result<DaemonCall, Refusal> {
    let is_present = [
        args.argv.is_some(),
        args.name.is_some(),
        args.query.is_some(),
    ];
    if is_present
        .into_iter()
        .filter(|is_present| *is_present)
        .count()
        > 1
    {
        return Err(invalid("'argv', 'name' and 'query' exclude each other"));
    }
    Ok(Request::Access(Access {
        argv: args.argv.map(run::argv_bytes).transpose()?,
        profile: args.profile,
        name: args.name,
        query: args.query,
    })
    .into())
}

fn stop(args: StopArgs) -> Result<DaemonCall, Refusal> {
    let job = job_id(&args.job_id)?;
    let signal = args.signal.map(number).transpose()?;
    Ok(Request::Stop { job, signal }.into())
}

fn job_id(text: &str) -> Result<JobId, Refusal> {
    id_in("job_id", text)
}

fn id_in(name: &str, text: &str) -> Result<JobId, Refusal> {
    let prefix: Option<IdPrefix> = text.parse().ok();
    prefix.and_then(|prefix| prefix.whole()).ok_or_else(|| {
        let (what, next) = match name {
            "plan_id" => (
                "a plan_id",
                "the answer of plan has it; plan again if it is lost",
            ),
            _ => ("a job id", "call job without arguments to list your jobs"),
        };
        invalid(&format!(
            "argument '{name}': {what} is 32 hexadecimal digits, with or without hyphens"
        ))
        .object(text::line(text.as_bytes(), QUOTED))
        .next(next)
    })
}

/// Returns the time as it is, within the bound of all servers. The one of a server may be lower; it says so itself.
fn runtime(seconds: Option<u32>) -> Result<Option<u32>, Refusal> {
    match seconds {
        Some(seconds) if seconds > caps::RUNTIME_S => Err(invalid(&format!(
            "argument 'max_runtime_s': at most {}, or less where a limit of the server is lower",
            caps::RUNTIME_S
        ))
        .next("ask for less time, or leave it out")),
        other => Ok(other),
    }
}

fn wait(wait_ms: Option<u32>) -> Result<Option<u32>, Refusal> {
    match wait_ms {
        Some(wait) if wait > caps::WAIT_MS => Err(invalid(&format!(
            "argument 'wait_ms': at most {}",
            caps::WAIT_MS
        ))
        .next("wait less; the job keeps running, and job waits for it again")),
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

fn invalid(message: &str) -> Refusal {
    Refusal::new(Code::InvalidArgs, message)
}

/// The typed arguments. The names of arguments are in every error.
fn parse<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, Refusal> {
    // serde does not name the field with the wrong type, so each field is tried separately.
    let wrong = |name: &str, value: &Value| {
        let alone = Map::from_iter([(name.to_owned(), value.clone())]);
        let error = serde_json::from_value::<T>(Value::Object(alone)).err()?;
        let error = error.to_string();
        (!error.starts_with("missing field"))
            .then(|| format!("argument {}", wrong_words(name, value, &error)))
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

    pub(super) fn try_call(tool: Tool, arguments: Value) -> Result<DaemonCall, String> {
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
                json!({"argv": ["a"], "args": {"n": 1}}),
                "'args' belongs to 'name'",
            ),
            (
                Tool::Run,
                json!({"name": "logs", "args": ["unit"]}),
                "argument 'args': expected an object",
            ),
            (
                Tool::Run,
                json!({"name": "logs", "args": {"unit": null}}),
                "'unit' in 'args' is null",
            ),
            (
                Tool::Change,
                json!({"name": "a.b"}),
                "missing field `reason`",
            ),
            (
                Tool::Change,
                json!({"reason": "why"}),
                "one of 'name', 'plan_id', 'undo', 'argv' and 'script' is needed",
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": ["why"]}),
                "argument 'reason'",
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "args": {"n": 1.5}}),
                "'n' in 'args' is no whole number",
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "argv": ["reboot"]}),
                "exclude each other",
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "wait_ms": 50001}),
                "argument 'wait_ms': at most 50000",
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "request_id": ""}),
                "'request_id' is empty",
            ),
            (
                Tool::Access,
                json!({"name": "logs", "query": "log"}),
                "exclude each other",
            ),
            (Tool::Access, json!({"query": 1}), "argument 'query'"),
            (
                Tool::Access,
                json!({"name": "logs", "argv": ["a"]}),
                "exclude each other",
            ),
            (
                Tool::Run,
                json!({"argv": [], "script": "", "name": ""}),
                "one of 'argv', 'script' and 'name' is needed",
            ),
            (
                Tool::Change,
                json!({"plan_id": "", "reason": "why"}),
                "one of 'name', 'plan_id', 'undo', 'argv' and 'script' is needed",
            ),
            (
                Tool::Run,
                json!({"argv": "df -h"}),
                "argument 'argv': expected a list of strings",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "wait_ms": "5"}),
                "argument 'wait_ms'",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "wait_ms": -1}),
                "argument 'wait_ms': expected a whole number that is not negative, not the number -1",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "wait_ms": 0.5}),
                "argument 'wait_ms': expected a whole number that is not negative, not the number 0.5",
            ),
            (
                Tool::Job,
                json!({"job_id": id, "offset": 1e30}),
                "argument 'offset': expected a whole number up to 18446744073709551615",
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
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "profile": "host"}),
                "'profile' belongs to",
            ),
            (Tool::Job, json!({"job_id": "x"}), "argument 'job_id'"),
            (
                Tool::Change,
                json!({"plan_id": "x", "reason": "why"}),
                "argument 'plan_id': a plan_id is 32",
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "max_runtime_s": 86401}),
                "argument 'max_runtime_s': at most 86400, or less",
            ),
            (
                Tool::Plan,
                json!({"script": "a", "edits": [{"path": "/a", "mkdir": true}]}),
                "'edits' and 'script' exclude each other",
            ),
            (
                Tool::Plan,
                json!({"argv": ["a"], "script": "b", "job_id": id}),
                "'argv', 'script' and 'job_id' exclude each other",
            ),
            (
                Tool::Plan,
                json!({"argv": ["a"], "private": true}),
                "'private' belongs to 'edits'",
            ),
            (Tool::Plan, json!({}), "one of 'edits', 'argv'"),
            (
                Tool::Change,
                json!({"undo": "abab-1234", "reason": "why"}),
                "argument 'undo': the id of a commit is 32",
            ),
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
                "argument 'sections': unknown value `nope`",
            ),
            (Tool::Access, json!({"nam": "x"}), "unknown field `nam`"),
        ];
        for (tool, arguments, expect) in cases {
            let error = try_call(tool, arguments.clone()).unwrap_err();
            assert!(error.contains(expect), "{arguments}: {error}");
        }
    }

    #[test]
    fn default_values_and_whole_numbers_mean_the_same() {
        let id = "1".repeat(32);
        for (tool, arguments, same) in [
            (
                Tool::Host,
                json!({"sections": [], "since": "boot"}),
                json!({"since": "boot"}),
            ),
            (
                Tool::Access,
                json!({"argv": [], "name": "", "query": "disk", "profile": ""}),
                json!({"query": "disk"}),
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "script": "", "interpreter": "", "name": "", "args": {}, "profile": "", "cwd": "", "env": {}}),
                json!({"argv": ["a"]}),
            ),
            (
                Tool::Run,
                json!({"argv": [], "script": "a", "stdin": ""}),
                json!({"script": "a", "stdin": ""}),
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "plan_id": "", "undo": "", "then": [], "argv": [], "script": "",
                       "interpreter": "", "profile": ""}),
                json!({"name": "a.b", "reason": "why"}),
            ),
            (
                Tool::Change,
                json!({"plan_id": id, "reason": "why", "name": "", "args": {}, "argv": [], "script": "", "interpreter": "",
                       "profile": "", "stdin": "", "undo": "", "then": []}),
                json!({"plan_id": id, "reason": "why"}),
            ),
            (
                Tool::Plan,
                json!({"edits": [], "argv": ["a"], "script": "", "job_id": "", "private": false, "check": []}),
                json!({"argv": ["a"]}),
            ),
            (
                Tool::Job,
                json!({"job_id": "", "grep": "", "context": 0, "limit": 3}),
                json!({"limit": 3}),
            ),
            (
                Tool::Job,
                json!({"job_id": id, "grep": "", "context": 0, "stream": "stderr"}),
                json!({"job_id": id, "stream": "stderr"}),
            ),
            (
                Tool::Host,
                json!({"sections": ["disks"], "since": ""}),
                json!({"sections": ["disks"]}),
            ),
            (
                Tool::History,
                json!({"since": "", "limit": 3}),
                json!({"limit": 3}),
            ),
            (
                Tool::Run,
                json!({"name": "logs", "stdin": ""}),
                json!({"name": "logs"}),
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "stdin": ""}),
                json!({"name": "a.b", "reason": "why"}),
            ),
            (
                Tool::Run,
                json!({"argv": ["a"], "wait_ms": 20_000.0, "max_runtime_s": 3e2}),
                json!({"argv": ["a"], "wait_ms": 20_000, "max_runtime_s": 300}),
            ),
            (
                Tool::Change,
                json!({"name": "a.b", "reason": "why", "wait_ms": -0.0, "max_runtime_s": null}),
                json!({"name": "a.b", "reason": "why", "wait_ms": 0}),
            ),
            (
                Tool::Job,
                json!({"job_id": id, "grep": "a", "offset": 7.0, "limit": 3.0, "context": 1.0, "wait_ms": 5.0}),
                json!({"job_id": id, "grep": "a", "offset": 7, "limit": 3, "context": 1, "wait_ms": 5}),
            ),
            (
                Tool::History,
                json!({"limit": 3.0, "before": 9.0}),
                json!({"limit": 3, "before": 9}),
            ),
            (
                Tool::Plan,
                json!({"edits": [{"path": "/a", "replace": [{"old": "a", "new": "b", "count": 2.0}]}]}),
                json!({"edits": [{"path": "/a", "replace": [{"old": "a", "new": "b", "count": 2}]}]}),
            ),
        ] {
            let expect = try_call(tool, same).unwrap();
            let text = arguments.to_string();
            assert_eq!(try_call(tool, arguments).unwrap(), expect, "{text}");
            assert_eq!(read(tool, &text).unwrap().unwrap(), expect, "{text}");
        }
    }

    #[test]
    fn ids_may_have_hyphens() {
        let plain = "ab".repeat(16);
        let typed = ["ABAB"; 8].join("-");
        for (tool, name) in [
            (Tool::Job, "job_id"),
            (Tool::JobStop, "job_id"),
            (Tool::Plan, "job_id"),
            (Tool::Change, "plan_id"),
            (Tool::Change, "undo"),
        ] {
            let call = |id: &str| {
                let mut arguments = json!({ name: id });
                if tool == Tool::Change {
                    arguments["reason"] = json!("why");
                }
                try_call(tool, arguments).unwrap()
            };
            assert_eq!(call(&typed), call(&plain), "{name}");
        }
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
            let Ok(DaemonCall {
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
