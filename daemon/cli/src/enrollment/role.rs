//! Roles of enrolled accounts: the only command that a key of each may start, and what its line in authorized_keys
//! permits besides. An account has one role, so an agent never approves.

use serde::{Deserialize, Serialize};

use crate::openssh::options::Options;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Records of earlier releases have no role.
    #[default]
    Agent,
    Approver,
}

impl Role {
    /// sshd always runs this, whatever the client requests.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Agent => "/usr/bin/mcp-shim",
            Self::Approver => "/usr/bin/remit approver-shell",
        }
    }

    pub const fn program(self) -> &'static str {
        match self {
            Self::Agent => "/usr/bin/mcp-shim",
            Self::Approver => "/usr/bin/remit",
        }
    }

    /// Returns how a line begins. `restrict` denies all that sshd can forward, also in later releases (sshd(8)). An
    /// approver types the digest at a terminal.
    pub fn options(self) -> String {
        let terminal = match self {
            Self::Agent => "",
            Self::Approver => "pty,",
        };
        format!("restrict,{terminal}command=\"{}\"", self.command())
    }

    /// Returns true if remit could have written these options.
    pub fn has_written(self, options: &Options) -> bool {
        options.has("restrict")
            && options.command() == Some(self.command().as_bytes())
            && options.names().all(|name| match name {
                "restrict" | "command" | "expiry-time" => true,
                "pty" => self == Self::Approver,
                _ => false,
            })
    }

    pub const fn noun(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Approver => "approver",
        }
    }

    pub const fn with_article(self) -> &'static str {
        match self {
            Self::Agent => "an agent",
            Self::Approver => "an approver",
        }
    }

    pub const fn verb(self) -> &'static str {
        match self {
            Self::Agent => "enroll",
            Self::Approver => "enroll-approver",
        }
    }

    /// Marks accounts that remit made.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::Agent => "remit agent",
            Self::Approver => "remit approver",
        }
    }
}
