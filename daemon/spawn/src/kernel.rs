//! The features of this kernel, as the spawner found them.

use remit_sys::sys::ForkCall;
use remit_sys::{Doing, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`, for display only.
    pub release: String,
    /// Landlock's ABI. 0 without Landlock: not built, not in `lsm=`, or refused by a filter.
    pub landlock_abi: u32,
    /// Bit mask of Landlock's fixed errata; 0 if the kernel does not report them.
    pub landlock_errata: u32,
    pub keyrings: bool,
    pub loginuid: bool,
    /// CPU time is shared between sessions, and one job is one session: the kernel makes a group of each session and
    /// no cgroup controller counts CPU time. Not probed: the owner of the cgroups sets it.
    pub one_session: bool,
    pub fork: ForkCall,
}

impl Kernel {
    /// Returns true if this kernel shares CPU time between sessions: sched(7), autogroups.
    pub fn shares_by_session() -> bool {
        let enabled = std::fs::read("/proc/sys/kernel/sched_autogroup_enabled");
        enabled.is_ok_and(|text| text.trim_ascii() == b"1")
    }

    pub fn release() -> Result<String> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .doing(|| "cannot read '/proc/sys/kernel/osrelease'".into())?;
        Ok(release.trim().to_owned())
    }
}
