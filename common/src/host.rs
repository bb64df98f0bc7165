//! What `host` answers: facts about the machine, as data.
//!
//! Only the types; nothing here reads a file. Every list is cut to a bound and
//! says how many entries it left out; every fact that could not be had is
//! `None`, with a [`Gap`] or a `why` beside it that says why. Text from the
//! machine is cut to 256 bytes and its control characters are escaped.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of the report that can be asked for by name.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Distribution, kernel, architecture, host name, virtualization.
    Os,
    /// Load averages and pressure.
    Load,
    /// Model, count and use of the processors.
    Cpu,
    /// Memory and swap.
    Memory,
    /// Block devices.
    Disks,
    /// Mounted file systems and their use.
    Mounts,
    /// Interfaces, addresses, routes, resolvers.
    Network,
    /// Listening sockets and who owns them.
    Ports,
    /// Service manager units, failed ones first.
    Units,
    /// Accounts that can log in, groups that matter, sessions.
    Users,
    /// Uptime and earlier boots.
    Boots,
    /// Running containers.
    Containers,
    /// Installed packages.
    Packages,
    /// Pending updates and reboots.
    Updates,
}

impl Section {
    /// Every section, in the order of the report.
    pub const ALL: [Self; 14] = [
        Self::Os,
        Self::Load,
        Self::Cpu,
        Self::Memory,
        Self::Disks,
        Self::Mounts,
        Self::Network,
        Self::Ports,
        Self::Units,
        Self::Users,
        Self::Boots,
        Self::Containers,
        Self::Packages,
        Self::Updates,
    ];

    /// The name a caller writes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::Load => "load",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disks => "disks",
            Self::Mounts => "mounts",
            Self::Network => "network",
            Self::Ports => "ports",
            Self::Units => "units",
            Self::Users => "users",
            Self::Boots => "boots",
            Self::Containers => "containers",
            Self::Packages => "packages",
            Self::Updates => "updates",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A section name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSection(String);

impl fmt::Display for UnknownSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown section '{}': it is none of",
            self.0.escape_debug()
        )?;
        Section::ALL
            .iter()
            .try_for_each(|section| write!(f, " {section}"))
    }
}

impl core::error::Error for UnknownSection {}

impl FromStr for Section {
    type Err = UnknownSection;

    /// # Errors
    /// When `name` is no section's name; the error quotes its first 32 characters.
    fn from_str(name: &str) -> Result<Self, UnknownSection> {
        Self::ALL
            .into_iter()
            .find(|section| section.name() == name)
            .ok_or_else(|| UnknownSection(name.chars().take(32).collect()))
    }
}

/// A number with two decimals, written as one: 1.25 is 125 hundredths.
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "f64")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Hundredths(pub u32);

impl From<Hundredths> for f64 {
    fn from(number: Hundredths) -> Self {
        Self::from(number.0) / 100.0
    }
}

impl TryFrom<f64> for Hundredths {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, &'static str> {
        let scaled = (number * 100.0).round();
        if (0.0..=f64::from(u32::MAX)).contains(&scaled) {
            // In range and whole, so the conversion loses nothing.
            Ok(Self(scaled as u32))
        } else {
            Err("not a number from 0 to 42949672.95")
        }
    }
}

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A list cut to a bound.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The entries, the most telling first.
    pub items: Vec<T>,
    /// Entries left out.
    pub more: u64,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            more: 0,
        }
    }
}

impl<T> List<T> {
    /// Keeps the first `max` of `items`.
    #[must_use]
    pub fn cut(items: Vec<T>, max: usize) -> Self {
        let mut list = Self { items, more: 0 };
        list.shrink(max);
        list
    }

    /// Leaves out all but the first `max` entries.
    pub fn shrink(&mut self, max: usize) {
        let over = self.items.len().saturating_sub(max);
        self.items.truncate(max);
        self.more = self.more.saturating_add(over as u64);
    }

    /// Entries kept and left out together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.more.saturating_add(self.items.len() as u64)
    }
}

/// A fact that could not be had.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Dotted name of the fact, as in `users.sessions`.
    pub fact: String,
    /// Why it is null.
    pub why: String,
}

/// What is known about the machine. A section that was not asked for is null.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// When, in seconds since 1970.
    pub time: u64,
    /// What looks wrong in the sections asked for, in sentences; at most 16.
    pub alerts: Vec<String>,
    /// Operating system.
    pub os: Option<Os>,
    /// Load and pressure.
    pub load: Option<Load>,
    /// Processors.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Block devices.
    pub disks: Option<List<Disk>>,
    /// Mounted file systems.
    pub mounts: Option<Mounts>,
    /// Network.
    pub network: Option<Network>,
    /// Listening sockets.
    pub ports: Option<Ports>,
    /// Service manager units.
    pub units: Option<Units>,
    /// Accounts, groups, sessions.
    pub users: Option<Users>,
    /// Uptime and earlier boots.
    pub boots: Option<Boots>,
    /// Running containers.
    pub containers: Option<List<Container>>,
    /// Installed packages.
    pub packages: Option<Packages>,
    /// Pending updates and reboots.
    pub updates: Option<Updates>,
    /// Facts that could not be had, and why.
    pub gaps: Vec<Gap>,
}

