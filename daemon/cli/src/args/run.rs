//! Arguments of `remit run`, `change`, `try`, `jobs`, `job` and `stop`, and of the looks `access` and `host`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, ValueHint};
use nix::sys::signal::Signal;
use remit_common::builtin::Time;
use remit_common::caps;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::SHORT_ID;
use remit_wire::host::Section;
use remit_wire::outcome::Stream;
use remit_words::reason::reason;

pub use super::plan::{Secret, Variable};
use super::plan::{secret, timeout, variable};

#[derive(Debug, Args)]
#[command(override_usage = "\
remit run [OPTIONS] [--] ARGV...
       remit run [OPTIONS] --script TEXT | --script-file FILE
       remit run [OPTIONS] --name COMMAND [KEY=VALUE...]")]
#[command(group(ArgGroup::new("what").required(true).multiple(true)
    .args(["script", "script_file", "name", "argv"])))]
pub struct RunArgs {
    /// Run this text as a script
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          conflicts_with_all = ["script_file", "name", "argv"])]
    pub script: Option<OsString>,

    /// Run the script in this file; '-' is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["name", "argv"])]
    pub script_file: Option<PathBuf>,

    /// Program that runs the script [default: sh]
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["name", "argv"])]
    pub interpreter: Option<OsString>,

    /// Run a named command that only looks, such as service.status; 'remit access' lists them
    #[arg(long, value_name = "COMMAND",
          conflicts_with_all = ["cwd", "env", "profile"])]
    pub name: Option<String>,

    /// Sandbox profile [default: read]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Working directory [default: /]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,

    /// Set a variable that policy permits; may be given again
    #[arg(long, value_name = "NAME=VALUE",
          value_parser = OsStringValueParser::new().try_map(variable))]
    pub env: Vec<Variable>,

    #[command(flatten)]
    pub call: CallArgs,

    /// Program and its arguments, passed on as they are; with --name its KEY=VALUE
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(override_usage = "\
remit change [OPTIONS] --reason TEXT COMMAND [KEY=VALUE...]
       remit change [OPTIONS] --reason TEXT --name COMMAND [KEY=VALUE...]
       remit change [OPTIONS] --reason TEXT -- ARGV...
       remit change [OPTIONS] --reason TEXT --script TEXT | --script-file FILE
       remit change [OPTIONS] --reason TEXT --plan ID [--then CALL]")]
pub struct ChangeArgs {
    /// Run this named command; 'remit access' lists them [default: the first word]
    #[arg(long, value_name = "COMMAND",
          conflicts_with_all = ["script", "script_file", "interpreter", "profile", "cwd", "env"])]
    pub name: Option<String>,

    /// Run this text as a script, once, if somebody approves exactly it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          conflicts_with_all = ["script_file", "words", "argv"])]
    pub script: Option<OsString>,

    /// The same with the script in this file; '-' is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["words", "argv"])]
    pub script_file: Option<PathBuf>,

    /// Program that runs the script [default: sh]
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["words", "argv"])]
    pub interpreter: Option<OsString>,

    /// Profile of a program or script; it also says the user [default: host, as root without a sandbox]
    #[arg(long, value_name = "NAME", conflicts_with = "words")]
    pub profile: Option<String>,

    /// Working directory of a program or script [default: /]
    #[arg(long, value_name = "DIR", conflicts_with = "words")]
    pub cwd: Option<PathBuf>,

    /// Set a variable of a program or script that policy permits; may be given again
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "words",
          value_parser = OsStringValueParser::new().try_map(variable))]
    pub env: Vec<Variable>,

    /// Make exactly the changes of this plan of yours; 'remit plan' says its id
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "script", "script_file", "interpreter", "profile",
          "cwd", "env", "secret", "stdin", "words", "argv"])]
    pub plan: Option<IdPrefix>,

    /// Afterwards run this command, as 'service.reload unit=nginx.service', in the same approval; up to 4 times
    #[arg(long, value_name = "CALL", requires = "plan")]
    pub then: Vec<String>,

    /// Why, in your words; it is recorded, and whoever approves it reads it
    #[arg(short = 'm', long, value_name = "TEXT", allow_hyphen_values = true, value_parser = reason)]
    pub reason: String,

    #[command(flatten)]
    pub call: CallArgs,

    /// The command and its arguments, each KEY=VALUE
    #[arg(value_name = "WORD")]
    pub words: Vec<OsString>,

    /// A program and its arguments, to run once if somebody approves exactly this; after a command, its arguments
    #[arg(last = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

