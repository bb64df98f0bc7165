//! What the warden and the spawner say to each other: profiles, jobs, findings, the closed table of messages with its
//! bounds. Data, except for the one socket between the two and a job's child, as the warden sees it.

mod child;
mod fork;
mod job;
mod kernel {
    //! The features of this kernel, as the spawner found them.

    use remit_sys::sys::ForkCall;
    use remit_sys::{Doing, Result};
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Kernel {
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
}
mod layer;

mod limits {
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
}

mod laid;
mod message;
mod order;
pub mod socket;
mod staged;
mod steps;

pub use child::{Child, Forker, KeptView, OrderedChild, Reports, StartedJob};
pub use fork::{Ends, Fork, Report, receive_ends};
pub use job::{Argument, Job, Kept, MOST_ARGUMENTS, Measured, PathIs, What, join};
pub use kernel::Kernel;
pub use laid::{LaidAs, LaidBytes, LaidEntry, LaidKind, LaidPlan, UPLOADS};
pub use layer::{
    Destination, ExtractProfile, FarAddress, HostProfile, Inspect, Layer, ListedPath, Network,
    Profile, ReadProfile, StrictProfile, ViewProfile, Wanted,
};
pub use limits::{Ceilings, Clamped, ResourceLimit, asked};
pub use message::{
    Answer, Credentials, Description, Failure, Finding, Findings, Reply, Request, VERSION,
};
pub use order::{Order, WithFds};
pub use staged::{Owner, Staged, StagedAs, StagedEntry, StagedList};
pub use steps::{DONE, FAILED, FAILURE_LEN, NOWHERE, Progress, Step, StepFailure, StepReader, Why};

/// Numbers of the descriptors that a spawner is born with: its socket, and the warden's pidfd.
pub const SOCKET: i32 = 3;
pub const WARDEN: i32 = 4;
