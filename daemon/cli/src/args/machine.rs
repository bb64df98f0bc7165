//! Arguments of `remit policy`, `enroll`, `enroll-approver`, `unenroll`, `client-config`, `completions`, `doctor`, `prove`, `metrics` and `lock`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use remit_clients::{Destination, EntryArgs, McpClient};
use remit_words::reason::reason;

use crate::args::SpanArgs;
use crate::enrollment::{Expires, Name, STATE};

#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// The agent's account; it is created if it does not exist
    #[arg(value_name = "USER")]
    pub user: Name,

    /// File with the agent's public key; '-' is standard input
    #[arg(value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub keyfile: PathBuf,

    /// End of the key: 2026-12-31, 2026-12-31T08:00, or from now: 90m, 12h, 30d, 1w; or never
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Expires>,

    /// Group whose members may connect to the daemon [default: socket_group of remit.toml]
    #[arg(long, value_name = "NAME")]
    pub group: Option<Name>,

    /// Whether agents may look at what only root sees; by default a terminal is asked once
    #[arg(long, value_name = "ANSWER")]
    pub inspect: Option<Answer>,

    /// Only print the line for authorized_keys
    #[arg(long)]
    pub print: bool,

    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Debug, Args)]
pub struct EnrollApproverArgs {
    /// The approver's account; it is created if it does not exist
    #[arg(value_name = "USER")]
    pub user: Name,

    /// File with the approver's public key; '-' is standard input
    #[arg(value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub keyfile: PathBuf,

    /// End of the key: 2026-12-31, 2026-12-31T08:00, or from now: 90m, 12h, 30d, 1w; or never
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Expires>,

    /// Group whose members may use the socket for administrators [default: admin_group of remit.toml]
    #[arg(long, value_name = "NAME")]
    pub group: Option<Name>,

    /// Only print the line for authorized_keys
    #[arg(long)]
    pub print: bool,

    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Answer {
    Yes,
    No,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// List every check, not only warnings and failures
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct ProveArgs {
    /// Who: a user, or %group for a member of only that group [default: every agent]
    #[arg(value_name = "WHO")]
    pub subject: Option<String>,

    /// Look at the machine whose files lie beneath this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/")]
    pub root: PathBuf,

    /// Show the reason of each step, everything that was not looked at, and what it took
    #[arg(short, long)]
    pub verbose: bool,

    /// Show what is new and what is gone since the look that this file keeps, and keep this one there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub compare: Option<PathBuf>,

    /// With --compare: log what is new since the last look to the journal, as remit-prove.service does each night
    #[arg(long, requires = "compare")]
    pub log: bool,
}

#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Replace this file at once, for everybody to read; '-' is standard output
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath, default_value = "-")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct UnenrollArgs {
    /// The agent or approver
    #[arg(value_name = "USER")]
    pub user: Name,

    /// Only the key in this file; '-' is standard input
    #[arg(value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub keyfile: Option<PathBuf>,

    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Debug, Args)]
pub struct StateArgs {
    /// Directory with records of enrolled accounts
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = STATE)]
    pub state: PathBuf,
}

#[derive(Debug, Args)]
pub struct ClientConfigArgs {
    /// The client
    #[arg(value_name = "CLIENT")]
    pub client: McpClient,

    /// Where remit runs, as ssh(1) knows it: HOST or USER@HOST
    #[arg(value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub host: Destination,

    #[command(flatten)]
    pub entry: EntryArgs,
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// The reason, which refused users see
    #[arg(short, long, value_name = "WHY", allow_hyphen_values = true, value_parser = reason)]
    pub message: String,

    /// End all running jobs too
    #[arg(long)]
    pub kill: bool,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The user, as 'remit status' shows
    #[arg(value_name = "USER")]
    pub user: String,
}

/// The package has a script for each.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = SHELLS)]
    pub shell: String,
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Report errors in policy files, and what somebody should look at
    Check(CheckArgs),
    /// Run the tests and examples in policy files
    Test(FilesArgs),
    /// Show what a user may do: which rule decides, and what would be executed
    Explain(ExplainArgs),
    /// Show who gains and who loses what between two states of policy files
    Diff(DiffArgs),
    /// Decide past requests again under another policy, and show which verdicts change
    Replay(ReplayArgs),
    /// Make the daemon load the policy files again; on an error the old policy stays in force
    Reload(ReloadArgs),
}

#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Print nothing on success; the journal says what changed
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct FilesArgs {
    /// Configuration directory; its policy.d holds the policy files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/etc/remit")]
    pub config: PathBuf,

    /// Accept files not owned by root (for policy that is not installed yet)
    #[arg(long)]
    pub any_owner: bool,

    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also look for ways to root that this policy opens on this machine, as 'remit prove' does (root)
    #[arg(long, conflicts_with = "other_machine")]
    pub prove: bool,

    #[command(flatten)]
    pub files: FilesArgs,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Instead print candidates of rules for requests that were refused or approved 3 times or more
    #[arg(long)]
    pub from_denials: bool,

    /// Configuration directory to decide by; its policy.d holds the policy files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/etc/remit")]
    pub config: PathBuf,

    /// Directory of the package's own policy.d; the configuration can replace its files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/usr/lib/remit")]
    pub vendor: PathBuf,

    /// Accept files not owned by root (for policy that is not installed yet)
    #[arg(long)]
    pub any_owner: bool,

    #[command(flatten)]
    pub span: SpanArgs,

    /// Read these records, several files from the oldest on; '-' is standard input [default: the daemon's audit log]
    #[arg(long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// The daemon's state directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/var/lib/remit")]
    pub state: PathBuf,
}

#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Directory of the package's own policy.d; the configuration can replace its files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/usr/lib/remit")]
    pub vendor: PathBuf,

    /// Check policy for another machine: assume every user, group, host and program exists
    #[arg(long = "elsewhere")]
    pub other_machine: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "\
remit policy explain [OPTIONS] WHO run|change [NAME [KEY=VALUE...]]
       remit policy explain [OPTIONS] WHO -- ARGV...")]
pub struct ExplainArgs {
    /// Who: a user, %group for a member of only that group, #uid or %#gid
    #[arg(value_name = "WHO")]
    pub caller: String,

    /// 'run' for any program; or run or change, and a command with its arguments
    #[arg(value_name = "WHAT", required_unless_present = "argv")]
    pub what: Vec<String>,

    /// Ask about this sandbox profile [default: read]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Of plan.commit and plan.undo: a path that is changed; no others are
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<String>,

    #[command(flatten)]
    pub files: FilesArgs,

    /// A program and its arguments
    #[arg(last = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The old state: a configuration directory, or one policy file
    #[arg(value_name = "OLD", value_hint = ValueHint::AnyPath)]
    pub old: PathBuf,

    /// The new state
    #[arg(value_name = "NEW", value_hint = ValueHint::AnyPath)]
    pub new: PathBuf,

    #[command(flatten)]
    pub machine: MachineArgs,
}