/// Operating system.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// `ID` of os-release, as `debian`.
    pub id: Option<String>,
    /// `VERSION_ID` of os-release.
    pub version: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub name: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Architecture, as `x86_64`.
    pub arch: String,
    /// Host name.
    pub hostname: Option<String>,
    /// Name of process 1, as `systemd`.
    pub init: Option<String>,
    /// Time zone, as `Europe/Paris`.
    pub timezone: Option<String>,
    /// Hint: hypervisor or container engine, `none` where no sign of one was seen.
    pub virt: Option<String>,
}

/// Load averages and pressure.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Load average over 1 minute.
    pub one: Hundredths,
    /// Over 5 minutes.
    pub five: Hundredths,
    /// Over 15 minutes.
    pub fifteen: Hundredths,
    /// Tasks running or ready to run.
    pub runnable: u64,
    /// Tasks in all, threads counted.
    pub tasks: u64,
    /// Stalls for want of processor time.
    pub cpu: Option<Pressure>,
    /// Stalls for want of memory.
    pub memory: Option<Pressure>,
    /// Stalls for want of storage.
    pub io: Option<Pressure>,
}

/// Pressure: percent of the last 10, 60 and 300 seconds in which tasks stalled.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some task stalled.
    pub some: [Hundredths; 3],
    /// Every task stalled at once; null where the kernel does not tell.
    pub full: Option<[Hundredths; 3]>,
}

/// Processors.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Model name.
    pub model: Option<String>,
    /// Processors online.
    pub count: u64,
    /// Use since boot, all processors together.
    pub usage: CpuUsage,
}

/// Percent of processor time since boot.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuUsage {
    /// Programs, with nice ones.
    pub user: Hundredths,
    /// Kernel and interrupts.
    pub system: Hundredths,
    /// Idle while storage was awaited.
    pub iowait: Hundredths,
    /// Taken by the hypervisor.
    pub steal: Hundredths,
    /// Idle.
    pub idle: Hundredths,
}

/// Memory, in bytes. Null: the kernel does not tell.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Usable memory.
    pub total: u64,
    /// What programs could still get without swapping.
    pub available: Option<u64>,
    /// Unused.
    pub free: Option<u64>,
    /// Page cache and buffers.
    pub cached: Option<u64>,
    /// tmpfs and shared memory.
    pub shared: Option<u64>,
    /// Kernel memory that can be reclaimed.
    pub reclaimable: Option<u64>,
    /// Waiting to be written.
    pub dirty: Option<u64>,
    /// Reserved for huge pages.
    pub huge: Option<u64>,
    /// Swap, 0 where there is none.
    pub swap_total: Option<u64>,
    /// Unused swap.
    pub swap_free: Option<u64>,
    /// Processes killed for want of memory since boot.
    pub oom_kills: Option<u64>,
}

/// A block device.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name, as `sda`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Model; null where the device has none.
    pub model: Option<String>,
    /// Whether it turns; null where the device does not tell.
    pub rotational: Option<bool>,
    /// Whether it is read-only; null where the device does not tell.
    pub read_only: Option<bool>,
    /// Bytes read since boot; null where the device does not count.
    pub read: Option<u64>,
    /// Bytes written since boot; null where the device does not count.
    pub written: Option<u64>,
    /// Missing members; null for all but software RAID.
    pub degraded: Option<u64>,
    /// Partitions.
    pub parts: List<Part>,
}

/// A partition.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Kernel name, as `sda1`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
}

/// Mounted file systems of the host, not of a sandbox.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounts {
    /// File systems that hold data, fullest first.
    pub list: List<Mount>,
    /// Pseudo file systems (proc, sysfs, cgroup …), left out.
    pub pseudo: u64,
}

/// A mount.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is mounted.
    pub target: String,
    /// What is mounted.
    pub source: String,
    /// The part of it that is mounted, `/` for all.
    pub root: String,
    /// File system type.
    pub fstype: String,
    /// Options of the mount.
    pub options: String,
    /// Whether the host itself cannot write here: mount or file system is read-only.
    pub read_only: bool,
    /// Room; null with `why`.
    pub room: Option<Room>,
    /// Why `room` is null.
    pub why: Option<String>,
}

/// Room on a file system.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Size in bytes.
    pub size: u64,
    /// Used bytes.
    pub used: u64,
    /// Bytes that users without privilege may still take.
    pub avail: u64,
    /// Used percent, as df shows it; 0 for a size of 0.
    pub used_percent: u64,
    /// Inodes in all, 0 where they are not counted.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

/// Network.
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

/// A network interface.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iface {
    /// Name.
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
    /// Bytes received.
    pub rx: u64,
    /// Bytes sent.
    pub tx: u64,
    /// Errors in receiving.
    pub rx_errors: u64,
    /// Errors in sending.
    pub tx_errors: u64,
    /// Received packets dropped.
    pub rx_dropped: u64,
    /// Packets dropped in sending.
    pub tx_dropped: u64,
}

