//! `remit client-config`: prints the configuration of an MCP client.

mod destination;
mod format;

use std::ffi::OsStr;

use clap::error::ErrorKind;
use clap::{CommandFactory, ValueEnum};
use remit_common::text;
use serde_json::json;

pub use destination::{Destination, ServerName};

use crate::args::{Cli, ClientConfigArgs};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};

/// Prints only the configuration on stdout, and instructions on stderr.
pub fn client_config(context: &Context, args: ClientConfigArgs) -> Result<Exit, Failure> {
    let mut to = args.host;
    match (&to.user, args.user) {
        (Some(_), Some(_)) => return Err(usage("USER@HOST and --user name a user each: give one")),
        (None, Some(user)) => to.user = Some(user.to_string()),
        (Some(_) | None, None) => {}
    }
    if let Some(identity) = &args.identity
        && (identity.is_empty() || identity.starts_with('-') || !identity.chars().all(one_line))
    {
        return Err(usage(
            "--identity is no name of a file that a client could pass on",
        ));
    }
    let name = args.name.unwrap_or_else(|| ServerName::of(&to));
    let argv = format::command(&to, args.identity.as_deref());
    let config = format::config(args.client, &name, &argv);
    match context.form {
        Form::Json => {
            let client = args.client.to_possible_value();
            output::json(&json!({
                "client": client.as_ref().map(|value| value.get_name()),
                "server": name.as_str(),
                "command": argv,
                "config": config.content,
                "hints": config.hints,
            }))?;
        }
        Form::Text => {
            output::text(&config.content)?;
            config.hints.iter().for_each(|hint| output::note(hint));
            if to.user.is_none() {
                output::note(
                    "without --user ssh logs in by the name it chooses itself, not the agent's",
                );
            }
            let line = text::command_line(&argv, usize::MAX);
            output::note(&format!(
                "first check that this works without asking for a password: {line} --check"
            ));
        }
    }
    Ok(Exit::OK)
}

fn one_line(c: char) -> bool {
    text::is_plain(c) && !matches!(c, '\n' | '\t')
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
