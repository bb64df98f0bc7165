//! What others offer: launchers of sandboxes and MCP servers that are installed here, by name (`peers.toml`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::Failure;

/// One of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name in the table.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it is started. A launcher gets the program to run behind that.
    pub argv: Vec<String>,
    /// The tool of an MCP server that runs `/bin/true`.
    #[serde(default)]
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: BTreeMap<String, toml::Value>,
    /// What an answer must hold if it ran.
    #[serde(default)]
    pub expect: String,
}

/// What a [`Peer`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A program that runs another one.
    Launcher,
    /// A server on standard input and output.
    Mcp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    peer: Vec<Peer>,
}

/// Those of a file.
pub fn read(path: &Path) -> Result<Vec<Peer>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read '{}': {e}", path.display()))?;
    parse(&text).map_err(|e| format!("'{}': {e}", path.display()).into())
}

fn parse(text: &str) -> Result<Vec<Peer>, Failure> {
    let file: File = toml::from_str(text)?;
    for peer in &file.peer {
        let has_tool = !peer.tool.is_empty();
        if peer.argv.is_empty() || has_tool != (peer.kind == Kind::Mcp) {
            return Err(format!(
                "'{}': 'argv' must name a program, and 'tool' is for the kind \"mcp\"",
                peer.name
            )
            .into());
        }
    }
    Ok(file.peer)
}

impl Peer {
    /// Its command; `None` where it is not installed.
    pub fn command(&self) -> Option<Command> {
        let (program, args) = self.argv.split_first()?;
        let mut command = Command::new(installed(program)?);
        command.args(args);
        Some(command)
    }

    /// `params` of `tools/call`, as JSON.
    pub fn params(&self) -> Result<String, Failure> {
        let params = serde_json::json!({"name": self.tool, "arguments": self.arguments});
        Ok(serde_json::to_string(&params)?)
    }
}

/// Where a program lies: what has a `/` where it says, all else on PATH.
fn installed(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_beside_us_is_understood() {
        let peers = parse(include_str!("../peers.toml")).expect("it is");
        assert!(peers.iter().any(|peer| peer.kind == Kind::Launcher));
        let server = peers.iter().find(|peer| peer.kind == Kind::Mcp);
        let params = server.expect("one").params().expect("JSON");
        assert!(params.starts_with(r#"{"arguments":{"#), "{params}");
    }

    #[test]
    fn a_server_needs_a_tool_and_a_launcher_none() {
        for (text, good) in [
            ("", true),
            (
                "[[peer]]\nname = 'a'\nkind = 'launcher'\nargv = ['a']",
                true,
            ),
            ("[[peer]]\nname = 'a'\nkind = 'launcher'\nargv = []", false),
            ("[[peer]]\nname = 'a'\nkind = 'mcp'\nargv = ['a']", false),
            (
                "[[peer]]\nname = 'a'\nkind = 'mcp'\nargv = ['a']\ntool = 't'\narguments = {n = 1}",
                true,
            ),
            ("[[peer]]\nname = 'a'\nkind = 'x'\nargv = ['a']", false),
        ] {
            assert_eq!(parse(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn programs_are_found_on_path_or_not_at_all() {
        assert!(installed("true").is_some() && installed("/bin/true").is_some());
        assert!(installed("no-such-program").is_none() && installed("/no/such").is_none());
    }
}
