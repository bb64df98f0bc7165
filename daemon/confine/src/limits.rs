//! Limits of one job, and the resource limits made of them. Pure, but for reading the own hard
//! limits once.

use crate::error::{Doing, Result};
use crate::floor;

/// Limits of one job. All are upper bounds. The default lets nothing run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Open descriptors of a process; at least 32.
    pub nofile: u64,
    /// Processes and threads of the job's uid.
    pub nproc: u64,
    /// Of a job whose user is not its own: how many the user had before it. The kernel counts them together.
    /// `None`: something else counts the job's, or nothing can.
    pub others: Option<u64>,
    /// Bytes of private writable memory of a process (`RLIMIT_DATA`).
    pub data: u64,
    /// CPU seconds of a process: SIGXCPU then, SIGKILL two seconds later.
    pub cpu_s: u64,
    /// Bytes of a file; above `tmp_bytes`, so that ENOSPC speaks before SIGXFSZ.
    pub fsize: u64,
    /// Bytes in each private directory.
    pub tmp_bytes: u64,
    /// Files in each private directory.
    pub tmp_inodes: u64,
    /// Bytes of the whole job, where the memory controller is delegated.
    pub memory: Option<u64>,
    /// Tasks of the whole job, where the pids controller is delegated.
    pub tasks: Option<u64>,
    /// Percent of one CPU for the whole job, where the cpu controller is delegated.
    pub cpu_percent: Option<u32>,
}

/// A resource limit that is lower than asked for, since the own hard limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamped {
    /// `nofile`, `core`, …
    pub name: &'static str,
    /// The soft limit asked for.
    pub asked: u64,
    /// The soft limit set.
    pub set: u64,
}

/// One `setrlimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

const MIB: u64 = 1 << 20;
const ROWS: usize = 12;

fn asked(limits: &Limits) -> [Row; ROWS] {
    let both = |name, resource, n| Row {
        name,
        resource,
        soft: n,
        hard: n,
    };
    let range = |name, resource, soft, hard| Row {
        name,
        resource,
        soft,
        hard,
    };
    [
        both("nofile", libc::RLIMIT_NOFILE, limits.nofile),
        both("nproc", libc::RLIMIT_NPROC, limits.nproc),
        both("data", libc::RLIMIT_DATA, limits.data),
        range(
            "cpu",
            libc::RLIMIT_CPU,
            limits.cpu_s,
            limits.cpu_s.saturating_add(2),
        ),
        both("fsize", libc::RLIMIT_FSIZE, limits.fsize),
        range("stack", libc::RLIMIT_STACK, 8 * MIB, 64 * MIB),
        // 1, not 0: at 0 the kernel still starts a core handler that is a pipe, as root. core(5).
        both("core", libc::RLIMIT_CORE, 1),
        both("memlock", libc::RLIMIT_MEMLOCK, 64 * 1024),
        both("msgqueue", libc::RLIMIT_MSGQUEUE, 0),
        both("sigpending", libc::RLIMIT_SIGPENDING, 1024),
        both("rtprio", libc::RLIMIT_RTPRIO, 0),
        both("nice", libc::RLIMIT_NICE, 0),
    ]
}

/// The hard limits that this process cannot raise; none with `CAP_SYS_RESOURCE`.
#[derive(Clone, Debug)]
pub(crate) struct Ceilings(Vec<(u32, u64)>);

/// `CAP_SYS_RESOURCE`.
const SYS_RESOURCE: u32 = 24;

impl Ceilings {
    /// Those of this process.
    pub(crate) fn own() -> Result<Ceilings> {
        if floor::has_capability(SYS_RESOURCE).doing(|| "cannot read own capabilities".into())? {
            return Ok(Ceilings(Vec::new()));
        }
        let any = Limits::default();
        let hard = |row: Row| -> Result<(u32, u64)> {
            let (_, hard) = floor::limit(row.resource)
                .doing(|| format!("cannot read the limit '{}'", row.name))?;
            Ok((row.resource, hard))
        };
        Ok(Ceilings(
            asked(&any).into_iter().map(hard).collect::<Result<_>>()?,
        ))
    }

    /// What to set for `limits`.
    pub(crate) fn apply(&self, limits: &Limits) -> [Row; ROWS] {
        asked(limits).map(|row| {
            let ceiling = self
                .0
                .iter()
                .find(|(r, _)| *r == row.resource)
                .map_or(u64::MAX, |(_, c)| *c);
            Row {
                soft: row.soft.min(ceiling),
                hard: row.hard.min(ceiling),
                ..row
            }
        })
    }

    /// What `limits` asks for in vain.
    pub(crate) fn clamped(&self, limits: &Limits) -> Vec<Clamped> {
        let pairs = asked(limits).into_iter().zip(self.apply(limits));
        pairs
            .filter(|(asked, set)| asked.soft != set.soft)
            .map(|(asked, set)| Clamped {
                name: asked.name,
                asked: asked.soft,
                set: set.soft,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_hard_limits_are_not_passed() {
        let limits = Limits {
            nofile: 256,
            nproc: 64,
            others: None,
            data: 1 << 30,
            cpu_s: 60,
            fsize: 1 << 26,
            tmp_bytes: 1 << 25,
            tmp_inodes: 1000,
            memory: None,
            tasks: None,
            cpu_percent: None,
        };
        let free = Ceilings(Vec::new());
        assert_eq!(free.apply(&limits), asked(&limits));
        assert!(free.clamped(&limits).is_empty());
        let low = Ceilings(vec![(libc::RLIMIT_CORE, 0), (libc::RLIMIT_CPU, 61)]);
        assert_eq!(
            low.clamped(&limits),
            [Clamped {
                name: "core",
                asked: 1,
                set: 0
            }]
        );
        let cpu = low
            .apply(&limits)
            .into_iter()
            .find(|r| r.name == "cpu")
            .unwrap();
        assert_eq!((cpu.soft, cpu.hard), (60, 61));
    }
}
