//! The machine itself: system, load, processors, memory, disks and mounted file systems.

use serde::{Deserialize, Serialize};

use super::{Hundredths, List};

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// `ID` of os-release, as `debian`.
    pub id: Option<String>,
    /// `VERSION_ID` of os-release.
    pub version: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub name: Option<String>,
    pub kernel: Option<String>,
    pub arch: String,
    pub hostname: Option<String>,
    /// Name of process 1, as `systemd`.
    pub init: Option<String>,
    pub timezone: Option<String>,
    /// Hint: hypervisor or container engine, `none` where no sign of one was seen.
    pub virt: Option<String>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Load average over 1 minute.
    pub one: Hundredths,
    pub five: Hundredths,
    pub fifteen: Hundredths,
    pub runnable: u64,
    /// Tasks in all, threads counted.
    pub tasks: u64,
    pub cpu: Option<Pressure>,
    pub memory: Option<Pressure>,
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

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    pub model: Option<String>,
    pub count: u64,
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
    pub idle: Hundredths,
}

/// Memory, in bytes. Null: the kernel does not tell.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub total: u64,
    /// Memory that programs could still get without swapping.
    pub available: Option<u64>,
    pub free: Option<u64>,
    pub cached: Option<u64>,
    /// tmpfs and shared memory.
    pub shared: Option<u64>,
    /// Kernel memory that can be reclaimed.
    pub reclaimable: Option<u64>,
    pub dirty: Option<u64>,
    pub huge: Option<u64>,
    /// Swap, 0 where there is none.
    pub swap_total: Option<u64>,
    pub swap_free: Option<u64>,
    /// Processes killed for lack of memory since boot.
    pub oom_kills: Option<u64>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name, as `sda`.
    pub name: String,
    pub size: u64,
    pub model: Option<String>,
    pub rotational: Option<bool>,
    pub read_only: Option<bool>,
    /// Bytes read since boot; null where the device does not count.
    pub read: Option<u64>,
    /// Bytes written since boot; null where the device does not count.
    pub written: Option<u64>,
    /// Missing members; null for all but software RAID.
    pub degraded: Option<u64>,
    pub parts: List<Partition>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub name: String,
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

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub target: String,
    pub source: String,
    /// The part of it that is mounted, `/` for all.
    pub root: String,
    pub fstype: String,
    pub options: String,
    /// True if the host itself cannot write here: the mount or file system is read-only.
    pub read_only: bool,
    /// Free and used space; null with `why`.
    #[serde(rename = "room")]
    pub space: Option<FsUsage>,
    pub why: Option<String>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsUsage {
    pub size: u64,
    pub used: u64,
    /// Bytes that users without privilege may still take.
    pub avail: u64,
    /// Used percent, as df shows it; 0 for a size of 0.
    pub used_percent: u64,
    /// Inodes in all, 0 where they are not counted.
    pub inodes: u64,
    pub inodes_free: u64,
}
