//! Arguments of `remit enroll`, `unenroll`, `client-config`, `completions`, `doctor` and `lock`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::commands::client_config::{Destination, ServerName};
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

    /// Group whose members may connect to the daemon
    #[arg(long, value_name = "NAME", default_value = "remit")]
    pub group: Name,

    /// Only print the line for authorized_keys
    #[arg(long)]
    pub print: bool,

    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// List every check, not only warnings and failures
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct UnenrollArgs {
    /// The agent
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

    /// The agent's account there
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username)]
    pub user: Option<Name>,

    /// File with the agent's private key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub identity: Option<String>,

    /// What the client calls this server [default: the machine's name, without its domain]
    #[arg(long, value_name = "NAME")]
    pub name: Option<ServerName>,
}

/// An MCP client whose configuration is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum McpClient {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Vscode,
    Zed,
    Codex,
    Generic,
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// The reason, which refused users see
    #[arg(short, long, value_name = "WHY")]
    pub message: String,

    /// End all running jobs too
    #[arg(long)]
    pub kill: bool,
}

/// The package has a script for each.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = SHELLS)]
    pub shell: String,
}
