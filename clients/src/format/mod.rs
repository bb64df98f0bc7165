//! The text of an entry in each client's form, and where it belongs. JSON, TOML and YAML write strings and their arrays
//! alike, apart from control characters, which no entry has.

mod ordered;

use serde_json::{Value, json};

use crate::client::{CALL, CODEX_HELLO, GOOSE, McpClient, Os, Passed};
use crate::entry::{AGENT, ServerEntry, shell_line};
use ordered::Json;

#[derive(Debug)]
pub struct ConfigText {
    pub content: String,
    /// Sentences for the person who puts it there.
    pub hints: Vec<&'static str>,
}

impl ConfigText {
    pub fn new(client: McpClient, entry: &ServerEntry) -> Self {
        let content = content(client, entry, entry.agent_text(client).as_deref());
        let mut hints = hints(client).to_vec();
        let start = client.start();
        let is_windows = entry.os == Some(Os::Windows);
        if is_windows && client == McpClient::ClaudeCode {
            // Its issue 90439.
            hints.push("run it in cmd.exe: PowerShell takes '--' away");
        }
        let is_lost = matches!(start.passes, Passed::Only(names) if !names.contains(&AGENT));
        // ssh of Windows finds its agent without it.
        if is_lost && !is_windows && !content.contains(AGENT) {
            hints.push(
                "it passes no SSH_AUTH_SOCK on: name a key file with --identity, the agent's socket with --agent, or an \
                 IdentityAgent in ~/.ssh/config",
            );
        }
        Self { content, hints }
    }
}

/// The forms are those of the vendors' documentation: Claude (Desktop, Code), Cursor, VS Code, Zed, Codex, Copilot CLI, Antigravity
/// (`mcp_config.json`), Goose (`config-files`), opencode (`mcp-servers`).
fn content(client: McpClient, entry: &ServerEntry, agent: Option<&str>) -> String {
    let name = entry.name.as_str();
    let (program, args) = match entry.command.split_first() {
        Some((program, args)) => (program.as_str(), args),
        None => ("", [].as_slice()),
    };
    let command = || Some(Json::from(program));
    let arguments = || Some(Json::from(args.to_vec()));
    let env = || agent.map(|agent| Json::object([(AGENT, Some(agent.into()))]));
    let below = |key: &str, server: Json| {
        let servers = Json::object([(name, Some(server))]);
        Json::object([(key, Some(servers))]).pretty()
    };
    let plain = || {
        Json::object([
            ("command", command()),
            ("args", arguments()),
            ("env", env()),
        ])
    };
    match client {
        McpClient::ClaudeDesktop
        | McpClient::Cursor
        | McpClient::Antigravity
        | McpClient::Generic => below("mcpServers", plain()),
        McpClient::ClaudeCode => {
            let variable = agent.map(|agent| shell_line(entry.os, &[format!("{AGENT}={agent}")]));
            let variable = variable.map_or_else(String::new, |words| format!(" --env {words}"));
            let words = shell_line(entry.os, &entry.command);
            // --env takes all words up to the next option (its issue 62332): the name must not follow it.
            format!("claude mcp add{variable} --transport stdio --scope user {name} -- {words}\n")
        }
        McpClient::Vscode => {
            let server = Json::object([
                ("type", Some("stdio".into())),
                ("command", command()),
                ("args", arguments()),
                ("env", env()),
                ("sandboxEnabled", Some(false.into())),
            ]);
            below("servers", server)
        }
        McpClient::Zed => {
            let server = Json::object([
                ("source", Some("custom".into())),
                ("command", command()),
                ("args", arguments()),
                ("env", Some(env().unwrap_or(Json::Object(Vec::new())))),
            ]);
            below("context_servers", server)
        }
        McpClient::CopilotCli => {
            let server = Json::object([
                ("type", Some("local".into())),
                ("command", command()),
                ("args", arguments()),
                ("env", env()),
                ("tools", Some(vec!["*"].into())),
                ("timeout", Some((CALL * 1000).into())),
            ]);
            below("mcpServers", server)
        }
        McpClient::Opencode => {
            let server = Json::object([
                ("type", Some("local".into())),
                ("command", Some(entry.command.clone().into())),
                ("environment", env()),
                ("enabled", Some(true.into())),
                ("timeout", Some((CALL * 1000).into())),
            ]);
            let servers = Json::object([(name, Some(server))]);
            let schema = Some("https://opencode.ai/config.json".into());
            Json::object([("$schema", schema), ("mcp", Some(servers))]).pretty()
        }
        McpClient::Codex => {
            // Passed on if Codex itself has it.
            let variable = match agent {
                Some(agent) => format!("env = {{ {AGENT} = {} }}", value(json!(agent))),
                None => format!("env_vars = [\"{AGENT}\"]"),
            };
            format!(
                "[mcp_servers.{name}]\ncommand = {}\nargs = {}\n{variable}\n\
                 startup_timeout_sec = {CODEX_HELLO}\ntool_timeout_sec = {CALL}\n",
                value(json!(program)),
                value(json!(args)),
            )
        }
        McpClient::Goose => {
            let variable = match agent {
                Some(agent) => format!("    envs: {}\n", value(json!({ AGENT: agent }))),
                None => String::new(),
            };
            // Without quotes 'no' or 'null' would be no text.
            let key = value(json!(name));
            format!(
                "extensions:\n  {key}:\n    enabled: true\n    type: stdio\n    name: {key}\n    \
                 description: servers that run remit\n    cmd: {}\n    args: {}\n{variable}    timeout: {GOOSE}\n",
                value(json!(program)),
                value(json!(args)),
            )
        }
    }
}

