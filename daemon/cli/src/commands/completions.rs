//! `remit completions`: prints a completion script for a shell.

use std::io::{self, Write};

use crate::args::CompletionsArgs;
use crate::completion;
use crate::error::Failure;
use crate::exit::Exit;

pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    completion::script(&args.shell, &mut script)?;
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::OK)
}
