//! Arguments of `remit lock`.

use clap::Args;

#[derive(Debug, Args)]
pub struct LockArgs {
    /// The reason, which refused users see
    #[arg(short, long, value_name = "WHY")]
    pub message: String,

    /// End all running jobs too
    #[arg(long)]
    pub kill: bool,
}