/// What a job may be given besides what it runs.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// Take the value of an argument from a file, '-' is standard input; may be given again
    #[arg(long, value_name = "KEY=FILE", value_parser = OsStringValueParser::new().try_map(secret))]
    pub secret: Vec<Secret>,

    /// Pass standard input on, at most 1 MiB [default: empty]
    #[arg(long)]
    pub stdin: bool,

    /// End the job after this time: 90s, 30m, 2h; a number alone is in seconds
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub timeout: Option<u32>,

    /// Start nothing if this id was used before: answer with the job it started
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,

    /// Do not wait: tell the job's id and where it is, and leave it to the daemon
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "\
remit try [OPTIONS] [--] ARGV...
       remit try [OPTIONS] --script TEXT")]
#[command(group(ArgGroup::new("tried").required(true).args(["script", "argv"])))]
pub struct TryArgs {
    /// Try this sandbox profile [default: read]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Run this text as a shell script
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub script: Option<OsString>,

    /// Working directory [default: /]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,

    /// End the job after this time: 90s, 30m, 2h; a number alone is in seconds
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub timeout: Option<u32>,

    /// Program and its arguments, passed on as they are
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Ask about this sandbox profile [default: read]
    #[arg(long, value_name = "NAME", requires = "argv")]
    pub profile: Option<String>,

    /// Explain this named command, and whether you may use it
    #[arg(long, value_name = "COMMAND",
          conflicts_with_all = ["profile", "argv"])]
    pub name: Option<String>,

    /// List the commands that have the most of these words in their name or summary
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["name", "profile", "argv"])]
    pub query: Option<String>,

    /// Ask whether this command would be allowed
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct HostArgs {
    /// Only these sections
    #[arg(value_name = "SECTION", value_parser = section())]
    pub sections: Vec<Section>,

    /// What changed since this time, boot or a job of yours
    ///
    /// A time is written as -1h, yesterday or 2026-11-20T10:00:00Z.
    #[arg(long, value_name = "TIME|boot|JOB", conflicts_with = "sections", value_parser = since,
          allow_hyphen_values = true)]
    pub since: Option<HostSince>,

    /// List the kept snapshots that --since compares with, newest first
    #[arg(long, conflicts_with_all = ["sections", "since"])]
    pub snapshots: bool,
}

/// The earlier point of `remit host --since`.
#[derive(Clone, Debug)]
pub enum HostSince {
    Time(Time),
    Boot,
    Job(IdPrefix),
}

fn since(text: &str) -> Result<HostSince, String> {
    if text == "boot" {
        return Ok(HostSince::Boot);
    }
    // Some short ids, such as 765d348d, could also be read as a time: the sum of two numbers of days.
    let is_short_id = text.len() >= SHORT_ID && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_short_id && let Ok(time) = text.parse() {
        return Ok(HostSince::Time(time));
    }
    let job = text.parse().map(HostSince::Job);
    job.map_err(|_| "it is no time, and neither 'boot' nor a job id".to_owned())
}

fn section() -> impl TypedValueParser<Value = Section> {
    PossibleValuesParser::new(Section::ALL.map(Section::name)).try_map(|name| name.parse())
}

/// How many jobs are listed unless somebody says otherwise.
const LIMIT: u32 = 20;

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Only your own jobs, also if you are an administrator
    #[arg(long)]
    pub mine: bool,

    /// Only jobs that run or wait in the queue
    #[arg(long)]
    pub running: bool,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

impl JobsArgs {
    /// The caller's own.
    pub fn mine() -> Self {
        Self {
            mine: true,
            running: false,
            limit: LIMIT,
        }
    }
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// The job's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// Send this signal first, by name or number; KILL follows [default: TERM]
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub signal: Option<i32>,
}

/// A signal's number, from its name with or without SIG, or from its number.
fn signal(text: &str) -> Result<i32, String> {
    let name = text.to_ascii_uppercase();
    let name = format!("SIG{}", name.strip_prefix("SIG").unwrap_or(&name));
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number
        .or_else(|| name.parse().ok().map(|signal: Signal| signal as i32))
        .ok_or_else(|| "no such signal".to_owned())
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("stream").args(["stdout", "stderr"])))]
pub struct JobArgs {
    /// The job's id, or how it begins: 4 digits or more; without one, your jobs are listed
    #[arg(value_name = "ID")]
    pub id: Option<IdPrefix>,

