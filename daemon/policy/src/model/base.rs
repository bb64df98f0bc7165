//! What a profile begins with: its base, and the network it reaches.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Base {
    /// Sees what an operator's account sees, changes only what is listed.
    Read,
    /// Sees only what is listed, in namespaces of its own.
    Strict,
    /// No sandbox: all rights of the user.
    Host,
}

impl Base {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Strict => "strict",
            Self::Host => "host",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    None,
    /// Only a loopback interface of the job's own. Base `strict`.
    Loopback,
    /// Only TCP to these, and its own loopback. Base `strict`.
    Connect(Vec<Destination>),
    Host,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    pub host: String,
    /// The addresses when the policy was loaded. If there are none, nothing can run in the profile.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}
