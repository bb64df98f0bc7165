//! Input of an extraction: overlays by descriptors, and what the plan's user may not read or change.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

/// One overlay of the view. The descriptors are of directories; `O_PATH` is enough.
#[derive(Debug)]
pub struct Overlay {
    /// Absolute path of the directory on the host.
    pub at: Vec<u8>,
    /// Raw upper directory.
    pub upper: OwnedFd,
    /// A directory with mode, owner and attributes that `upper` was made with; a difference is a refusal. They are those of
    /// `lower` but for what could not be copied.
    pub made: OwnedFd,
    /// Root of the overlay itself.
    pub merged: OwnedFd,
    /// The host's own directory, through a clone of its one mount that is read-only.
    pub lower: OwnedFd,
}

/// The machine as a plan changed it. All processes of the plan have ended.
#[derive(Debug)]
pub struct CopiedMachine {
    pub overlays: Vec<Overlay>,
    /// Start of the plan in nanoseconds of CLOCK_REALTIME.
    pub started_ns: i128,
    /// Absolute paths that the plan's user may not read, with everything beneath them.
    pub hidden: BTreeSet<Vec<u8>>,
    /// Absolute paths of such directories that the plan's user saw empty, with owner and mode of the host's.
    pub emptied: BTreeSet<Vec<u8>>,
    /// Absolute paths of all mount points, also of those without an overlay.
    pub mounts: BTreeSet<Vec<u8>>,
}
