//! Defines the loader's questions about the machine, and tables with the answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// Only root can change it or the way to it.
    Trusted,
    Missing,
    /// The reason: who else can change it, or its type.
    Distrusted(String),
}

/// An address of a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostAddress {
    pub ip: IpAddr,
    /// True if root chose it: the policy or `/etc/hosts` has it. Any other is refused while this machine has it.
    pub may_be_own: bool,
}

impl<T: Into<IpAddr>> From<T> for HostAddress {
    fn from(ip: T) -> Self {
        Self {
            ip: ip.into(),
            may_be_own: false,
        }
    }
}

/// Answers the loader. Equal questions have equal answers throughout a load.
pub trait Machine {
    fn user(&self, name: &str) -> Option<Ids>;
    fn group(&self, name: &str) -> Option<u32>;
    /// Returns all gids of this user's login, with the primary one. Empty if the user is unknown.
    fn groups_of(&self, user: &str) -> Vec<u32>;
    /// Returns false if groups of users cannot be asked for: what depends on them is not known.
    fn knows_groups(&self) -> bool {
        true
    }
    /// Returns the uids of a group's members, as far as the user database lists them.
    fn members(&self, gid: u32) -> Vec<u32>;
    /// Returns the last known uid of a missing user: a denial continues for it. `None` if it was never known.
    fn last_uid(&self, user: &str) -> Option<u32>;
    fn last_gid(&self, group: &str) -> Option<u32>;
    /// Returns the addresses of a host name, empty if it has none. Never asked about an address.
    fn addresses(&self, host: &str) -> Vec<HostAddress>;
    fn program(&self, path: &str) -> Program;
    /// Returns the daemon's own files and directories, absolute. No profile may write them or a directory above them.
    fn protected(&self) -> Vec<String>;
}

/// [`Machine`] as maps. A missing entry does not exist, but a missing program is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineTable {
    pub users: BTreeMap<String, Ids>,
    pub groups: BTreeMap<String, u32>,
    pub members: BTreeMap<String, Vec<u32>>,
    /// The uids of groups' members, by gid.
    pub listed: BTreeMap<u32, Vec<u32>>,
    pub last_uids: BTreeMap<String, u32>,
    pub last_gids: BTreeMap<String, u32>,
    pub hosts: BTreeMap<String, Vec<HostAddress>>,
    pub programs: BTreeMap<String, Program>,
    pub protected: Vec<String>,
}

impl Machine for MachineTable {
    fn user(&self, name: &str) -> Option<Ids> {
        self.users.get(name).copied()
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        self.members.get(user).cloned().unwrap_or_default()
    }

    fn members(&self, gid: u32) -> Vec<u32> {
        self.listed.get(&gid).cloned().unwrap_or_default()
    }

    fn last_uid(&self, user: &str) -> Option<u32> {
        self.last_uids.get(user).copied()
    }

    fn last_gid(&self, group: &str) -> Option<u32> {
        self.last_gids.get(group).copied()
    }

    fn addresses(&self, host: &str) -> Vec<HostAddress> {
        self.hosts.get(host).cloned().unwrap_or_default()
    }

    fn program(&self, path: &str) -> Program {
        self.programs.get(path).cloned().unwrap_or(Program::Trusted)
    }

    fn protected(&self) -> Vec<String> {
        self.protected.clone()
    }
}
