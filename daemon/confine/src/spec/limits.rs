//! Limits of one job, and the resource limits made from them. Pure, except for one read of the own hard limits.

use crate::error::{Doing, Result};
use crate::supervise::task_count::tasks_of;
use crate::sys;
use std::io;

/// Limits of one job, all of them upper bounds. The default lets nothing run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Open descriptors of a process; at least 32.
    pub nofile: u64,
    pub nproc: u64,
    /// The uid of a job that shares its user. The kernel counts all tasks of a user together, so the child counts
    /// those of before, and the job may have `nproc` more. `None`: something else counts the job's, or nothing can.
    pub others: Option<u32>,
    /// Bytes of private writable memory of a process (`RLIMIT_DATA`).
    pub data: u64,
    /// CPU seconds of a process: then SIGXCPU, two seconds later SIGKILL.
    pub cpu_s: u64,
    /// Bytes of a file; above `tmp_bytes`, so that ENOSPC comes before SIGXFSZ.
    pub fsize: u64,
    pub tmp_bytes: u64,
    pub tmp_inodes: u64,
    /// Bytes of the whole job. This limit and the next two need their cgroup controller.
    pub memory: Option<u64>,
    pub tasks: Option<u64>,
    /// Percent of one CPU for the whole job.
    pub cpu_percent: Option<u32>,
}

/// A soft resource limit that is lower than asked for, because this process's own hard limit is lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamped {
    pub name: &'static str,
    pub asked: u64,
    pub set: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResourceLimit {
    pub(crate) name: &'static str,
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

impl ResourceLimit {
    pub(crate) fn beside(&self, others: u64) -> ResourceLimit {
        match self.resource {
            libc::RLIMIT_NPROC => ResourceLimit {
                soft: self.soft.saturating_add(others),
                hard: self.hard.saturating_add(others),
                ..*self
            },
            _ => *self,
        }
    }
}

const MIB: u64 = 1 << 20;
const ROWS: usize = 12;

fn asked(limits: &Limits) -> [ResourceLimit; ROWS] {
    let both = |name, resource, n| ResourceLimit {
        name,
        resource,
        soft: n,
        hard: n,
    };
    let range = |name, resource, soft, hard| ResourceLimit {
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
        // 1, not 0: with 0 the kernel still starts a core handler that is a pipe, as root. core(5).
        both("core", libc::RLIMIT_CORE, 1),
        both("memlock", libc::RLIMIT_MEMLOCK, 64 * 1024),
        both("msgqueue", libc::RLIMIT_MSGQUEUE, 0),
        both("sigpending", libc::RLIMIT_SIGPENDING, 1024),
        both("rtprio", libc::RLIMIT_RTPRIO, 0),
        both("nice", libc::RLIMIT_NICE, 0),
    ]
}

/// Sets the limits of this process. Existing tasks of user `others` do not count. setrlimit(2).
pub(crate) fn set(rows: &[ResourceLimit], others: Option<u32>) -> io::Result<()> {
    let others = others.map_or(0, tasks_of);
    let set = |row: &ResourceLimit| sys::set_limit(row.resource, row.soft, row.hard);
    // If the raised value is above the own hard limit, the stricter one holds.
    rows.iter()
        .try_for_each(|row| set(&row.beside(others)).or_else(|_| set(row)))
}

/// Hard limits that this process cannot raise; empty with `CAP_SYS_RESOURCE`.
#[derive(Clone, Debug)]
pub(crate) struct Ceilings(Vec<(u32, u64)>);

const SYS_RESOURCE: u32 = 24;

impl Ceilings {
    pub(crate) fn own() -> Result<Ceilings> {
        if sys::has_capability(SYS_RESOURCE).doing(|| "cannot read own capabilities".into())? {
            return Ok(Ceilings(Vec::new()));
        }
        let any = Limits::default();
        let hard = |row: ResourceLimit| -> Result<(u32, u64)> {
            let (_, hard) = sys::limit(row.resource)
                .doing(|| format!("cannot read the limit '{}'", row.name))?;
            Ok((row.resource, hard))
        };
        Ok(Ceilings(
            asked(&any).into_iter().map(hard).collect::<Result<_>>()?,
        ))
    }

    pub(crate) fn apply(&self, limits: &Limits) -> [ResourceLimit; ROWS] {
        asked(limits).map(|row| {
            let ceiling = self
                .0
                .iter()
                .find(|(r, _)| *r == row.resource)
                .map_or(u64::MAX, |(_, c)| *c);
            ResourceLimit {
                soft: row.soft.min(ceiling),
                hard: row.hard.min(ceiling),
                ..row
            }
        })
    }

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
