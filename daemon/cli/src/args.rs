//! The arguments, and with them the help texts. The options of each verb have a file.

mod admin;
mod approval;
mod audit;
mod completions;
mod grant;
mod history;
mod job;
mod jobs;
mod look;
mod machine;
mod policy;
mod run;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueHint};
use remit_common::builtin;
use remit_common::names::Runtime;

pub use admin::LockArgs;
pub use approval::{ApproveArgs, DenyArgs, PendingArgs, ShowArgs};
pub use audit::{
    AuditVerb, ExportArgs, FilterArgs, Format, RecordsArgs, SpanArgs, TrailArgs, VerifyArgs,
};
pub use completions::CompletionsArgs;
pub use grant::{GrantArgs, RevokeArgs};
pub use history::HistoryArgs;
pub use job::JobArgs;
pub use jobs::{JobsArgs, StopArgs};
pub use look::{AccessArgs, HostArgs};
pub use machine::{ClientConfigArgs, EnrollArgs, McpClient, UnenrollArgs};
pub use policy::{DiffArgs, ExplainArgs, FilesArgs, MachineArgs, PolicyVerb, ReloadArgs};
pub use run::{ChangeArgs, GivenArgs, RunArgs, Secret, TryArgs};

/// Exit statuses at the end of `remit --help`; the table in `remit.1` says more.
const EXIT: &str = "\
Exit status:
  of 'run', 'change', 'job --wait' and 'job --follow': that of the command; 128 and its number when a
  signal ended it
  of 'doctor': how many checks failed, 63 at most
  of 'approve': 1 what was typed was not the digest
  of 'audit verify': 1 something is wrong; of 'audit show JOB': 1 no such job
  of 'policy check', 'test', 'explain' and 'diff': 1 errors, a test failed, not allowed, a difference; 2 trouble
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
    verbatim_doc_comment
)]
pub struct Line<V: Subcommand> {
    /// Directory with the daemon's sockets
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath, display_order = 100,
          default_value = Runtime::DEFAULT)]
    pub runtime: PathBuf,

    /// Answer with one JSON object on stdout
    #[arg(long, global = true, display_order = 101)]
    pub json: bool,

    #[command(subcommand)]
    pub verb: V,
}

/// The whole of it.
pub type Cli = Line<Verb>;

