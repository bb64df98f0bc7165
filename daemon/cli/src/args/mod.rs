//! Command line arguments and their help texts. The options of related verbs are in one file.

mod approval;
mod audit;
pub mod help;
mod machine;
mod plan;
mod run;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use remit_common::names::Runtime;

pub use approval::{
    ApproveArgs, ConfirmArgs, DenyArgs, GrantArgs, PendingArgs, RevokeArgs, ShowArgs,
};
pub use audit::{
    AcceptedHost, AuditReportArgs, AuditVerb, ExportArgs, FilterArgs, Format, HistoryArgs,
    RecordSourceArgs, RecordsArgs, SpanArgs, VerifyArgs, is_of_end,
};
pub use machine::{
    Answer, CheckArgs, ClientConfigArgs, CompletionsArgs, DiffArgs, DoctorArgs, EnrollApproverArgs,
    EnrollArgs, ExplainArgs, FilesArgs, LockArgs, MachineArgs, MetricsArgs, PolicyVerb, ProveArgs,
    ReloadArgs, ReplayArgs, ResumeArgs, UnenrollArgs,
};
pub use plan::{
    CopyArgs, GetArgs, PlanArgs, PlanDropArgs, PlanShowArgs, PlanVerb, PutArgs, UndoArgs,
};
pub use run::{
    AccessArgs, CallArgs, ChangeArgs, HostArgs, HostSince, JobArgs, JobsArgs, RunArgs, Secret,
    StopArgs, TryArgs, Variable,
};

/// Exit statuses at the end of `remit --help`; the table in `remit.1` says more.
const EXIT: &str = "\
Exit status:
  run, change, job --wait, job --follow: that of the command; 128 and its
    number if a signal ended it; job --grep: that of the search
  plan: that of the first check that failed
  doctor: the number of failed checks, at most 63
  approve --on: that of ssh
  1 job --grep: no line matched; plan: an edit does not fit;
    approve: what was typed was not the digest;
    prove: a path was found, with --compare a new one;
    policy check: errors; policy test: a test failed;
    policy explain: not allowed; policy diff, policy replay: a difference;
    audit verify, audit report: something is wrong;
    audit show JOB: no such job; audit export: a record was left out
  2 prove, policy explain, policy diff, policy replay: the policy does not
    load; policy explain: WHO is unknown
  64 usage, 69 daemon unavailable, 74 output failed, 77 may not connect or
    has to be root, 124 timed out, 126 not executable, 127 not found
  125 refused or not started; access: not allowed;
    stop: the end could not be verified

'remit VERB --help' has an example of each verb; remit(1) has everything.";

/// Run policy-controlled commands in kernel sandboxes
///
/// remit asks the daemon remitd to run a command or script. The daemon decides by policy, records the request, and runs
/// it in a sandbox. In the profile 'read' a command sees what an operator's account sees, and cannot change anything.
#[derive(Debug, Parser)]
#[command(
    name = "remit",
    version,
    after_long_help = EXIT
)]
pub struct CommandLine<V: Subcommand> {
    /// Directory with the daemon's sockets
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath, display_order = 100,
          hide = true, default_value = Runtime::DEFAULT)]
    pub runtime: PathBuf,

    /// Answer with one JSON object on stdout
    #[arg(long, global = true, display_order = 101)]
    pub json: bool,

    #[command(subcommand)]
    pub verb: V,
}

pub type Cli = CommandLine<Verb>;

#[derive(Debug, Subcommand)]
enum RunOnly {
    Run(RunArgs),
}

