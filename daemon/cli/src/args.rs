//! The arguments, and with them the help texts.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use nix::sys::signal::Signal;
use remit_common::host::Section;
use remit_common::names::{JobId, Runtime};
use remit_common::outcome::Stream;

/// Exit statuses at the end of `remit --help`; the table in `remit.1` says more.
const EXIT: &str = "\
Exit status:
  of 'run' and 'job --wait': that of the command; 128 and its number when a signal ended it
  64 usage, 69 daemon unavailable, 74 output failed, 77 may not connect,
  124 timed out, 125 refused or not started, 126 not executable, 127 not found";

/// Run commands on this machine in the kernel's sandboxes, within policy
///
/// remit asks the daemon remitd to run a command or script. The daemon decides by
/// policy, records, confines and runs it. In the profile 'read' a command sees what
/// an operator's account sees, and can change nothing.
#[derive(Debug, Parser)]
#[command(
    name = "remit",
    version,
    after_help = EXIT,
    disable_help_subcommand = true,
    verbatim_doc_comment
)]
pub struct Cli {
    /// Directory with the daemon's sockets
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath, display_order = 100,
          default_value = Runtime::DEFAULT)]
    pub runtime: PathBuf,

    /// Answer with one JSON object on stdout
    #[arg(long, global = true, display_order = 101)]
    pub json: bool,

    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command or script and wait for its end
    Run(RunArgs),
    /// Show what you may do here, or whether a command would be allowed
    Access(AccessArgs),
    /// Show facts about this machine
    Host(HostArgs),
    /// List your jobs, newest first
    Jobs(JobsArgs),
    /// Show a job of yours, wait for it, or print its output
    Job(JobArgs),
    /// End a job of yours and wait until it is gone
    Stop(StopArgs),
    /// Show how the daemon is (administrators)
    Status,
    /// Refuse every request from now on (administrators)
    Lock(LockArgs),
    /// Accept requests again (administrators)
    Unlock,
    /// Work with the policy (administrators)
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Load the policy files again; a policy with an error changes nothing
    Reload,
}

#[derive(Debug, Args)]
#[command(override_usage = "\
remit run [OPTIONS] [--] ARGV...
       remit run [OPTIONS] --script TEXT | --script-file FILE")]
#[command(group(ArgGroup::new("what").required(true).args(["script", "script_file", "argv"])))]
pub struct RunArgs {
    /// Run this text as a script
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub script: Option<OsString>,

    /// Run the script in this file; '-' is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub script_file: Option<PathBuf>,

    /// Program that runs the script [default: sh]
    #[arg(long, value_name = "PROGRAM", conflicts_with = "argv")]
    pub interpreter: Option<OsString>,

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

    /// Pass standard input on, at most 1 MiB [default: empty]
    #[arg(long)]
    pub stdin: bool,

    /// End the job after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,

    /// Start nothing if this id was used before: answer with the job it started
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,

    /// Program and its arguments, passed on as they are
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

/// One `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

fn variable(text: OsString) -> Result<Variable, &'static str> {
    let bytes = text.into_vec();
    match bytes.iter().position(|byte| *byte == b'=') {
        None | Some(0) => Err("it is not NAME=VALUE"),
        Some(at) => {
            let (name, value) = bytes.split_at(at);
            Ok(Variable {
                name: name.to_vec(),
                value: value.get(1..).unwrap_or_default().to_vec(),
            })
        }
    }
}

#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Ask about this sandbox profile [default: read]
    #[arg(long, value_name = "NAME", requires = "argv")]
    pub profile: Option<String>,

    /// Ask whether this command would be allowed
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct HostArgs {
    /// Only these: os load cpu memory disks mounts network ports units users boots containers
    /// packages updates
    #[arg(value_name = "SECTION")]
    pub sections: Vec<Section>,
}

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("stream").args(["stdout", "stderr"])))]
pub struct JobArgs {
    /// The job's id
    #[arg(value_name = "ID")]
    pub id: JobId,

    /// Wait for its end, and exit with its status
    #[arg(long)]
    pub wait: bool,

    /// Print what it wrote to standard output, and nothing else
    #[arg(long)]
    pub stdout: bool,

    /// Print what it wrote to standard error, and nothing else
    #[arg(long)]
    pub stderr: bool,

    /// Begin with this byte of the stream [default: 0]
    #[arg(long, value_name = "N", requires = "stream", conflicts_with = "tail")]
    pub offset: Option<u64>,

