//! What is read: directories, and sections of the report.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use remit_common::host::Section;

/// Directories to read the facts from. [`Sources::host`] is the real machine; tests use their own tree.
#[derive(Clone, Debug)]
pub struct Sources {
    pub proc: PathBuf,
    pub sys: PathBuf,
    pub etc: PathBuf,
    pub run: PathBuf,
    pub usr: PathBuf,
    pub var: PathBuf,
    /// Selects the use of netlink and statvfs(3), which only describe the real machine.
    pub kernel: Kernel,
}

/// Selects if the running kernel is asked for facts that no file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Sockets, network and free space of file systems come from the kernel.
    Asked,
    /// These facts become gaps.
    NotAsked,
}

impl Sources {
    /// Returns the directories of the real machine.
    #[must_use]
    pub fn host() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            etc: "/etc".into(),
            run: "/run".into(),
            usr: "/usr".into(),
            var: "/var".into(),
            kernel: Kernel::Asked,
        }
    }
}

/// Returns true if a section was asked for. An empty list means all.
pub(crate) fn wants(sections: &[Section], section: Section) -> bool {
    sections.is_empty() || sections.contains(&section)
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
