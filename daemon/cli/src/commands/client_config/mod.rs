//! `remit client-config`: prints the configuration of an MCP client, in the client's documented format.

mod destination;

use std::collections::BTreeMap;
use std::ffi::OsStr;

use clap::error::ErrorKind;
use clap::{CommandFactory, ValueEnum};
use remit_common::text;
use serde::Serialize;
use serde_json::{Value, json};

pub use destination::{Destination, ServerName};

use crate::args::{Cli, ClientConfigArgs, McpClient};
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
    let argv = command(&to, args.identity.as_deref());
    let config = config(args.client, &name, &argv);
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

#[derive(Debug)]
pub struct Config {
    pub content: String,
    pub hints: Vec<&'static str>,
}

/// Returns the ssh(1) command that a client starts. It uses no terminal and no prompts. Keep-alives detect a dead
/// connection within 45 seconds, before clients time out a call at 60. The job continues.
pub fn command(to: &Destination, identity: Option<&str>) -> Vec<String> {
    let mut argv: Vec<&str> = vec!["ssh", "-T"];
    if let Some(identity) = identity {
        argv.extend(["-i", identity, "-o", "IdentitiesOnly=yes"]);
    }
    argv.extend(["-o", "BatchMode=yes", "-o", "ServerAliveInterval=15"]);
    let to = to.to_string();
    argv.extend([to.as_str(), "mcp-shim"]);
    argv.into_iter().map(str::to_owned).collect()
}

#[derive(Serialize)]
struct Server<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    command: &'a str,
    args: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<BTreeMap<&'a str, &'a str>>,
}

pub fn config(client: McpClient, name: &ServerName, argv: &[String]) -> Config {
    let (program, args) = match argv.split_first() {
        Some((program, args)) => (program.as_str(), args),
        None => ("", argv),
    };
    let name = name.as_str();
    let plain = Server {
        kind: None,
        source: None,
        command: program,
        args,
        env: None,
    };
    let below = |key: &str, server: Server| {
        pretty(&BTreeMap::from([(key, BTreeMap::from([(name, server)]))]))
    };
    let (content, hints): (String, &[&str]) = match client {
        McpClient::ClaudeDesktop => (
            below("mcpServers", plain),
            &[
                "put it into claude_desktop_config.json (Settings, Developer, Edit Config) and \
                 start Claude Desktop again",
                "macOS: ~/Library/Application Support/Claude/; Windows: %APPDATA%\\Claude\\; \
                 Linux: ~/.config/Claude/",
            ],
        ),
        McpClient::ClaudeCode => (
            format!(
                "claude mcp add --transport stdio --scope user {name} -- {}\n",
                text::command_line(argv, usize::MAX)
            ),
            &[
                "run this line; 'claude mcp list' shows whether it connects",
                "for one project alone leave out '--scope user', or put what 'remit client-config \
                 generic' prints into its .mcp.json",
            ],
        ),
        McpClient::Cursor => (
            below("mcpServers", plain),
            &["put it into ~/.cursor/mcp.json, or .cursor/mcp.json of one project"],
        ),
        McpClient::Vscode => (
            below(
                "servers",
                Server {
                    kind: Some("stdio"),
                    ..plain
                },
            ),
            &[
                "put it into the file that 'MCP: Open User Configuration' opens, or .vscode/mcp.json \
               of one workspace",
            ],
        ),
        McpClient::Zed => (
            below(
                "context_servers",
                Server {
                    source: Some("custom"),
                    env: Some(BTreeMap::new()),
                    ..plain
                },
            ),
            &["put it into ~/.config/zed/settings.json ('zed: open settings')"],
        ),
        McpClient::Codex => (
            format!(
                "[mcp_servers.{name}]\ncommand = {}\nargs = {}\n{CODEX_TIMES}",
                toml_value(&json!(program)),
                toml_value(&json!(args)),
            ),
            &["put it at the end of ~/.codex/config.toml"],
        ),
        McpClient::Generic => (
            below("mcpServers", plain),
            &[
                "most clients read this form; those with a form of their own need the command and \
                 its arguments",
            ],
        ),
    };
    Config {
        content,
        hints: hints.to_vec(),
    }
}

