//! `remit client-config`: prints the configuration of an MCP client, in the client's documented form.

use std::ffi::OsStr;

use clap::CommandFactory;
use clap::error::ErrorKind;
use remit_clients::{ConfigText, ServerEntry};
use serde_json::json;

use crate::args::{Cli, ClientConfigArgs};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};

/// Prints only the configuration on stdout, and instructions on stderr.
pub fn client_config(context: &Context, args: ClientConfigArgs) -> Result<Exit, Failure> {
    let client = args.client;
    let entry = ServerEntry::ssh(client, args.host, args.entry).map_err(|why| usage(&why))?;
    let config = ConfigText::new(client, &entry);
    match context.form {
        Form::Json => output::json(&json!({
            "client": client.name(),
            "server": entry.name.as_str(),
            "command": entry.command,
            "config": config.content,
            "hints": config.hints,
        }))?,
        Form::Text => {
            output::text(&config.content)?;
            config.hints.iter().for_each(|hint| output::note(hint));
            entry.notes.iter().for_each(|note| output::note(note));
        }
    }
    Ok(Exit::OK)
}

fn usage(message: &str) -> Failure {
    let mut cli = Cli::command();
    let verb = OsStr::new("client-config");
    let error = match cli.find_subcommand_mut(verb) {
        Some(verb) => verb.error(ErrorKind::ArgumentConflict, message),
        None => cli.error(ErrorKind::ArgumentConflict, message),
    };
    Failure::Usage(error)
}