impl Cli {
    /// Errors: What clap says of it.
    pub fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        // Building clap's options of all verbs takes longer than everything else this program does before its first
        // request. `run` therefore parses its own options first. If that fails, the full parser reports the error.
        if words.iter().any(|word| word == "run")
            && let Ok(line) = CommandLine::<RunOnly>::try_parse_from(words)
        {
            let RunOnly::Run(run) = line.verb;
            return Ok(Self {
                runtime: line.runtime,
                json: line.json,
                verb: Verb::Run(run),
            });
        }
        let mut command = help::grouped(Self::command());
        let mut matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command or script, and print its output until it ends
    Run(RunArgs),
    /// Run a named command that changes this machine
    Change(ChangeArgs),
    /// Show what edits or a program would change; nothing changes
    Plan(PlanArgs),
    /// Undo a change of files that was made by a plan
    Undo(UndoArgs),
    /// Send files for plans; prints the names that plans give them
    Put(PutArgs),
    /// Fetch a file, from here or from another host
    Get(GetArgs),
    /// Run a command in a sandbox without a grant, as a test (root)
    Try(TryArgs),
    /// Show what you may do here, or whether a command is allowed
    Access(AccessArgs),
    /// Show facts about this machine
    Host(HostArgs),
    /// List your jobs, newest first; administrators see everybody's
    Jobs(JobsArgs),
    /// Show a job, wait for it, or print, follow or search its output
    Job(JobArgs),
    /// Stop a job, and wait until it has ended
    Stop(StopArgs),
    /// List what was asked, decided, run and refused, newest first
    History(HistoryArgs),
    /// Show jobs and requests live; approve, deny, stop
    Top,
    /// List requests that wait for approval, oldest first
    Pending(PendingArgs),
    /// Show a pending request in full
    Show(ShowArgs),
    /// Approve a pending request; exactly what was shown runs, once
    Approve(ApproveArgs),
    /// Refuse a pending request, with a reason
    Deny(DenyArgs),
    /// Keep a change that is undone otherwise
    Confirm(ConfirmArgs),
    /// Approve runs of a command in advance, for a limited time
    Grant(GrantArgs),
    /// List temporary grants, oldest first
    Grants,
    /// End a temporary grant; nothing starts by it any more
    Revoke(RevokeArgs),
    /// Show the daemon's state (administrators)
    Status,
    /// Write figures for Prometheus (administrators)
    Metrics(MetricsArgs),
    /// Check the sandbox here, and that nothing bypasses remit (root)
    Doctor(DoctorArgs),
    /// Find how an agent could become root on this machine (root)
    Prove(ProveArgs),
    /// Refuse all new requests, until 'unlock' (administrators)
    Lock(LockArgs),
    /// Accept requests again (administrators)
    Unlock,
    /// Let a user go on whom a breaker has paused (administrators)
    Resume(ResumeArgs),
    /// Check, test, explain, compare and reload policy files
    #[command(disable_help_subcommand = true)]
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
    /// Verify, show and export audit records; a page for auditors
    #[command(disable_help_subcommand = true)]
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// Give an agent an account and a key for remit only (root)
    Enroll(EnrollArgs),
    /// Give a key for approving changes, and nothing else (root)
    EnrollApprover(EnrollApproverArgs),
    /// Remove a key of an agent or approver, and what was made (root)
    Unenroll(UnenrollArgs),
    /// Approve over ssh; a key of 'enroll-approver' starts it
    ApproverShell,
    /// Print the configuration of an MCP client
    ClientConfig(ClientConfigArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Words as the bytes they are.
pub fn bytes(words: &[OsString]) -> Vec<remit_wire::Bytes> {
    words
        .iter()
        .map(|word| word.as_bytes().to_vec().into())
        .collect()
}

#[cfg(test)]
pub mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    /// Reads a line as a shell splits it.
    pub fn typed(line: &str) -> Verb {
        let words = remit_words::command_line::words(line).unwrap();
        let words = words.into_iter().map(|word| word.text);
        Cli::try_parse_from(words).unwrap().verb
    }

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
        CommandLine::<RunOnly>::command().debug_assert();
    }

    #[test]
    fn run_line_parses_alike_alone_and_in_full() {
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
            let own = CommandLine::<RunOnly>::try_parse_from(&words).unwrap();
            let (Verb::Run(a), RunOnly::Run(b)) = (&all.verb, &own.verb) else {
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
            let own = CommandLine::<RunOnly>::try_parse_from(words.split(' '));
            let mut command = help::grouped(Cli::command());
            let all = command.try_get_matches_from_mut(words.split(' '));
            assert!(own.is_err(), "{line}");
            // A failed parse must report the same error as the full parser.
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            let reported = Cli::read(&words).map_err(|error| error.to_string()).err();
            assert_eq!(
                reported,
                all.map_err(|error| error.to_string()).err(),
                "{line}"
            );
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
    fn reason_may_begin_with_a_hyphen_and_is_no_option() {
        for args in [
            &["change", "site.x", "-m"][..],
            &["undo", ID, "--reason"],
            &["deny", ID, "-m"],
            &["lock", "--message"],
        ] {
            for reason in ["-5 % of the disk is left", "--kill it", "-50%"] {
                let all = [args, &[reason]].concat();
                let verb = format!("{:?}", parse(&all).unwrap());
                assert!(verb.contains(reason), "{verb}");
            }
            for option in ["--", "--kill", "--no-wait", "-h", "", " "] {
                let all = [args, &[option]].concat();
                assert_eq!(parse(&all).err(), Some(ErrorKind::ValueValidation));
            }
        }
    }

    #[test]
    fn job_output_parts_are_parsed() {
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
            (&["plan", "--check", "a.b"], MissingRequiredArgument),
            (
                &["plan", "--mkdir", "/a", "--check", "a=b"],
                ValueValidation,
            ),
            (&["plan", "--check", "a.b", "show", ID], UnknownArgument),
            (&["plan", "--mkdir", "/a", "--", "true"], ArgumentConflict),
            (
                &["plan", "--mkdir", "/a", "--profile", "x"],
                MissingRequiredArgument,
            ),
            (&["plan", "--script", "x", "--", "true"], ArgumentConflict),
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
