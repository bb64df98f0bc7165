//! The resource limits made from the limits of one job. Pure.

use remit_sys::Limits;
use serde::{Deserialize, Serialize};

/// A soft resource limit that is lower than asked for, because this process's own hard limit is lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamped {
    pub name: &'static str,
    pub asked: u64,
    pub set: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    pub name: &'static str,
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

impl ResourceLimit {
    pub fn beside(&self, others: u64) -> ResourceLimit {
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

pub fn asked(limits: &Limits) -> [ResourceLimit; ROWS] {
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

/// Hard limits that this process cannot raise; empty with `CAP_SYS_RESOURCE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceilings(Vec<(u32, u64)>);

impl Ceilings {
    pub fn new(hard: Vec<(u32, u64)>) -> Ceilings {
        Ceilings(hard)
    }

    pub fn apply(&self, limits: &Limits) -> [ResourceLimit; ROWS] {
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

    pub fn clamped(&self, limits: &Limits) -> Vec<Clamped> {
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
