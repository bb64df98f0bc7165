//! `client-config` and `client-check`: entries of MCP clients, printed and tried. They need no `fleet.toml`.

mod attempt;
mod check;
mod environment;
mod finding;

use std::env;
use std::path::Path;

use clap::{Args, Subcommand};
use remit_clients::{ConfigText, Destination, EntryArgs, McpClient, ServerEntry};
use serde_json::json;

use super::render::print;
use crate::exit::{Exit, say};

#[derive(Debug, Subcommand)]
pub enum ClientVerb {
    /// Print the configuration of an MCP client, for this program or for ssh to one host
    ClientConfig(EntryConfigArgs),
    /// Start a server as an MCP client would, and name what breaks
    ClientCheck(EntryCheckArgs),
}

#[derive(Debug, Args)]
pub struct EntryConfigArgs {
    #[command(flatten)]
    what: What,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct EntryCheckArgs {
    #[command(flatten)]
    what: What,
    /// Seconds that the client gives a start [default: its own]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    start_s: Option<u64>,
}

/// Which client starts what.
#[derive(Debug, Args)]
struct What {
    /// The client
    #[arg(value_name = "CLIENT")]
    client: McpClient,
    /// Only this host, through ssh alone: HOST or USER@HOST [default: this program, for all hosts]
    #[arg(value_name = "HOST")]
    host: Option<Destination>,
    #[command(flatten)]
    entry: EntryArgs,
}

pub async fn run(verb: ClientVerb, config: Option<&Path>) -> Exit {
    let what = match &verb {
        ClientVerb::ClientConfig(args) => &args.what,
        ClientVerb::ClientCheck(args) => &args.what,
    };
    let entry = match entry(what, config) {
        Ok(entry) => entry,
        Err(why) => {
            say(&why);
            return Exit::Usage;
        }
    };
    match &verb {
        ClientVerb::ClientConfig(args) => show(args, &entry),
        ClientVerb::ClientCheck(args) => {
            check::check(what.client, &entry, what.host.is_some(), args.start_s).await
        }
    }
}

fn entry(what: &What, config: Option<&Path>) -> Result<ServerEntry, String> {
    let args = what.entry.clone();
    if let Some(host) = &what.host {
        return ServerEntry::ssh(what.client, host.clone(), args);
    }
    // An absolute path: applications have a short PATH.
    let program = env::current_exe().ok();
    let program = program.and_then(|path| path.into_os_string().into_string().ok());
    let mut command = vec![program.unwrap_or_else(|| "remit-fleet".to_owned())];
    if let Some(config) = config {
        let path = std::path::absolute(config).ok();
        let path = path.and_then(|path| path.into_os_string().into_string().ok());
        command.push("--config".to_owned());
        command.push(path.ok_or("the path of --config is no text that a client could pass on")?);
    }
    ServerEntry::fleet(command, args)
}

fn show(args: &EntryConfigArgs, entry: &ServerEntry) -> Exit {
    let client = args.what.client;
    let config = ConfigText::new(client, entry);
    if args.json {
        let object = json!({
            "client": client.name(),
            "server": entry.name.as_str(),
            "command": entry.command,
            "config": config.content,
            "hints": config.hints,
        });
        return print(&format!("{object}\n"));
    }
    let printed = print(&config.content);
    config.hints.iter().for_each(|hint| say(hint));
    entry.notes.iter().for_each(|note| say(note));
    let host = args.what.host.as_ref();
    let host = host.map_or_else(String::new, |host| format!(" {host}"));
    say(&format!(
        "'remit-fleet client-check {}{host}', with the same options, tries it as this client would",
        client.name()
    ));
    printed
}
