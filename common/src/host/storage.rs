use serde::{Deserialize, Serialize};

use super::List;

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
    /// True for a rotating disk; null if unknown.
    pub rotational: Option<bool>,
    /// True if it is read-only; null if unknown.
    pub read_only: Option<bool>,
    /// Bytes read since boot; null where the device does not count.
    pub read: Option<u64>,
    /// Bytes written since boot; null where the device does not count.
    pub written: Option<u64>,
    /// Missing members; null for all but software RAID.
    pub degraded: Option<u64>,
    /// Partitions.
    pub parts: List<Partition>,
}

/// A partition.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
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
    /// The mount point.
    pub target: String,
    /// The mounted device or source.
    pub source: String,
    /// The part of it that is mounted, `/` for all.
    pub root: String,
    /// File system type.
    pub fstype: String,
    /// Options of the mount.
    pub options: String,
    /// True if the host itself cannot write here: the mount or file system is read-only.
    pub read_only: bool,
    /// Free and used space; null with `why`.
    #[serde(rename = "room")]
    pub space: Option<FsUsage>,
    /// Reason for null.
    pub why: Option<String>,
}

/// Room on a file system.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsUsage {
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
