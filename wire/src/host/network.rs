use serde::{Deserialize, Serialize};

use super::List;

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
    /// Hardware address; null where it has none.
    pub mac: Option<String>,
    /// Largest packet in bytes.
    pub mtu: u64,
    /// Whether it was switched on.
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
    /// Metric; null for none.
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
    /// Number of listening unix sockets.
    pub unix: Option<u64>,
    /// Number of established TCP connections.
    pub established: Option<u64>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Local address; `::` may take IPv4 too.
    pub addr: String,
    pub port: u16,
    /// Interface it is bound to; null for any.
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
    /// Command name; null where the process has gone.
    pub comm: Option<String>,
}
