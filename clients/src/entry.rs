//! What a client starts: ssh to one host, or `remit-fleet`.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueHint};
use remit_common::text;

use crate::client::{McpClient, Os};
use crate::destination::{Destination, ServerName, UserName};

/// The variable with the socket of the ssh agent.
pub const AGENT: &str = "SSH_AUTH_SOCK";

/// Options of an entry. They are the same wherever one is made.
#[derive(Clone, Debug, Args)]
pub struct EntryArgs {
    /// The agent's account on HOST
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username, requires = "host")]
    pub user: Option<UserName>,

    /// File with the agent's private key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "host")]
    pub identity: Option<KeyFile>,

    /// Socket of the ssh agent, for a client that does not pass SSH_AUTH_SOCK on
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub agent: Option<AgentSocket>,

    /// System of the client's computer: it decides where ssh is
    #[arg(long, value_name = "OS", requires = "host")]
    pub os: Option<Os>,

    /// What the client calls this server [default: the machine's name, without its domain]
    #[arg(long, value_name = "NAME")]
    pub name: Option<ServerName>,
}

/// A path that a client passes on in one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile(String);

/// An absolute path of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSocket(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPath(&'static str);

impl fmt::Display for NoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoPath {}

fn is_one_line(text: &str) -> bool {
    text.chars()
        .all(|c| text::is_plain(c) && !matches!(c, '\n' | '\t'))
}

/// Some clients take these for references to variables and files.
const REFERENCES: [&str; 3] = ["${", "{env:", "{file:"];

fn is_passed_on(text: &str) -> bool {
    is_one_line(text) && !REFERENCES.iter().any(|start| text.contains(start))
}

impl FromStr for KeyFile {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        if !is_passed_on(text) {
            return Err(NoPath(
                "it is no name of a file that a client could pass on",
            ));
        }
        is_anchored(text)
            .then(|| Self(text.to_owned()))
            .ok_or(NoPath(
                "it must be an absolute path, or begin with '~/' or '%d/': a client starts ssh in another directory",
            ))
    }
}

/// The path has the same meaning in every working directory, on the client's system or as ssh(1) expands it.
fn is_anchored(path: &str) -> bool {
    let is_on_drive =
        matches!(path.as_bytes(), [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic());
    is_on_drive
        || ["/", "~/", "%d/", r"\\"]
            .iter()
            .any(|start| path.starts_with(start))
}

impl FromStr for AgentSocket {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        // '$' and braces are references in some clients.
        let is_path = text.starts_with('/') && is_one_line(text) && !text.contains(['$', '{']);
        is_path.then(|| Self(text.to_owned())).ok_or(NoPath(
            "it must be the absolute path of a socket, as 'echo $SSH_AUTH_SOCK' shows it",
        ))
    }
}

impl AgentSocket {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client starts, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    pub name: ServerName,
    /// Program and arguments.
    pub command: Vec<String>,
    pub agent: Option<AgentSocket>,
    pub os: Option<Os>,
    /// Notes for a person about the choice of the command.
    pub notes: Vec<String>,
}

impl ServerEntry {
    /// The entry of one host: ssh(1). An error says which options exclude each other.
    pub fn ssh(client: McpClient, mut to: Destination, args: EntryArgs) -> Result<Self, String> {
        if args.os == Some(Os::Windows) && args.agent.is_some() {
            return Err(
                "--agent names a socket, and ssh of Windows finds its agent without one: leave --agent out".to_owned(),
            );
        }
        match (&to.user, args.user) {
            (Some(_), Some(_)) => {
                return Err("USER@HOST and --user name a user each: give one".to_owned());
            }
            (None, Some(user)) => to.user = Some(user.to_string()),
            (Some(_) | None, None) => {}
        }
        let identity = args.identity.as_ref().map(|identity| identity.0.as_str());
        let command = ssh(ssh_path(client, args.os), &to, identity);
        let mut notes = Vec::new();
        if to.user.is_none() {
            notes.push(
                "without --user ssh logs in by the name it chooses itself, not the agent's"
                    .to_owned(),
            );
        }
        let (shell, check) = match (args.os, command.split_first()) {
            // PowerShell takes a quoted first word as a text, and the path of ssh needs no quotes there.
            (Some(Os::Windows), Some((program, words))) => (
                " in cmd.exe or PowerShell",
                format!("{program} {}", shell_line(args.os, words)),
            ),
            _ => ("", shell_line(args.os, &command)),
        };
        notes.push(format!(
            "first check{shell} that this works without asking for a password: {check} --check"
        ));
        Ok(Self {
            name: args.name.unwrap_or_else(|| ServerName::of(&to)),
            command,
            agent: args.agent,
            os: args.os,
            notes,
        })
    }