/// In seconds. The default of 10 is too short for ssh to a distant machine. A call takes at most 50, plus transfer.
const CODEX_TIMES: &str = "startup_timeout_sec = 20\ntool_timeout_sec = 120\n";

fn pretty(value: &impl Serialize) -> String {
    // Cannot fail: maps of strings are always valid JSON.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("{text}\n")
}

/// JSON and TOML write strings and their arrays alike, except control characters, which are refused earlier.
fn toml_value(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(identity: Option<&str>) -> Vec<String> {
        command(&"agent@web-1.example.org".parse().unwrap(), identity)
    }

    fn content(client: McpClient, argv: &[String]) -> String {
        config(client, &"remit".parse().unwrap(), argv).content
    }

    #[test]
    fn command_never_prompts() {
        assert_eq!(
            argv(None).join(" "),
            "ssh -T -o BatchMode=yes -o ServerAliveInterval=15 agent@web-1.example.org mcp-shim"
        );
        assert_eq!(
            argv(Some("~/.ssh/my key")).get(2..6).unwrap(),
            ["-i", "~/.ssh/my key", "-o", "IdentitiesOnly=yes"]
        );
    }

    /// A parser of each format must read back exactly the command.
    #[test]
    fn every_client_reads_the_same_command() {
        for identity in [None, Some("C:\\keys\\\"my\" 'key' \u{fc}")] {
            let argv = argv(identity);
            for client in McpClient::value_variants() {
                let content = content(*client, &argv);
                let json = |path: &str| {
                    let value: Value = serde_json::from_str(&content).unwrap();
                    value.pointer(path).unwrap().clone()
                };
                let server = match client {
                    McpClient::ClaudeDesktop | McpClient::Cursor | McpClient::Generic => {
                        json("/mcpServers/remit")
                    }
                    McpClient::Vscode => json("/servers/remit"),
                    McpClient::Zed => json("/context_servers/remit"),
                    McpClient::Codex => {
                        let table: toml::Table = content.parse().unwrap();
                        serde_json::to_value(&table["mcp_servers"]["remit"]).unwrap()
                    }
                    McpClient::ClaudeCode => {
                        // A shell must split the line correctly.
                        let line = content.replacen("claude mcp add", "printf '%s\\n'", 1);
                        let output = std::process::Command::new("/bin/sh")
                            .args(["-c", &line])
                            .output()
                            .unwrap();
                        let words = String::from_utf8(output.stdout).unwrap();
                        let words: Vec<&str> = words.lines().collect();
                        let before = ["--transport", "stdio", "--scope", "user", "remit", "--"];
                        assert_eq!(words[..6], before);
                        json!({ "command": words[6], "args": words[7..] })
                    }
                };
                assert_eq!(server["command"], argv[0], "{client:?}");
                assert_eq!(server["args"], json!(argv[1..]), "{client:?}");
            }
        }
    }

    #[test]
    fn each_client_has_what_it_alone_wants() {
        let argv = argv(None);
        let vscode: Value = serde_json::from_str(&content(McpClient::Vscode, &argv)).unwrap();
        assert_eq!(vscode["servers"]["remit"]["type"], "stdio");
        let zed: Value = serde_json::from_str(&content(McpClient::Zed, &argv)).unwrap();
        assert_eq!(zed["context_servers"]["remit"]["source"], "custom");
        let codex: toml::Table = content(McpClient::Codex, &argv).parse().unwrap();
        assert_eq!(
            codex["mcp_servers"]["remit"]["tool_timeout_sec"].as_integer(),
            Some(120)
        );
        for client in McpClient::value_variants() {
            let config = config(*client, &"remit".parse().unwrap(), &argv);
            assert!(config.content.ends_with('\n') && !config.hints.is_empty());
        }
    }
}
