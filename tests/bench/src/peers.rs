//! Sandbox launchers and MCP servers of other vendors that are installed here (`peers.toml`), and the small process that
//! runs `/bin/true` bare and in sandboxes and times it (`bin/small.rs`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::Failure;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub name: String,
    pub kind: Kind,
    /// Command line. A launcher gets the program to run as further arguments.
    pub argv: Vec<String>,
    /// The tool of an MCP server that runs `/bin/true`.
    #[serde(default)]
    pub tool: String,
    #[serde(default)]
    pub arguments: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub expect: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Launcher,
    Mcp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    peer: Vec<Peer>,
}

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
    pub fn command(&self) -> Option<Command> {
        let (program, args) = self.argv.split_first()?;
        let mut command = Command::new(installed(program)?);
        command.args(args);
        Some(command)
    }

    pub fn params(&self) -> Result<String, Failure> {
        let params = serde_json::json!({"name": self.tool, "arguments": self.arguments});
        Ok(serde_json::to_string(&params)?)
    }
}

/// Finds a program: by its path if it has a `/`, otherwise on PATH.
fn installed(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

pub struct Small {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl Small {
    pub fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe()?.with_file_name("remit-bench-small");
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start '{}': {e}", program.display()))?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().ok_or("no pipe")?),
            child,
            line: String::new(),
        })
    }

    /// Runs one way. Returns the time measured in the small process.
    pub fn run(&mut self, way: &str) -> Result<Duration, Failure> {
        let stdin = self.stdin.as_mut().ok_or("no pipe")?;
        stdin.write_all(format!("{way}\n").as_bytes())?;
        self.line.clear();
        if self.stdout.read_line(&mut self.line)? == 0 {
            return Err(format!("'{way}' failed in remit-bench-small").into());
        }
        Ok(Duration::from_nanos(self.line.trim_end().parse()?))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
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
    fn mcp_peer_requires_tool_launcher_refuses_none() {
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
    fn programs_are_searched_on_path() {
        assert!(installed("true").is_some() && installed("/bin/true").is_some());
        assert!(installed("no-such-program").is_none() && installed("/no/such").is_none());
    }
}
