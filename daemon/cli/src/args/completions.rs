//! Arguments of `remit completions`.

use clap::Args;

/// The package has a script for each.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = SHELLS)]
    pub shell: String,
}
