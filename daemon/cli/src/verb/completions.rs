//! `remit completions`: what a shell needs to complete our arguments.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::Exit;
use crate::failure::Failure;

/// Prints the script.
pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "remit", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::OK)
}