/// A route.
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

/// Listening sockets.
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

/// A listening socket.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Local address; `::` may take IPv4 too.
    pub addr: String,
    /// Port.
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
    /// Path of the control group.
    pub cgroup: String,
    /// Processes of the group; not each need hold the socket.
    pub procs: List<Proc>,
}

/// A process.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proc {
    /// Process id.
    pub pid: u64,
    /// Command name; null where the process has gone.
    pub comm: Option<String>,
}

/// Units of the service manager.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// Failed units.
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

/// Number of units in a state.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// State.
    pub state: String,
    /// Units.
    pub count: u64,
}

/// A failed unit.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedUnit {
    /// Name.
    pub name: String,
    /// Description.
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

/// Accounts, groups, sessions.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Sessions logged in.
    pub sessions: Option<List<Session>>,
    /// Local accounts with a login shell: root and uid 1000 upward.
    pub accounts: Option<List<Account>>,
    /// Local groups whose members have more rights, where they exist.
    pub groups: Option<List<Group>>,
}

/// A session.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// User name.
    pub user: String,
    /// Terminal or seat; null for none.
    pub tty: Option<String>,
    /// Remote host; null for a local session or where it is not told.
    pub from: Option<String>,
    /// Since, in seconds since 1970; null where it is not told.
    pub since: Option<u64>,
}

/// An account.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u64,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A group.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Members, besides those whose first group it is.
    pub members: List<String>,
}

/// Uptime and earlier boots.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boots {
    /// Seconds since boot.
    pub uptime: Option<u64>,
    /// Time of boot, in seconds since 1970.
    pub booted: Option<u64>,
    /// Boots on record, newest first.
    pub last: Option<List<Boot>>,
}

/// A boot on record.
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

/// A running container.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Container {
    /// Engine, as `docker`, `podman`, `lxc`.
    pub engine: String,
    /// First 12 digits of its id, or its name.
    pub id: String,
}

/// Installed packages.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Package database, as `dpkg`, `rpm`.
    pub kind: String,
    /// Packages installed.
    pub installed: Option<u64>,
    /// Packages left half installed or unconfigured.
    pub broken: Option<List<String>>,
}

/// Pending updates and reboots.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updates {
    /// Whether the file reboot-required exists; not every system makes it.
    pub reboot_flag: Option<bool>,
    /// Packages that asked for the reboot.
    pub reboot_for: List<String>,
    /// Kernels installed, newest file first.
    pub kernels: Option<List<String>>,
    /// Updates ready to install.
    pub pending: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_read_back_from_its_name() {
        for section in Section::ALL {
            assert_eq!(section.to_string().parse(), Ok(section));
        }
        assert!(Section::ALL.is_sorted());
    }

    #[test]
    fn unknown_section_names_itself_and_the_choice() {
        let sentence = "disk\x1b".parse::<Section>().unwrap_err().to_string();
        assert!(
            sentence.starts_with(r"unknown section 'disk\u{1b}': it is none of os load cpu"),
            "{sentence}"
        );
        assert!(
            "x".repeat(9000)
                .parse::<Section>()
                .unwrap_err()
                .to_string()
                .len()
                < 250
        );
    }

    #[test]
    fn hundredths_survive_the_number_they_are_written_as() {
        for hundredths in [0, 1, 29, 115, 9_999, u32::MAX] {
            let number = f64::from(Hundredths(hundredths));
            assert_eq!(Hundredths::try_from(number), Ok(Hundredths(hundredths)));
        }
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(Hundredths::try_from(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Hundredths(105).to_string(), "1.05");
    }

    #[test]
    fn cut_list_counts_what_it_left_out() {
        let mut list = List::cut(vec![1, 2, 3, 4, 5], 4);
        assert_eq!((list.items.len(), list.more, list.total()), (4, 1, 5));
        list.shrink(1);
        assert_eq!((list.items.len(), list.more, list.total()), (1, 4, 5));
        list.shrink(3);
        assert_eq!((list.items.len(), list.more), (1, 4));
    }

    #[test]
    fn report_goes_over_the_wire_and_back() {
        let mut report = HostReport {
            time: 7,
            ..HostReport::default()
        };
        report.units = Some(Units {
            failed: List {
                items: vec![FailedUnit {
                    name: "a.service".into(),
                    description: String::new(),
                    result: Some("exit-code".into()),
                    status: Some(-1),
                    since: None,
                    why: Some("no time".into()),
                }],
                more: 3,
            },
            restarting: List::default(),
            system: None,
            counts: vec![StateCount {
                state: "active".into(),
                count: 9,
            }],
            jobs: Some(0),
        });
        report.gaps.push(Gap {
            fact: "units.system".into(),
            why: "not told".into(),
        });
        let bytes = postcard::to_stdvec(&report).unwrap();
        assert_eq!(postcard::from_bytes::<HostReport>(&bytes), Ok(report));
    }
}
