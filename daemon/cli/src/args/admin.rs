//! Arguments of `remit lock` and `remit policy`.

use clap::{Args, Subcommand};

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Load the policy files again; a policy with an error changes nothing
    Reload,
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