fn value(value: Value) -> String {
    value.to_string()
}

fn hints(client: McpClient) -> &'static [&'static str] {
    match client {
        McpClient::ClaudeDesktop => &[
            "put it into claude_desktop_config.json (Settings, Developer, Edit Config) and start Claude Desktop again",
            "macOS: ~/Library/Application Support/Claude/; Linux: ~/.config/Claude/",
            // Its issue 26073: the installer since February 2026 is an MSIX package.
            "Windows: %APPDATA%\\Claude\\, and if no server appears %LOCALAPPDATA%\\Packages\\Claude_*\\LocalCache\\Roaming\\Claude\\",
        ],
        McpClient::ClaudeCode => &[
            "run this line; 'claude mcp list' shows whether it connects",
            "for one project alone leave out '--scope user', or put what 'client-config generic' prints into its .mcp.json",
            "Claude Code looks tools up when it needs them; \"alwaysLoad\": true in the entry loads them at the start",
        ],
        McpClient::Cursor => {
            &["put it into ~/.cursor/mcp.json, or .cursor/mcp.json of one project"]
        }
        McpClient::Vscode => &[
            "put it into the file that 'MCP: Open User Configuration' opens, or .vscode/mcp.json of one workspace",
            "leave its sandbox off: ssh needs the network and your keys, and in the sandbox no tool asks before it runs",
        ],
        McpClient::Zed => &[
            "put it into ~/.config/zed/settings.json ('zed: open settings file'); Windows: %APPDATA%\\Zed\\settings.json",
        ],
        McpClient::Codex => &["put it at the end of ~/.codex/config.toml"],
        McpClient::CopilotCli => &[
            "put it into ~/.copilot/mcp-config.json; '/mcp show' shows whether it connects",
            "Copilot looks tools up when it needs them; \"deferTools\": \"never\" in the entry loads them at the start",
        ],
        McpClient::Antigravity => &[
            "put it into ~/.gemini/config/mcp_config.json (before Antigravity 2: ~/.gemini/antigravity/mcp_config.json)",
        ],
        McpClient::Goose => &[
            "put it into ~/.config/goose/config.yaml; Windows: %APPDATA%\\Block\\goose\\config\\config.yaml",
            "if that has 'extensions:' already, leave the first line out and put the rest below it",
        ],
        McpClient::Opencode => &[
            "put it into ~/.config/opencode/opencode.json, or opencode.json of one project",
            "opencode 2 has servers below \"mcp\": {\"servers\": {}}, without \"enabled\", and \"timeout\": {\"startup\": 20000}",
        ],
        McpClient::Generic => &[
            "most clients read this form; those with a form of their own need the command and its arguments",
        ],
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn entry(identity: Option<&str>, agent: Option<&str>) -> ServerEntry {
        let mut command: Vec<&str> = vec!["ssh", "-T"];
        if let Some(identity) = identity {
            command.extend(["-i", identity]);
        }
        command.extend(["agent@web-1.example.org", "mcp-shim"]);
        ServerEntry {
            name: "remit".parse().unwrap(),
            command: command.into_iter().map(str::to_owned).collect(),
            agent: agent.map(|agent| agent.parse().unwrap()),
            os: None,
            notes: Vec::new(),
        }
    }

    fn config(client: McpClient, entry: &ServerEntry) -> String {
        ConfigText::new(client, entry).content
    }

    /// Reads the one form that no parser at hand reads: a line has a key and a value, and a value is JSON.
    fn goose(text: &str) -> Value {
        let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
        let pairs = lines.map(|line| {
            let (key, value) = line.split_once(": ").unwrap();
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            (key.to_owned(), value)
        });
        assert!(
            text.starts_with("extensions:\n  \"remit\":\n    "),
            "{text}"
        );
        Value::Object(pairs.collect())
    }

    /// The words that a shell makes of the line.
    fn words(line: &str) -> Vec<String> {
        let line = line.replacen("claude mcp add", "printf '%s\\n'", 1);
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &line])
            .output();
        let words = String::from_utf8(output.unwrap().stdout).unwrap();
        words.lines().map(str::to_owned).collect()
    }

    /// Returns the server in the form of most clients.
    fn read(client: McpClient, content: &str) -> Value {
        let json = |path: &str| {
            let value: Value = serde_json::from_str(content).unwrap();
            value.pointer(path).unwrap().clone()
        };
        match client {
            McpClient::ClaudeDesktop
            | McpClient::Cursor
            | McpClient::CopilotCli
            | McpClient::Antigravity
            | McpClient::Generic => json("/mcpServers/remit"),
            McpClient::Vscode => json("/servers/remit"),
            McpClient::Zed => json("/context_servers/remit"),
            McpClient::Codex => {
                let table: toml::Table = content.parse().unwrap();
                serde_json::to_value(&table["mcp_servers"]["remit"]).unwrap()
            }
            McpClient::Goose => {
                let server = goose(content);
                json!({ "command": server["cmd"], "args": server["args"], "env": server["envs"] })
            }
            McpClient::Opencode => {
                let server = json("/mcp/remit");
                let command = server["command"].as_array().unwrap();
                json!({ "command": command[0], "args": command[1..], "env": server["environment"] })
            }
            McpClient::ClaudeCode => {
                let words = words(content);
                let at = words.iter().position(|word| word == "--").unwrap();
                let options = ["--transport", "stdio", "--scope", "user", "remit"];
                assert_eq!(words[at - 5..at], options);
                // --env takes all words up to the next option.
                let env = match &words[..at - 5] {
                    [option, word] if option == "--env" => word.split_once('='),
                    [] => None,
                    other => panic!("{other:?}"),
                };
                let env = env.map(|(name, value)| json!({ name: value }));
                json!({ "command": words[at + 1], "args": words[at + 2..], "env": env })
            }
        }
    }

    /// A parser of each form must read back exactly the command, and the variable.
    #[test]
    fn every_client_reads_the_same_command() {
        for identity in [None, Some("C:\\keys\\\"my\" 'key' \u{fc}")] {
            for agent in [None, Some("/run/my 'agent\\ \u{fc}")] {
                let entry = entry(identity, agent);
                for client in McpClient::value_variants() {
                    let server = read(*client, &config(*client, &entry));
                    assert_eq!(server["command"], entry.command[0], "{client:?}");
                    assert_eq!(server["args"], json!(entry.command[1..]), "{client:?}");
                    let expect = agent.map(str::to_owned).or_else(|| client.reference(AGENT));
                    let found = server["env"][AGENT].as_str().map(str::to_owned);
                    assert_eq!(found, expect, "{client:?}");
                }
            }
        }
    }

    #[test]
    fn each_client_has_what_it_alone_wants() {
        let plain = entry(None, None);
        let of = |client| read(client, &config(client, &plain));
        let vscode = of(McpClient::Vscode);
        assert_eq!(
            (&vscode["type"], &vscode["sandboxEnabled"]),
            (&json!("stdio"), &json!(false))
        );
        assert_eq!(of(McpClient::Zed)["source"], "custom");
        let codex = of(McpClient::Codex);
        assert_eq!(
            (&codex["tool_timeout_sec"], &codex["env_vars"]),
            (&json!(120), &json!([AGENT]))
        );
        let literal = entry(None, Some("/a"));
        let codex = read(McpClient::Codex, &config(McpClient::Codex, &literal));
        assert_eq!(
            (&codex["env_vars"], &codex["env"][AGENT]),
            (&Value::Null, &json!("/a"))
        );
        let copilot = of(McpClient::CopilotCli);
        assert_eq!(
            (&copilot["type"], &copilot["tools"], &copilot["timeout"]),
            (&json!("local"), &json!(["*"]), &json!(120_000))
        );
        let goose = goose(&config(McpClient::Goose, &plain));
        assert_eq!(
            (&goose["enabled"], &goose["type"], &goose["timeout"]),
            (&json!(true), &json!("stdio"), &json!(300))
        );
        let opencode: Value = serde_json::from_str(&config(McpClient::Opencode, &plain)).unwrap();
        assert_eq!(
            (
                &opencode["mcp"]["remit"]["type"],
                &opencode["mcp"]["remit"]["timeout"]
            ),
            (&json!("local"), &json!(120_000))
        );
        for client in McpClient::value_variants() {
            let config = ConfigText::new(*client, &plain);
            assert!(config.content.ends_with('\n') && !config.hints.is_empty());
        }
    }

    #[test]
    fn client_without_an_agent_is_named() {
        let is_named_on = |client, agent, os| {
            let entry = ServerEntry {
                os,
                ..entry(None, agent)
            };
            let hints = ConfigText::new(client, &entry).hints;
            hints.iter().any(|hint| hint.contains("--agent"))
        };
        let is_named = |client, agent| is_named_on(client, agent, None);
        for client in [
            McpClient::ClaudeDesktop,
            McpClient::Antigravity,
            McpClient::Generic,
        ] {
            assert!(
                is_named(client, None) && !is_named(client, Some("/a")),
                "{client:?}"
            );
        }
        for client in [
            McpClient::Cursor,
            McpClient::Codex,
            McpClient::Vscode,
            McpClient::Opencode,
        ] {
            assert!(!is_named(client, None), "{client:?}");
        }
        for client in McpClient::value_variants() {
            assert!(!is_named_on(*client, None, Some(Os::Windows)), "{client:?}");
        }
    }

    #[test]
    fn line_for_windows_names_the_shell_that_takes_it() {
        for (os, expect) in [
            (None, false),
            (Some(Os::Macos), false),
            (Some(Os::Windows), true),
        ] {
            let entry = ServerEntry {
                os,
                ..entry(None, None)
            };
            let hints = ConfigText::new(McpClient::ClaudeCode, &entry)
                .hints
                .concat();
            assert_eq!(hints.contains("cmd.exe"), expect, "{hints}");
        }
    }
}
