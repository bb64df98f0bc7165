//! What the loader asks about the machine, looked up beforehand: tables, no look-ups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A user's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ids {
    /// The uid.
    pub uid: u32,
    /// The primary gid.
    pub gid: u32,
}

/// What became of the file of a program that a command names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// It is there, and only root can change it or the way to it.
    Trusted,
    /// There is no such file.
    Missing,
    /// Why it is not to be executed: who else can change it, or what it is.
    Distrusted(String),
}

/// What the loader asks. The same question has the same answer throughout a load.
pub trait Machine {
    /// A user by name; `None` if there is none.
    fn user(&self, name: &str) -> Option<Ids>;
    /// The gid of a group; `None` if there is none.
    fn group(&self, name: &str) -> Option<u32>;
    /// All gids that a login of this user has, the primary one too; empty for one unknown.
    fn groups_of(&self, user: &str) -> Vec<u32>;
    /// The uids of a group's members, as far as the user database lists them.
    fn members(&self, gid: u32) -> Vec<u32>;
    /// Whether a user who is not there was there before, so that a denial of theirs is a leftover and no slip.
    fn was_there(&self, user: &str) -> bool;
    /// The addresses of a host name; empty if it has none. Never asked about an address.
    fn addresses(&self, host: &str) -> Vec<IpAddr>;
    /// The program at an absolute path.
    fn program(&self, path: &str) -> Program;
    /// The daemon's own files and directories, absolute: no profile may write them, nor what holds them.
    fn protected(&self) -> Vec<String>;
}

/// [`Machine`] as maps. What is not in them is not there; but programs are, and trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineTable {
    /// Users.
    pub users: BTreeMap<String, Ids>,
    /// Groups and their gids.
    pub groups: BTreeMap<String, u32>,
    /// All gids of users.
    pub members: BTreeMap<String, Vec<u32>>,
    /// The uids of groups' members, by gid.
    pub listed: BTreeMap<u32, Vec<u32>>,
    /// Users who are gone, and of whom denials may still speak.
    pub gone: BTreeSet<String>,
    /// Host names and their addresses.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Programs that are not plainly trusted.
    pub programs: BTreeMap<String, Program>,
    /// The daemon's own files and directories.
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

    fn was_there(&self, user: &str) -> bool {
        self.gone.contains(user)
    }

    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        self.hosts.get(host).cloned().unwrap_or_default()
    }

    fn program(&self, path: &str) -> Program {
        self.programs.get(path).cloned().unwrap_or(Program::Trusted)
    }

    fn protected(&self) -> Vec<String> {
        self.protected.clone()
    }
}
