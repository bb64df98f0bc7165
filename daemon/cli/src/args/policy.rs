//! Arguments of `remit policy`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Report errors in policy files, and what somebody should look at
    Check(FilesArgs),
    /// Run the tests and examples in policy files
    Test(FilesArgs),
    /// Show what a user may do: which rule decides, and what would be executed
    Explain(ExplainArgs),
    /// Show who gains and who loses what between two states of policy files
    Diff(DiffArgs),
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
