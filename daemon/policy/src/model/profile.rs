//! A sandbox as policy describes it: names resolved, everything checked. Data alone; what puts it
//! up is `remit-confine`.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A sandbox that jobs run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name in policy files, requests and records.
    pub name: String,
    /// One sentence: what it shows and what it can change.
    pub summary: String,
    /// What it is made of.
    pub base: Base,
    /// Who its jobs are.
    pub user: User,
    /// Supplementary groups: of base `read` besides those of every job, else exactly these.
    pub groups: Vec<u32>,
    /// Capabilities that its jobs keep: bits as in capabilities(7), 0 for none.
    pub capabilities: u64,
    /// Seen, not changed, not executed. Base `strict`.
    pub read: Vec<Listed>,
    /// Seen and changed on the host, not executed. Bases `read` and `strict`.
    pub write: Vec<Listed>,
    /// Seen and executed, not changed, besides `/usr`. Base `strict`.
    pub exec: Vec<Listed>,
    /// The job's own, empty at the start, writable, gone at the end, not executed; besides `/tmp`
    /// and its kin. Base `strict`.
    pub scratch: Vec<String>,
    /// What stands in both `write` and `exec` may be both at once: only where the policy says so.
    pub write_and_exec: bool,
    /// Device nodes that work, besides the harmless ones. Bases `read` and `strict`.
    pub devices: Vec<Listed>,
    /// Unix sockets of the host that can be connected to, by path. Base `strict`.
    pub sockets: Vec<Listed>,
    /// What of these leads to all of root is meant to, and nobody is warned of it.
    pub leads_to_root: bool,
    /// What it reaches.
    pub network: Network,
    /// Variables of each of its jobs, besides those of every job.
    pub env: BTreeMap<String, String>,
    /// Bounds on each job, where they differ from those of `remit.toml`.
    pub limits: ProfileLimits,
}

/// What a profile is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// Sees what an operator's account sees, changes nothing but what is listed.
    Read,
    /// Sees only what is listed, in namespaces of its own.
    Strict,
    /// No sandbox: whatever the user may.
    Host,
}

/// Who a profile's jobs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// A uid of its own for each job.
    Own,
    /// This user; base `strict` or `host`.
    Fixed {
        /// Its name, or `#uid`.
        name: String,
        /// Its uid, 0 for root.
        uid: u32,
        /// Its primary gid.
        gid: u32,
    },
}

/// A path that a profile lists: absolute, without `.`, `..`, doubled or final slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The path.
    pub path: String,
    /// Left out where it is not there (written `-/path`); else nothing runs without it.
    pub optional: bool,
}

/// What a profile's jobs reach by network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    None,
    /// Themselves: a loopback interface of the job's own. Base `strict`.
    Loopback,
    /// TCP to these alone, besides themselves. Base `strict`.
    Connect(Vec<Destination>),
    /// What the host reaches.
    Host,
}

/// Where a job may connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// A name, or an address as text.
    pub host: String,
    /// What it stood for when the policy was loaded. Empty where no name server told: then nothing can
    /// run in the profile.
    pub addresses: Vec<IpAddr>,
    /// The TCP port, not 0.
    pub port: u16,
}

/// Bounds on one job; `None`: as `remit.toml` has it. A profile can lower and raise them, within the
/// bounds of `remit.toml` for runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProfileLimits {
    /// Seconds.
    pub runtime_s: Option<u32>,
    /// Bytes of the whole job.
    pub memory: Option<u64>,
    /// Tasks of the whole job.
    pub tasks: Option<u64>,
    /// Percent of one CPU for the whole job.
    pub cpu_percent: Option<u32>,
    /// Open descriptors of a process; at least 32.
    pub open_files: Option<u64>,
    /// Bytes in each private directory.
    pub tmp: Option<u64>,
}

impl Profile {
    /// The profile `read`, which no file defines.
    pub fn read() -> Self {
        let summary = "any program or script, as an own uid without privilege: sees what an \
                       operator's account sees (files, logs, processes, network state), can change \
                       nothing, reaches no network; /tmp is private and empty";
        Self::plain("read", summary, Base::Read)
    }

    /// The profile `strict`, which no file defines.
    pub fn strict() -> Self {
        let summary = "any program or script, as an own uid without privilege: sees /usr and little \
                       else, no host processes, no network, no files of the machine; /tmp is private \
                       and empty";
        Self::plain("strict", summary, Base::Strict)
    }

    /// The profile `host`, which no file defines.
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
            env: BTreeMap::new(),
            limits: ProfileLimits::default(),
        }
    }

    /// The names of its capabilities, as `CAP_CHOWN`.
    pub fn capability_names(&self) -> Vec<String> {
        crate::model::capabilities::names(self.capabilities)
    }

    /// Whether nothing that runs in it can change the host or reach beyond it, whatever it is: then
    /// `run` may be granted in it.
    pub fn changes_nothing(&self) -> bool {
        /// `CAP_DAC_READ_SEARCH`: more to see, nothing to change.
        const HARMLESS: u64 = 1 << 2;
        self.base != Base::Host
            && self.write.is_empty()
            && self.sockets.is_empty()
            && self.devices.is_empty()
            && matches!(self.network, Network::None | Network::Loopback)
            && self.capabilities & !HARMLESS == 0
    }
}
