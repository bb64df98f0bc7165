//! Data of a sandbox as policy describes it: base, network and limits, resolved and checked. `remit-confine` compiles it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::machine::HostAddress;
pub use remit_common::inspect::Inspect;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    /// One sentence: what it shows and what it can change.
    pub summary: String,
    pub base: Base,
    pub user: User,
    /// Supplementary groups. In base `read` they are added to those of every job, otherwise these are all.
    pub groups: Vec<u32>,
    /// Capabilities that its jobs keep: bits as in capabilities(7).
    pub capabilities: u64,
    /// Visible; not writable, not executable. Base `strict`.
    pub read: Vec<Listed>,
    /// Visible and writable on the host; not executable. Bases `read` and `strict`.
    pub write: Vec<Listed>,
    /// Visible and executable in addition to `/usr`; not writable. Base `strict`.
    pub exec: Vec<Listed>,
    /// The job's own: empty at the start, writable, removed at the end, not executable; like `/tmp`. Base `strict`.
    pub scratch: Vec<String>,
    /// Permits paths in both `write` and `exec` to be writable and executable at once.
    pub write_and_exec: bool,
    /// Device nodes that work, besides the harmless ones. Bases `read` and `strict`.
    pub devices: Vec<Listed>,
    /// Unix sockets of the host that can be connected to, by path. Base `strict`.
    pub sockets: Vec<Listed>,
    /// The policy accepts that these paths lead to all of root; no warning.
    pub leads_to_root: bool,
    pub network: Network,
    /// Bytes that its jobs can write. Base `plan`; `None`: a part of the machine's memory.
    pub space: Option<u64>,
    /// Whose files its jobs can read. Base `plan`.
    pub eyes: Eyes,
    /// What only root sees and its commands look at. Base `read`, without any other right.
    pub inspect: Option<Inspect>,
    pub env: BTreeMap<String, String>,
    /// Limits on each job that differ from `remit.toml`.
    pub limits: ProfileLimits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    Own,
    /// This user; base `strict` or `host`.
    Fixed {
        name: String,
        /// 0 for root.
        uid: u32,
        gid: u32,
    },
}

/// A path that a profile lists: absolute, without `.`, `..`, doubled or final slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listed {
    pub path: String,
    /// Skipped if it is missing (written `-/path`). Without this flag nothing runs while it is missing.
    pub optional: bool,
}

/// Limits on one job; `None`: as in `remit.toml`. A profile lowers or raises them, the runtime within its bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileLimits {
    pub runtime_s: Option<u32>,
    pub memory: Option<u64>,
    pub tasks: Option<u64>,
    pub cpu_percent: Option<u32>,
    /// Open descriptors of a process; at least 32.
    pub open_files: Option<u64>,
    /// Bytes in each private directory.
    pub tmp: Option<u64>,
}

impl Profile {
    pub fn built_in() -> BTreeMap<String, Arc<Self>> {
        let all = [Self::read(), Self::strict(), Self::host()];
        all.map(|one| (one.name.clone(), Arc::new(one))).into()
    }

    pub fn is_built_in(name: &str) -> bool {
        ["read", "strict", "host"].contains(&name)
    }

    pub fn read() -> Self {
        let summary = "any program or script, as an own uid without privilege: sees what an \
                       operator's account sees (files, logs, processes, network state), can change \
                       nothing, reaches no network; /tmp is private and empty";
        Self::plain("read", summary, Base::Read)
    }

    pub fn strict() -> Self {
        let summary = "any program or script, as an own uid without privilege: sees /usr and little \
                       else, no host processes, no network, no files of the machine; /tmp is private \
                       and empty";
        Self::plain("strict", summary, Base::Strict)
    }

    pub fn host() -> Self {
        let summary = "no sandbox: runs as root with everything that root may";
        Self {
            user: User::Fixed {
                name: "root".into(),
                uid: 0,
                gid: 0,
            },
            network: Network::Host,
            ..Self::plain("host", summary, Base::Host)
        }
    }

    /// As the self-test builds it. A policy defines its own.
    pub fn plan() -> Self {
        let summary = "root of a copy of the machine; the machine stays as it is";
        Self::plain("plan", summary, Base::Plan)
    }

    fn plain(name: &str, summary: &str, base: Base) -> Self {
        Self {
            name: name.into(),
            summary: summary.into(),
            base,
            user: User::Own,
            groups: Vec::new(),
            capabilities: 0,
            read: Vec::new(),
            write: Vec::new(),
            exec: Vec::new(),
            scratch: Vec::new(),
            write_and_exec: false,
            devices: Vec::new(),
            sockets: Vec::new(),
            leads_to_root: false,
            network: Network::None,
            space: None,
            eyes: Eyes::Operator,
            inspect: None,
            env: BTreeMap::new(),
            limits: ProfileLimits::default(),
        }
    }

