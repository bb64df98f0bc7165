//! Memory of processes, as the kernel counts it now.

use std::fs;

use serde::Serialize;

use crate::Failure;

/// Bytes in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident, pages shared with others in full.
    pub rss: u64,
    /// Resident, shared pages divided by those who share them.
    pub pss: u64,
}

impl Memory {
    /// Of one process: `/proc/PID/smaps_rollup`, proc_pid_smaps(5).
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

    /// The sum.
    pub fn and(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
        }
    }
}

/// The most that has been resident of a process since [`forget_peak`]: `VmHWM`, proc_pid_status(5).
pub fn peak(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
    field(&text, "VmHWM:").ok_or_else(|| format!("'{path}' has no VmHWM").into())
}

/// Begins the peak anew at what is resident now: proc_pid_clear_refs(5).
pub fn forget_peak(pid: u32) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").map_err(|e| format!("cannot write '{path}': {e}").into())
}

/// Bytes of a field that is told in kibibytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The daemon's processes; zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Daemon {
    /// Root.
    pub warden: Memory,
    /// Talks to clients.
    pub broker: Memory,
    /// Ends all jobs when the warden dies.
    pub keeper: Memory,
    /// Keeps a sandbox ready.
    pub zygote: Memory,
}

impl Daemon {
    /// The two that work.
    pub fn warden_and_broker(&self) -> Memory {
        self.warden.and(self.broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_at_the_begin_of_a_line() {
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
