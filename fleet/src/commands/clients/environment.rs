//! The environment in which a client starts a server. Pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use remit_clients::{AGENT, DESKTOP_PATH, McpClient, Passed, ServerEntry};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub variables: BTreeMap<OsString, OsString>,
    /// The working directory; `None` is the one where the client was started.
    pub directory: Option<&'static str>,
    /// The socket of an agent that this program has and the server will not have.
    pub lost_agent: Option<OsString>,
}

impl Environment {
    /// `own` is the environment of the shell from which the client is configured.
    pub fn from_client(
        client: McpClient,
        entry: &ServerEntry,
        own: &BTreeMap<OsString, OsString>,
    ) -> Self {
        let start = client.start();
        let is_passed = |name: &OsString| match start.passes {
            Passed::All => true,
            Passed::Only(names) => names.iter().any(|one| name == one),
        };
        let mut variables: BTreeMap<OsString, OsString> = own
            .iter()
            .filter(|(name, _)| is_passed(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if start.is_application {
            variables.insert("PATH".into(), DESKTOP_PATH.into());
            variables.remove(OsStr::new("TERM"));
        }
        let socket = own.get(OsStr::new(AGENT));
        match (&entry.agent, entry.agent_text(client)) {
            (Some(agent), _) => {
                variables.insert(AGENT.into(), agent.as_str().into());
            }
            // A reference to the client's own.
            (None, Some(_)) => {
                variables.insert(AGENT.into(), socket.cloned().unwrap_or_default());
            }
            (None, None) => {}
        }
        let has_agent = variables.contains_key(OsStr::new(AGENT));
        Self {
            lost_agent: socket.filter(|_| !has_agent).cloned(),
            directory: start.is_application.then_some("/"),
            variables,
        }
    }

    /// The same with the agent.
    pub fn with_agent(&self, socket: OsString) -> Self {
        let mut with = self.clone();
        with.variables.insert(AGENT.into(), socket);
        with
    }

    /// Names of the variables, for a person.
    pub fn names(&self) -> String {
        let names = self.variables.keys().map(|name| name.to_string_lossy());
        names.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(client: McpClient, agent: Option<&str>) -> Environment {
        let own = [
            ("HOME", "/h"),
            ("PATH", "/own"),
            ("TERM", "t"),
            ("EDITOR", "vi"),
            (AGENT, "/s"),
        ];
        let own = own.map(|(name, value)| (name.into(), value.into()));
        let entry = ServerEntry {
            name: "remit".parse().unwrap(),
            command: vec!["ssh".into()],
            agent: agent.map(|agent| agent.parse().unwrap()),
            os: None,
            notes: Vec::new(),
        };
        Environment::from_client(client, &entry, &BTreeMap::from(own))
    }

    #[test]
    fn server_gets_what_its_client_passes_on() {
        for (client, names, directory) in [
            (McpClient::Generic, "HOME PATH TERM", None),
            (
                McpClient::ClaudeCode,
                "EDITOR HOME PATH SSH_AUTH_SOCK TERM",
                None,
            ),
            (McpClient::Codex, "HOME PATH SSH_AUTH_SOCK TERM", None),
            (McpClient::Cursor, "HOME PATH SSH_AUTH_SOCK TERM", None),
            (McpClient::ClaudeDesktop, "HOME PATH", Some("/")),
        ] {
            let environment = of(client, None);
            assert_eq!(environment.names(), names, "{client:?}");
            assert_eq!(environment.directory, directory, "{client:?}");
            let is_lost = !names.contains(AGENT);
            assert_eq!(environment.lost_agent.is_some(), is_lost, "{client:?}");
        }
        let desktop = of(McpClient::ClaudeDesktop, None);
        assert_eq!(desktop.variables[&OsString::from("PATH")], DESKTOP_PATH);
    }

    #[test]
    fn agent_of_the_entry_counts() {
        let named = of(McpClient::Generic, Some("/a"));
        assert_eq!(
            (&named.variables[&OsString::from(AGENT)], named.lost_agent),
            (&"/a".into(), None)
        );
        let own = of(McpClient::ClaudeCode, Some("/a"));
        assert_eq!(own.variables[&OsString::from(AGENT)], "/a");
        let retried = of(McpClient::Generic, None).with_agent("/s".into());
        assert_eq!(retried.variables[&OsString::from(AGENT)], "/s");
    }
}