    pub fn capability_names(&self) -> Vec<String> {
        crate::model::capabilities::names(self.capabilities)
    }

    /// Returns true if nothing in it sees, reaches or changes more than in the profile `read`: no user, group, capability,
    /// device, socket, network, nothing to write. In base `strict` it also lists no host path that `read` might hide. Base
    /// `plan` takes memory that lasts, and `extract` sees what another job wrote.
    pub fn adds_nothing_to_read(&self) -> bool {
        matches!(self.base, Base::Read | Base::Strict)
            && self.changes_nothing()
            && self.user == User::Own
            && self.groups.is_empty()
            && self.capabilities == 0
            && self.inspect.is_none()
            && self.read.is_empty()
            && self.exec.is_empty()
    }

    /// Returns true if `run` may be granted in it: programs cannot change the host, reach beyond it, or inspect it.
    pub fn takes_any_program(&self) -> bool {
        self.changes_nothing() && self.inspect.is_none() && self.base != Base::Extract
    }

    /// Returns true if a grant for a time can cover it: a sandbox confines them, and each may show the same.
    pub fn may_be_pre_approved(&self) -> bool {
        self.base != Base::Host && self.inspect != Some(Inspect::File)
    }

    /// Returns true if no program in it can change the host or reach beyond it, but for names that an administrator lists for
    /// copies: a GET changes nothing by its meaning, and can carry out what a job sees.
    pub fn changes_nothing(&self) -> bool {
        /// `CAP_DAC_READ_SEARCH`: more to see, nothing to change.
        const HARMLESS: u64 = 1 << 2;
        self.base != Base::Host && self.reaches_nothing() && self.capabilities & !HARMLESS == 0
    }

    /// Returns as whom its jobs see more than an account of their own would: a user, or a capability.
    pub fn sees_as(&self) -> Option<&str> {
        /// `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH`, `CAP_SETGID`, `CAP_SETUID`.
        const SEES: u64 = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7;
        match &self.user {
            User::Fixed { name, .. } => Some(name),
            User::Own if self.capabilities & SEES != 0 => Some("root"),
            User::Own if self.eyes == Eyes::Root => Some("root"),
            User::Own if !self.groups.is_empty() => Some("a group of it"),
            User::Own => None,
        }
    }

    /// Returns true if it lists nothing to write, no socket, no device, and no host but by name for a copy.
    pub(crate) fn reaches_nothing(&self) -> bool {
        self.write.is_empty()
            && self.sockets.is_empty()
            && self.devices.is_empty()
            && matches!(
                self.network,
                Network::None | Network::Loopback | Network::Names(_)
            )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Base {
    /// Sees what an operator's account sees, changes only what is listed.
    Read,
    /// Sees only what is listed, in namespaces of its own.
    Strict,
    /// No sandbox: all rights of the user.
    Host,
    /// Root of a copy of the machine, as far as [`Eyes`] see it. Nothing of the machine changes.
    Plan,
    /// Reads what a job of base `plan` made of its copy.
    Extract,
}

impl Base {
    /// Returns true if nothing beside base, network, space, eyes, variables and limits can be said of it.
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::Plan | Self::Extract)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Strict => "strict",
            Self::Host => "host",
            Self::Plan => "plan",
            Self::Extract => "extract",
        }
    }
}

/// What a job reads in its copy of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Eyes {
    /// What an operator's account can read.
    #[default]
    Operator,
    /// What root can read, but for remit's own files and the passwords in the tables of accounts.
    Root,
}

impl Eyes {
    pub const ALL: [(&str, Self); 2] = [("operator", Self::Operator), ("root", Self::Root)];

    /// Returns which part of the machine its copy shows, as the end of a phrase.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Operator => "as far as an operator's account sees it",
            Self::Root => "and reads every file of it as root does, private keys too",
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
    /// Only TCP to this host's own addresses, and its own loopback. Base `strict`.
    ThisHost,
    /// GET and HEAD of HTTP at these names and ports, and its own loopback. Base `plan`.
    Names(Vec<(String, u16)>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    pub host: String,
    /// The addresses when the policy was loaded. If there are none, nothing can run in the profile.
    pub addresses: Vec<HostAddress>,
    pub port: u16,
}
