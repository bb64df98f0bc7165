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
        parse(&text).ok_or_else(|| format!("'{path}' has no Rss and Pss").into())
    }

    /// The sum.
    pub fn and(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
        }
    }
}

fn parse(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory {
        rss: field("Rss:")?,
        pss: field("Pss:")?,
    })
}

/// The daemon's three processes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Daemon {
    /// Root.
    pub warden: Memory,
    /// The first process of the jobs' pid namespace.
    pub keeper: Memory,
    /// Talks to clients.
    pub broker: Memory,
}

impl Daemon {
    /// All three.
    pub fn sum(&self) -> Memory {
        self.warden.and(self.keeper).and(self.broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_fields_are_found() {
        let text = "55e0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:    1024 kB\nPss:     300 kB\nPss_Dirty: 7 kB\n";
        let memory = Memory {
            rss: 1 << 20,
            pss: 300 << 10,
        };
        assert_eq!(parse(text), Some(memory));
        assert_eq!(parse("Rss: 1 kB\n"), None);
    }
}
