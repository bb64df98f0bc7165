//! Units, sessions, listening sockets and the network.

use serde::{Deserialize, Serialize};

use super::List;

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    pub failed: List<FailedUnit>,
    /// Units that fail and are started again and again.
    pub restarting: List<String>,
    /// State of the whole system, as `running`, `degraded`; null where the manager did not tell.
    pub system: Option<String>,
    /// Loaded units by state, as `active`; at most 8 states.
    pub counts: Vec<StateCount>,
    /// Jobs waiting; null where the manager did not tell.
    pub jobs: Option<u64>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    pub state: String,
    pub count: u64,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedUnit {
    pub name: String,
    pub description: String,
    /// Result, as `exit-code`, `oom-kill`; null with `why`.
    pub result: Option<String>,
    /// Exit status or signal of the main process; null where it has none.
    pub status: Option<i32>,
    /// When, in seconds since 1970; null with `why`.
    pub since: Option<u64>,
    /// Why `result` or `since` is null.
    pub why: Option<String>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    pub sessions: Option<List<Session>>,
    /// Local accounts with a login shell: root and uid 1000 upward.
    pub accounts: Option<List<Account>>,
    /// Local groups whose members have more rights, where they exist.
    pub groups: Option<List<Group>>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub user: String,
    /// Terminal or seat; null for none.
    pub tty: Option<String>,
    /// Remote host; null for a local session, or if it is unknown.
    pub from: Option<String>,
    /// Since, in seconds since 1970; null if it is unknown.
    pub since: Option<u64>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub uid: u64,
    pub home: String,
    pub shell: String,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    /// Members, except those whose first group it is.
    pub members: List<String>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boots {
    pub uptime: Option<u64>,
    /// Time of boot, in seconds since 1970.
    pub booted: Option<u64>,
    pub last: Option<List<Boot>>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Start, in seconds since 1970.
    pub start: u64,
    /// Orderly shutdown, in seconds since 1970; null for a crash or the boot that runs now.
    pub end: Option<u64>,
    /// Kernel release; null where it was not recorded.
    pub kernel: Option<String>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Container {
    /// Engine, as `docker`, `podman`, `lxc`.
    pub engine: String,
    /// First 12 digits of its id, or its name.
    pub id: String,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Package database, as `dpkg`, `rpm`.
    pub kind: String,
    pub installed: Option<u64>,
    pub broken: Option<List<String>>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updates {
    /// True if the file reboot-required exists; not every system makes it.
    pub reboot_flag: Option<bool>,
    pub reboot_for: List<String>,
    /// Kernels installed, newest file first.
    pub kernels: Option<List<String>>,
    pub pending: Option<u64>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Interfaces, those up and with addresses first.
    pub interfaces: Option<List<Iface>>,
    /// Routes of the main table, default routes first.
    pub routes: Option<List<Route>>,
    /// Name servers of resolv.conf.
    pub resolvers: Option<List<String>>,
    /// Search domains of resolv.conf.
    pub search: Option<List<String>>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iface {
    pub name: String,
    /// Kind, as `bridge`, `veth`, `loopback`; null for hardware.
    pub kind: Option<String>,
    pub mac: Option<String>,
    /// Largest packet in bytes.
    pub mtu: u64,
    pub up: bool,
    /// State of the link, as `up`, `down`, `unknown`.
    pub state: String,
    /// Bridge or bond it belongs to; null for none.
    pub master: Option<String>,
    /// Addresses with prefix length.
    pub addrs: List<String>,
    /// Counters; null where the kernel sent none.
    pub counters: Option<Counters>,
}

/// Counters of an interface since it came up.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub rx: u64,
    pub tx: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination with prefix length, or `default`.
    pub to: String,
    /// Gateways, at most 8; none for a direct route.
    pub via: Vec<String>,
    /// Interfaces, at most 8.
    pub dev: Vec<String>,
    /// Preferred source address; null for none.
    pub src: Option<String>,
    pub metric: Option<u64>,
    /// `unicast`, or what else the route does, as `blackhole`.
    pub kind: String,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// TCP, those reachable from outside first.
    pub tcp: Option<List<Port>>,
    /// UDP sockets bound to a port and to no peer.
    pub udp: Option<List<Port>>,
    pub unix: Option<u64>,
    pub established: Option<u64>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Local address; `::` may take IPv4 too.
    pub addr: String,
    pub port: u16,
    pub dev: Option<String>,
    /// User that made the socket: name, or number where it has none here.
    pub user: String,
    /// Owner; null with `why`.
    pub owner: Option<Owner>,
    /// Why `owner`, or its unit, is null; or a caution about it.
    pub why: Option<String>,
}

/// Owner of a socket: the control group in which it was made.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Unit, as `nginx.service`; null where the group belongs to none.
    pub unit: Option<String>,
    /// Unit of a user's own service manager within `unit`; null for none.
    pub user_unit: Option<String>,
    pub cgroup: String,
    /// Processes of the group; not each need hold the socket.
    pub procs: List<Proc>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proc {
    pub pid: u64,
    /// Command name; null where the process has gone, or `/proc` hides it (`hidepid`).
    pub comm: Option<String>,
}