    /// Print at most this many bytes
    #[arg(long, value_name = "N", requires = "stream", conflicts_with = "tail")]
    pub limit: Option<u64>,

    /// Print the last bytes, this many
    #[arg(long, value_name = "N", requires = "stream")]
    pub tail: Option<u64>,
}

impl JobArgs {
    /// The stream to print, if one is.
    pub fn stream(&self) -> Option<Stream> {
        match (self.stdout, self.stderr) {
            (true, _) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// The job's id
    #[arg(value_name = "ID")]
    pub id: JobId,

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
pub struct LockArgs {
    /// Why; those who are refused see it
    #[arg(short, long, value_name = "WHY")]
    pub message: String,

    /// End all running jobs too
    #[arg(long)]
    pub kill: bool,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = shell)]
    pub shell: Shell,
}

fn shell(name: &str) -> Result<Shell, &'static str> {
    match name {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("it is none of bash, zsh, fish"),
    }
}

/// Words as the bytes they are.
pub fn bytes(words: &[OsString]) -> Vec<remit_common::wire::Bytes> {
    words
        .iter()
        .map(|word| word.as_bytes().to_vec().into())
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(args: &[&str]) -> Result<Verb, ErrorKind> {
        Cli::try_parse_from([&["remit"], args].concat())
            .map(|cli| cli.verb)
            .map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_keeps_its_own_options() {
        for args in [
            &["run", "ls", "-h", "--json"][..],
            &["run", "--", "ls", "-h", "--json"],
            &["--json", "run", "--cwd", "/", "ls", "-h", "--json"],
        ] {
            let Ok(Verb::Run(run)) = parse(args) else {
                panic!("{args:?}");
            };
            assert_eq!(run.argv, ["ls", "-h", "--json"]);
        }
        let Ok(Verb::Run(run)) = parse(&["run", "--", "-x"]) else {
            panic!("a program may begin with a hyphen");
        };
        assert_eq!(run.argv, ["-x"]);
        let Ok(Verb::Run(run)) = parse(&["run", "sh", "--", "x"]) else {
            panic!("the command keeps its own '--'");
        };
        assert_eq!(run.argv, ["sh", "--", "x"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        use ErrorKind::*;
        let cases: &[(&[&str], ErrorKind)] = &[
            (&["run"], MissingRequiredArgument),
            (&["run", "--jsn", "ls"], UnknownArgument),
            (&["run", "--script", "x", "ls"], ArgumentConflict),
            (
                &["run", "--script", "x", "--script-file", "y"],
                ArgumentConflict,
            ),
            (&["run", "--interpreter", "sh", "ls"], ArgumentConflict),
            (&["run", "--env", "A", "ls"], ValueValidation),
            (&["run", "--env", "=a", "ls"], ValueValidation),
            (&["run", "--timeout", "0", "ls"], ValueValidation),
            (&["access", "--profile", "x"], MissingRequiredArgument),
            (&["host", "disk"], ValueValidation),
            (&["job"], MissingRequiredArgument),
            (&["job", "12"], ValueValidation),
            (
                &["job", &"0".repeat(32), "--offset", "1"],
                MissingRequiredArgument,
            ),
            (
                &["job", &"0".repeat(32), "--stdout", "--stderr"],
                ArgumentConflict,
            ),
            (
                &[
                    "job",
                    &"0".repeat(32),
                    "--stdout",
                    "--tail",
                    "1",
                    "--offset",
                    "1",
                ],
                ArgumentConflict,
            ),
            (&["stop", &"0".repeat(32), "--signal", "0"], ValueValidation),
            (
                &["stop", &"0".repeat(32), "--signal", "TREM"],
                ValueValidation,
            ),
            (&["lock"], MissingRequiredArgument),
            (&["completions", "powershell"], ValueValidation),
        ];
        for (args, expect) in cases {
            assert_eq!(parse(args).err(), Some(*expect), "{args:?}");
        }
    }

    #[test]
    fn a_variable_is_split_at_its_first_equals_sign() {
        let made = variable("A=b=c".into()).unwrap();
        assert_eq!((made.name, made.value), (b"A".to_vec(), b"b=c".to_vec()));
        let empty = variable("A=".into()).unwrap();
        assert_eq!((empty.name, empty.value), (b"A".to_vec(), Vec::new()));
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