/// The verb that programs start again and again.
#[derive(Debug, Subcommand)]
enum Often {
    Run(RunArgs),
}

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    /// What clap says of it.
    pub fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        // To make the options of all verbs takes longer than all else that this program does before it
        // asks the daemon. Who types anything but a good 'run' is told by the whole of them.
        if words.iter().any(|word| word == "run")
            && let Ok(line) = Line::<Often>::try_parse_from(words)
        {
            let Often::Run(run) = line.verb;
            return Ok(Self {
                runtime: line.runtime,
                json: line.json,
                verb: Verb::Run(run),
            });
        }
        Self::try_parse_from(words)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command or script and pass on what it writes until its end
    Run(RunArgs),
    /// Run a named command that changes this machine, as 'run' does
    Change(ChangeArgs),
    /// Run a command in a sandbox without a grant and show what confined it (root)
    Try(TryArgs),
    /// Show what you may do here, or whether a command would be allowed
    Access(AccessArgs),
    /// Show facts about this machine
    Host(HostArgs),
    /// List your jobs, newest first; for administrators everybody's
    Jobs(JobsArgs),
    /// Show a job of yours, wait for it, or print, follow or search its output
    Job(JobArgs),
    /// End a job and wait until it is gone: yours, or anybody's for administrators
    Stop(StopArgs),
    /// Show what you have done here, newest first; for administrators what anybody has
    History(HistoryArgs),
    /// List the changes that wait for an approval, oldest first (administrators)
    Pending(PendingArgs),
    /// Show one of them with all that will run (administrators)
    Show(ShowArgs),
    /// Approve one: exactly what was shown runs, once (administrators)
    Approve(ApproveArgs),
    /// Deny one, and say why (administrators)
    Deny(DenyArgs),
    /// Approve runs of a command beforehand, for a time (administrators)
    Grant(GrantArgs),
    /// List the grants for a time, oldest first (administrators)
    Grants,
    /// End a grant for a time: nothing starts by it any more (administrators)
    Revoke(RevokeArgs),
    /// Show how the daemon is (administrators)
    Status,
    /// Tell whether remit holds on this machine, and what leads around it (root)
    Doctor,
    /// Run nothing from now on (administrators)
    Lock(LockArgs),
    /// Accept requests again (administrators)
    Unlock,
    /// Check, test, explain and compare policy files; have the daemon reload them (administrators)
    #[command(disable_help_subcommand = true)]
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
    /// Verify, show and export the records of the audit trail
    #[command(disable_help_subcommand = true)]
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// Give an agent's key its one way in (root)
    Enroll(EnrollArgs),
    /// Undo what enroll did (root)
    Unenroll(UnenrollArgs),
    /// Print what to paste into an MCP client
    ClientConfig(ClientConfigArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// The name of a command: the policy's are the daemon's to know, remit's own can be completed.
fn command() -> impl TypedValueParser<Value = String> {
    Command
}

#[derive(Clone)]
struct Command;

impl TypedValueParser for Command {
    type Value = String;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            builtin::COMMANDS
                .iter()
                .map(|command| PossibleValue::new(command.name)),
        ))
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

    const ID: &str = "00000000000000000000000000000000";

    fn parse(args: &[&str]) -> Result<Verb, ErrorKind> {
        let words = [&["remit"], args].concat();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Cli::read(&words)
            .map(|cli| cli.verb)
            .map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
        Line::<Often>::command().debug_assert();
    }

    #[test]
    fn a_run_is_read_alike_by_its_own_and_among_all_verbs() {
        for line in [
            "run -- run -x --json",
            "run df -h --runtime x",
            "--json run --runtime /r --no-wait --timeout 3 --env A=b --env C=d df",
            "--runtime=/r run --json --script x --interpreter run",
            "run --name service.status unit=run",
            "run --stdin --cwd run --profile run --request-id run a",
        ] {
            let words: Vec<OsString> = format!("remit {line}")
                .split(' ')
                .map(OsString::from)
                .collect();
            let all = Cli::try_parse_from(&words).unwrap();
            let own = Line::<Often>::try_parse_from(&words).unwrap();
            let (Verb::Run(a), Often::Run(b)) = (&all.verb, &own.verb) else {
                panic!("{line}");
            };
            assert_eq!(format!("{a:?}"), format!("{b:?}"), "{line}");
            assert_eq!((all.runtime, all.json), (own.runtime, own.json), "{line}");
        }
        for line in [
            "job run",
            "run",
            "runs",
            "run --bad",
            "run --help",
            "help run",
        ] {
            let words = format!("remit {line}");
            let own = Line::<Often>::try_parse_from(words.split(' '));
            let all = Cli::try_parse_from(words.split(' '));
            assert!(own.is_err(), "{line}");
            // What is told is told by the whole of them.
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            let told = Cli::read(&words).map_err(|error| error.to_string()).err();
            assert_eq!(told, all.map_err(|error| error.to_string()).err(), "{line}");
        }
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
    fn a_part_of_a_job_may_be_wanted_in_many_ways() {
        for args in [
            &["job"][..],
            &["job", ID, "--follow"],
            &["job", ID, "--follow", "--tail", "9"],
            &["job", ID, "--follow", "--stderr", "--offset", "9"],
            &[
                "job",
                ID,
                "--grep",
                "-x",
                "--offset",
                "9",
                "--limit",
                "9",
                "--context",
                "10",
            ],
            &["job", ID, "--grep", "x", "--stderr", "--wait"],
            &["job", ID, "--stdout", "--tail", "9", "--wait"],
            &["job", ID, "--tail", "9"],
            &["job", ID, "--offset", "9", "--limit", "9"],
            &["jobs", "--mine", "--running"],
        ] {
            assert!(parse(args).is_ok(), "{args:?}");
        }
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
            (
                &["run", "--name", "logs", "--script", "x"],
                ArgumentConflict,
            ),
            (
                &["run", "--name", "logs", "--profile", "read"],
                ArgumentConflict,
            ),
            (&["run", "--name", "logs", "--cwd", "/"], ArgumentConflict),
            (
                &["run", "--name", "logs", "--env", "TZ=UTC"],
                ArgumentConflict,
            ),
            (&["try"], MissingRequiredArgument),
            (&["try", "--script", "x", "ls"], ArgumentConflict),
            (&["access", "--name", "logs", "ls"], ArgumentConflict),
            (&["run", "--env", "A", "ls"], ValueValidation),
            (&["run", "--env", "=a", "ls"], ValueValidation),
            (&["run", "--timeout", "0", "ls"], ValueValidation),
            (&["access", "--profile", "x"], MissingRequiredArgument),
            (&["host", "disk"], InvalidValue),
            (&["job", "--wait"], MissingRequiredArgument),
            (&["job", "--grep", "x"], MissingRequiredArgument),
            (&["job", "12"], ValueValidation),
            (&["job", ID, "--follow", "--wait"], ArgumentConflict),
            (&["job", ID, "--follow", "--grep", "x"], ArgumentConflict),
            (
                &["job", ID, "--follow", "--stdout", "--limit", "1"],
                ArgumentConflict,
            ),
            (&["job", "--tail", "1"], MissingRequiredArgument),
            (&["job", "--offset", "1"], MissingRequiredArgument),
            (&["job", ID, "--context", "1"], MissingRequiredArgument),
            (
                &["job", ID, "--grep", "x", "--context", "11"],
                ValueValidation,
            ),
            (&["job", ID, "--grep", "x", "--tail", "1"], ArgumentConflict),
            (&["jobs", "--limit", "0"], ValueValidation),
            (&["job", ID, "--stdout", "--stderr"], ArgumentConflict),
            (
                &["job", ID, "--stdout", "--tail", "1", "--offset", "1"],
                ArgumentConflict,
            ),
            (&["stop", ID, "--signal", "0"], ValueValidation),
            (&["stop", ID, "--signal", "TREM"], ValueValidation),
            (&["run", "--secret", "a", "ls"], ValueValidation),
            (&["change", "nginx.reload"], MissingRequiredArgument),
            (
                &["access", "--name", "logs", "--query", "x"],
                ArgumentConflict,
            ),
            (&["access", "--query", "x", "ls"], ArgumentConflict),
            (&["lock"], MissingRequiredArgument),
            (&["show"], MissingRequiredArgument),
            (&["show", "7f3"], ValueValidation),
            (&["approve", "7f3a", "--digest", "12"], ValueValidation),
            (&["deny", "7f3a"], MissingRequiredArgument),
            (&["grant", "ann", "web.reload"], MissingRequiredArgument),
            (
                &["grant", "ann", "web.reload", "--for", "1"],
                ValueValidation,
            ),
            (
                &["grant", "ann", "web.reload", "x", "--for", "1h"],
                ValueValidation,
            ),
            (
                &["grant", "ann", "web.reload", "--for", "1h", "--uses", "0"],
                ValueValidation,
            ),
            (&["revoke"], MissingRequiredArgument),
            (&["revoke", "7", "--all"], ArgumentConflict),
            (&["revoke", "all"], ValueValidation),
            (&["completions", "powershell"], InvalidValue),
        ];
        for (args, expect) in cases {
            assert_eq!(parse(args).err(), Some(*expect), "{args:?}");
        }
    }
}