    /// Wait for its end, and exit with its status
    #[arg(long, requires = "id")]
    pub wait: bool,

    /// Print what it wrote and writes until its end, and exit with its status
    #[arg(long, requires = "id", conflicts_with_all = ["wait", "grep", "limit"])]
    pub follow: bool,

    /// Print what it wrote to standard output, and nothing else
    #[arg(long, requires = "id")]
    pub stdout: bool,

    /// Print what it wrote to standard error, and nothing else
    #[arg(long, requires = "id")]
    pub stderr: bool,

    /// Print lines that match this regular expression, with their numbers [default: of stdout]
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "id",
        allow_hyphen_values = true
    )]
    pub grep: Option<String>,

    /// With --grep, print so many lines before and after each too
    #[arg(long, value_name = "N", requires = "grep",
          value_parser = clap::value_parser!(u32).range(..=i64::from(caps::GREP_CONTEXT)))]
    pub context: Option<u32>,

    /// Begin with this byte of stdout, or with --stderr of that [default: 0]
    #[arg(long, value_name = "N", requires = "id", conflicts_with = "tail")]
    pub offset: Option<u64>,

    /// Print at most this many bytes; with --grep, lines that match
    #[arg(long, value_name = "N", requires = "id", conflicts_with = "tail")]
    pub limit: Option<u64>,

    /// Print the last bytes, this many; with --follow, begin with them
    #[arg(long, value_name = "N", requires = "id", conflicts_with = "grep")]
    pub tail: Option<u64>,
}

impl JobArgs {
    /// Returns true if the answer has more than the job's state.
    pub fn is_for_owner(&self) -> bool {
        self.wait || self.follow || self.grep.is_some() || self.stream().is_some()
    }

    /// The stream to print, if one is. A part without a stream is of standard output; `--follow` begins with each one's end.
    pub fn stream(&self) -> Option<Stream> {
        let ends = self.tail.is_some() && !self.follow;
        match (self.stdout, self.stderr) {
            (true, _) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            (false, false) if ends || self.offset.is_some() || self.limit.is_some() => {
                Some(Stream::Stdout)
            }
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_is_a_duration_or_seconds() {
        for (text, expect) in [
            ("90", 90),
            ("90s", 90),
            ("30m", 1800),
            ("30min", 1800),
            ("1w", 604_800),
            ("99999999999w", u32::MAX),
        ] {
            assert_eq!(timeout(text), Ok(expect), "{text}");
        }
        for wrong in ["", "0", "0s", "-1", "1.5", "x", "1y"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn short_id_is_a_job_also_if_it_could_be_a_time() {
        for (text, expect) in [
            ("765d348d", "Job(IdPrefix(\"765d348d\"))"),
            ("1000000d", "Job(IdPrefix(\"1000000d\"))"),
            ("fd01", "Job(IdPrefix(\"fd01\"))"),
            ("100d", "Time(Ago(8640000))"),
            ("-765d348d", "Time(Ago(96163200))"),
            (
                "10:00:00",
                "Time(Clock(Clock { hour: 10, minute: 0, second: 0, microsecond: 0 }))",
            ),
            ("boot", "Boot"),
        ] {
            assert_eq!(format!("{:?}", since(text).unwrap()), expect, "{text}");
        }
        assert!(since("soon").is_err());
    }

    #[test]
    fn variable_is_split_at_first_equals_sign() {
        let made = variable("A=b=c".into()).unwrap();
        assert_eq!((made.name, made.value), (b"A".to_vec(), b"b=c".to_vec()));
        let empty = variable("A=".into()).unwrap();
        assert_eq!((empty.name, empty.value), (b"A".to_vec(), Vec::new()));
        assert!(variable("=a".into()).is_err() && variable("a".into()).is_err());
    }

    #[test]
    fn a_secret_names_a_file() {
        let token = Secret {
            key: "token".into(),
            file: "a=b".into(),
        };
        assert_eq!(secret("token=a=b".into()), Ok(token));
        for wrong in ["token=", "=file", "token", ""] {
            assert!(secret(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "term", "SIGTERM", "sigterm", "15"] {
            assert_eq!(signal(text), Ok(15), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "TERMS"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
