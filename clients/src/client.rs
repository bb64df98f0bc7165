//! How each client starts a server: variables, `PATH`, working directory, timeouts, number of processes.

use std::time::Duration;

use clap::ValueEnum;

/// An MCP client whose configuration is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum McpClient {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Vscode,
    Zed,
    Codex,
    CopilotCli,
    Antigravity,
    Goose,
    Opencode,
    Generic,
}

/// System of the computer on which the client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Os {
    Linux,
    Macos,
    Windows,
}

/// The variables of its own environment that a client passes on to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    All,
    Only(&'static [&'static str]),
}

/// How a client starts a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartFacts {
    pub passes: Passed,
    /// Started from a desktop: `PATH` has only directories of the system, and the working directory is `/`.
    pub is_application: bool,
    /// Time for `initialize` and `tools/list`, with the printed entry.
    pub hello: Duration,
    /// Time for a call of a tool, with the printed entry.
    pub call: Duration,
    /// Looks for the newest protocol in a process of its own, and then starts the server: two logins.
    pub starts_twice: bool,
}

/// What the official SDKs pass on (run with npm sdk 1.32.2 and pip mcp 2.3.0; not on Windows).
const SDK: Passed = Passed::Only(&["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]);
/// Codex's own list (its repository, codex-rs/rmcp-client). `env_vars` of an entry adds to it.
const CODEX: Passed = Passed::Only(&[
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "USER",
    "__CF_USER_TEXT_ENCODING",
    "LANG",
    "LC_ALL",
    "TERM",
    "TMPDIR",
    "TZ",
    "SSH_AUTH_SOCK",
]);
/// `PATH` of an application that a macOS desktop starts.
pub const DESKTOP_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// Timeout of a request in the official TypeScript SDK, which most clients leave as it is.
const SDK_TIMEOUT: u64 = 60;

impl McpClient {
    /// The name as it is typed.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub fn start(self) -> StartFacts {
        let usual = StartFacts {
            passes: SDK,
            is_application: false,
            hello: Duration::from_secs(SDK_TIMEOUT),
            call: Duration::from_secs(SDK_TIMEOUT),
            starts_twice: false,
        };
        let seconds = Duration::from_secs;
        match self {
            // Reported by users: about 60 seconds, not to be changed.
            Self::ClaudeDesktop => StartFacts {
                is_application: true,
                ..usual
            },
            // Its documentation: MCP_TIMEOUT is 30 s; a call may last for hours, so the longest of remit counts. Reported by
            // users: a server gets its whole environment.
            Self::ClaudeCode => StartFacts {
                passes: Passed::All,
                hello: seconds(30),
                ..usual
            },
            Self::Cursor => usual,
            // Reported by users: both pass the environment of a login shell on.
            Self::Vscode | Self::Zed => StartFacts {
                passes: Passed::All,
                ..usual
            },
            // Written into the entry; its own default for the start is 10 s.
            Self::Codex => StartFacts {
                passes: CODEX,
                hello: seconds(CODEX_HELLO),
                call: seconds(CALL),
                ..usual
            },
            // Its issue 903: since 1.0.10 it passes on "safe" variables, which nobody lists; before, PATH alone.
            Self::CopilotCli => StartFacts {
                call: seconds(CALL),
                ..usual
            },
            // Reported by users: the application has hardly any environment; a call ends after 180 s (its issue 780).
            Self::Antigravity => StartFacts {
                is_application: true,
                call: seconds(180),
                ..usual
            },
            // Its repository, extension_manager.rs: a server gets its whole environment. The time is in the entry.
            Self::Goose => StartFacts {
                passes: Passed::All,
                hello: seconds(GOOSE),
                call: seconds(GOOSE),
                ..usual
            },
            // Its repository, src/mcp/index.ts: a server gets its whole environment. The time is in the entry. One number bounds
            // the listing of tools and each call (src/mcp/catalog.ts; its issue 39584).
            Self::Opencode => StartFacts {
                passes: Passed::All,
                hello: seconds(CALL),
                call: seconds(CALL),
                ..usual
            },
            // The worst of all: nobody knows which client it is.
            Self::Generic => StartFacts {
                starts_twice: true,
                ..usual
            },
        }
    }

    /// How an entry names a variable of the client's own environment, if the client resolves that.
    pub fn reference(self, variable: &str) -> Option<String> {
        match self {
            // Its documentation of mcp.json.
            Self::Cursor => Some(format!("${{env:{variable}}}")),
            // Copilot CLI since 1.0.10 (its issue 903). Empty without the variable, which ssh takes as no agent.
            Self::CopilotCli => Some(format!("${{{variable}:-}}")),
            Self::ClaudeDesktop
            | Self::ClaudeCode
            | Self::Vscode
            | Self::Zed
            | Self::Codex
            | Self::Antigravity
            | Self::Goose
            | Self::Opencode
            | Self::Generic => None,
        }
    }
}

/// Seconds that an entry of Codex gives a start: ssh to a distant machine takes more than its 10.
pub const CODEX_HELLO: u64 = 20;
/// Seconds that entries give a call. One of remit takes at most 50, plus transfer.
pub const CALL: u64 = 120;
/// Seconds that an entry of Goose gives any operation.
pub const GOOSE: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_time_for_a_login_and_for_the_longest_call() {
        for client in McpClient::value_variants() {
            let start = client.start();
            assert!(start.hello >= Duration::from_secs(20), "{client:?}");
            assert!(start.call >= Duration::from_secs(60), "{client:?}");
        }
    }

    #[test]
    fn names_are_as_typed() {
        assert_eq!(McpClient::CopilotCli.name(), "copilot-cli");
        assert_eq!(McpClient::Opencode.name(), "opencode");
    }
}