    /// The entry of all hosts of `fleet.toml`: `command` is remit-fleet. An error says which word no client could pass on.
    pub fn fleet(command: Vec<String>, args: EntryArgs) -> Result<Self, String> {
        if let Some(word) = command.iter().find(|word| !is_passed_on(word)) {
            let word = text::line(word.as_bytes(), usize::MAX);
            return Err(format!(
                "'{word}' is nothing that each client passes on as it is: give the file another name"
            ));
        }
        Ok(Self {
            name: args.name.unwrap_or_default(),
            command,
            agent: args.agent,
            os: args.os,
            notes: Vec::new(),
        })
    }

    /// The text of `SSH_AUTH_SOCK` in the configuration, if it has to name that.
    pub fn agent_text(&self, client: McpClient) -> Option<String> {
        match &self.agent {
            Some(agent) => Some(agent.0.clone()),
            // ssh of Windows finds its agent without it.
            None if self.os == Some(Os::Windows) => None,
            None => client.reference(AGENT),
        }
    }
}

/// Returns the words as a line for a shell of the client's computer.
pub(crate) fn shell_line(os: Option<Os>, words: &[String]) -> String {
    if os != Some(Os::Windows) {
        return text::command_line(words, usize::MAX);
    }
    // Double quotes are those of all its shells: cmd.exe knows no others, and bash needs some around a backslash.
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+,-./:=@_".contains(c);
        match word.is_empty() || !word.chars().all(is_plain) {
            true if word.contains(['"', '$', '`']) => text::command_line(&[word], usize::MAX),
            true => format!("\"{word}\""),
            false => word.clone(),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Returns where ssh is. Applications have a short PATH, and on Windows others install an ssh without the agent.
fn ssh_path(client: McpClient, os: Option<Os>) -> &'static str {
    match os {
        Some(Os::Windows) => r"C:\Windows\System32\OpenSSH\ssh.exe",
        Some(Os::Macos) => "/usr/bin/ssh",
        Some(Os::Linux) if client.start().is_application => "/usr/bin/ssh",
        Some(Os::Linux) | None => "ssh",
    }
}

/// Returns the ssh(1) command that a client starts. It uses no terminal and no prompts. Keep-alives detect a dead
/// connection within 45 seconds, before clients time out a call at 60. The job continues. The host gets neither the user's agent
/// nor forwardings, whose ports another ssh of the user may have.
fn ssh(program: &str, to: &Destination, identity: Option<&str>) -> Vec<String> {
    let mut argv: Vec<&str> = vec![program, "-T", "-a"];
    if let Some(identity) = identity {
        argv.extend(["-i", identity, "-o", "IdentitiesOnly=yes"]);
    }
    for option in [
        "BatchMode=yes",
        "ClearAllForwardings=yes",
        "ServerAliveInterval=15",
    ] {
        argv.extend(["-o", option]);
    }
    let to = to.to_string();
    argv.extend([to.as_str(), "mcp-shim"]);
    argv.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> EntryArgs {
        EntryArgs {
            user: None,
            identity: None,
            agent: None,
            os: None,
            name: None,
        }
    }

    fn entry(client: McpClient, args: EntryArgs) -> ServerEntry {
        ServerEntry::ssh(client, "web-1.example.org".parse().unwrap(), args).unwrap()
    }

    #[test]
    fn command_never_prompts() {
        let user = Some("agent".parse().unwrap());
        let plain = entry(
            McpClient::Cursor,
            EntryArgs {
                user: user.clone(),
                ..args()
            },
        );
        assert_eq!(
            plain.command.join(" "),
            "ssh -T -a -o BatchMode=yes -o ClearAllForwardings=yes -o ServerAliveInterval=15 agent@web-1.example.org mcp-shim"
        );
        assert_eq!(plain.name.as_str(), "web-1");
        assert_eq!(plain.notes.len(), 1, "{:?}", plain.notes);
        let identity = Some("~/.ssh/my key".parse().unwrap());
        let with_key = entry(McpClient::Cursor, EntryArgs { identity, ..args() });
        assert_eq!(
            with_key.command.get(3..7).unwrap(),
            ["-i", "~/.ssh/my key", "-o", "IdentitiesOnly=yes"]
        );
        assert_eq!(with_key.notes.len(), 2, "no user: {:?}", with_key.notes);
        let twice = ServerEntry::ssh(
            McpClient::Cursor,
            "a@web".parse().unwrap(),
            EntryArgs { user, ..args() },
        );
        assert!(twice.unwrap_err().contains("give one"));
    }

    #[test]
    fn documents_show_the_entry_that_is_printed() {
        let entry = ServerEntry::ssh(McpClient::Generic, "agent@web1".parse().unwrap(), args());
        let args = serde_json::to_string(&entry.unwrap().command[1..]).unwrap();
        for document in [
            include_str!("../../README.md"),
            include_str!("../../packaging/man/mcp-shim.1"),
        ] {
            let plain: String = document.split_whitespace().collect();
            assert!(plain.replace(r"\-", "-").contains(&args), "{args}");
        }
    }

    #[test]
    fn ssh_is_where_the_client_finds_it() {
        for (client, os, expect) in [
            (McpClient::Cursor, None, "ssh"),
            (McpClient::ClaudeDesktop, None, "ssh"),
            (McpClient::Cursor, Some(Os::Linux), "ssh"),
            (McpClient::ClaudeDesktop, Some(Os::Linux), "/usr/bin/ssh"),
            (McpClient::Antigravity, Some(Os::Macos), "/usr/bin/ssh"),
            (
                McpClient::Zed,
                Some(Os::Windows),
                r"C:\Windows\System32\OpenSSH\ssh.exe",
            ),
        ] {
            assert_eq!(
                entry(client, EntryArgs { os, ..args() }).command[0],
                expect,
                "{client:?}"
            );
        }
    }

    #[test]
    fn line_is_quoted_for_the_shells_of_the_system() {
        let words = ["C:\\a b\\ssh.exe", "-T", "agent@web", "", "a$b", "it's"].map(str::to_owned);
        for (os, expect) in [
            (None, r"'C:\a b\ssh.exe' -T agent@web '' 'a$b' 'it'\''s'"),
            (
                Some(Os::Windows),
                r#""C:\a b\ssh.exe" -T agent@web "" 'a$b' "it's""#,
            ),
        ] {
            assert_eq!(shell_line(os, &words), expect);
        }
        let windows = EntryArgs {
            os: Some(Os::Windows),
            ..args()
        };
        let note = entry(McpClient::ClaudeCode, windows).notes.concat();
        assert!(
            note.contains(r": C:\Windows\System32\OpenSSH\ssh.exe -T "),
            "{note}"
        );
    }

    #[test]
    fn word_that_no_client_passes_on_is_refused() {
        let fleet = |config: &str| {
            let command = ["remit-fleet", "--config", config].map(str::to_owned);
            ServerEntry::fleet(command.into(), args())
        };
        assert!(fleet("/home/me/my fleet.toml").is_ok());
        for config in ["/a\nb", "/a\tb", "/a\u{1b}[2Jb", "/a\u{202e}b", "/{file:x}"] {
            let why = fleet(config).unwrap_err();
            assert!(
                why.chars().all(text::is_plain) && why.contains("another name"),
                "{why}"
            );
        }
    }

    #[test]
    fn agent_is_a_path_or_a_reference() {
        for text in [
            "",
            "agent",
            "~/agent",
            "/a\nb",
            "/a\u{1b}b",
            "/${HOME}/a",
            "/{a}",
        ] {
            assert!(text.parse::<AgentSocket>().is_err(), "{text:?}");
        }
        for text in [
            "",
            "-oProxyCommand=x",
            "a\nb",
            "a\tb",
            "a\u{202e}b",
            "/${HOME}/a",
            "/{env:HOME}/a",
            "key",
            "./key",
            "~",
            "~key",
            "%d",
            r"\key",
            "C:key",
            "1:/key",
        ] {
            assert!(text.parse::<KeyFile>().is_err(), "{text:?}");
        }
        for text in ["/k", "~/k", "%d/k", r"C:\k", "c:/k", r"\\server\share\k"] {
            assert!(text.parse::<KeyFile>().is_ok(), "{text:?}");
        }
        let agent = Some("/run/user/7/agent".parse().unwrap());
        let literal = entry(McpClient::Cursor, EntryArgs { agent, ..args() });
        assert_eq!(
            literal.agent_text(McpClient::Cursor).unwrap(),
            "/run/user/7/agent"
        );
        let none = entry(McpClient::Cursor, args());
        assert_eq!(
            none.agent_text(McpClient::Cursor).unwrap(),
            "${env:SSH_AUTH_SOCK}"
        );
        assert_eq!(
            none.agent_text(McpClient::CopilotCli).unwrap(),
            "${SSH_AUTH_SOCK:-}"
        );
        assert_eq!(none.agent_text(McpClient::ClaudeDesktop), None);
        let windows = entry(
            McpClient::Cursor,
            EntryArgs {
                os: Some(Os::Windows),
                ..args()
            },
        );
        assert_eq!(windows.agent_text(McpClient::Cursor), None);
        let socket = ServerEntry::ssh(
            McpClient::Cursor,
            "web".parse().unwrap(),
            EntryArgs {
                os: Some(Os::Windows),
                agent: Some("/a".parse().unwrap()),
                ..args()
            },
        );
        assert!(socket.unwrap_err().contains("leave --agent out"));
    }
}
