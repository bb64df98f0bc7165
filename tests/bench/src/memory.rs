//! Memory of processes, as the kernel counts it.

use std::fs;

use serde::Serialize;

use crate::Failure;

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Shared pages count in full.
    pub rss: u64,
    /// Shared pages are divided by the number of their users.
    pub pss: u64,
}

impl Memory {
    /// Reads `/proc/PID/smaps_rollup`, proc_pid_smaps(5).
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
        let memory = || {
            Some(Self {
                rss: field(&text, "Rss:")?,
                pss: field(&text, "Pss:")?,
            })
        };
        memory().ok_or_else(|| format!("'{path}' has no Rss and Pss").into())
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
        }
    }
}

/// Returns the peak of resident memory since [`forget_peak`]: `VmHWM`, proc_pid_status(5).
pub fn peak(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
    field(&text, "VmHWM:").ok_or_else(|| format!("'{path}' has no VmHWM").into())
}

/// Resets the peak to the current resident memory: proc_pid_clear_refs(5).
pub fn forget_peak(pid: u32) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").map_err(|e| format!("cannot write '{path}': {e}").into())
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// A missing process counts as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Daemon {
    pub warden: Memory,
    pub broker: Memory,
    pub watchdog: Memory,
    pub zygote: Memory,
}

impl Daemon {
    pub fn warden_and_broker(&self) -> Memory {
        self.warden.and(self.broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_at_line_start() {
        let text = "55e0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:    1024 kB\nPss:     300 kB\nPss_Dirty: 7 kB\n";
        for (name, bytes) in [
            ("Rss:", Some(1 << 20)),
            ("Pss:", Some(300 << 10)),
            ("VmHWM:", None),
        ] {
            assert_eq!(field(text, name), bytes, "{name}");
        }
    }
}
