//! Arguments of `remit policy`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Tell what is wrong in policy files, and what somebody should look at
    Check(FilesArgs),
    /// Tell how the verdict tables and the examples in policy files come out
    Test(FilesArgs),
    /// Tell what somebody may do by policy files: which rule decides, and what would be executed
    Explain(ExplainArgs),
    /// Tell who gains and who loses what between two states of policy files
    Diff(DiffArgs),
    /// Have the daemon load the policy files again; a policy with an error changes nothing
    Reload(ReloadArgs),
}

#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Print nothing where it is in force: the journal says what changed
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct FilesArgs {
    /// Directory of the configuration: its policy.d holds the policy files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/etc/remit")]
    pub config: PathBuf,

    /// Read the files whoever owns and can write them: those that are not installed yet
    #[arg(long)]
    pub any_owner: bool,

    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Directory of the package's own: of its policy.d, files that the configuration does not replace
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/usr/lib/remit")]
    pub vendor: PathBuf,

    /// Take every user, group, host and program as there, and read any files: those of another machine
    #[arg(long)]
    pub elsewhere: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "\
remit policy explain [OPTIONS] WHO run|change [NAME [KEY=VALUE...]]
       remit policy explain [OPTIONS] WHO -- ARGV...")]
pub struct ExplainArgs {
    /// Somebody: a user, %group for a member of it alone, #uid or %#gid
    #[arg(value_name = "WHO")]
    pub who: String,

    /// 'run' for any program; or run or change, a command and its arguments, also as one word
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
    /// The state before: a directory of the configuration, or one policy file
    #[arg(value_name = "OLD", value_hint = ValueHint::AnyPath)]
    pub old: PathBuf,

    /// The state after
    #[arg(value_name = "NEW", value_hint = ValueHint::AnyPath)]
    pub new: PathBuf,

    #[command(flatten)]
    pub machine: MachineArgs,
}
