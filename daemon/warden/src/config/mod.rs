//! `remit.toml` and the policy: read by a child, parsed by `remit-compiler`, checked here.

mod limits {
    //! The limits of one job on this machine: those of `remit.toml`, of a profile and of a command.

    use remit_policy::ProfileLimits;
    use remit_settings::JobLimits;
    use remit_sys::Limits;

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct MachineLimits {
        pub job: JobLimits,
        /// Bytes of memory.
        machine: Option<u64>,
        /// Watches by epoll(7) that this machine allows one user, if known.
        watches: Option<u64>,
        files_are_said: bool,
        memory_is_said: bool,
    }

    impl MachineLimits {
        pub fn of(job: JobLimits) -> Self {
            Self {
                job,
                machine: machine_memory(),
                watches: machine_watches(),
                files_are_said: false,
                memory_is_said: false,
            }
        }

        /// Returns at most half of the machine's memory. A machine that runs out of memory hangs for minutes.
        fn effective_memory(&self) -> u64 {
            const MIB: u64 = 1 << 20;
            let half = self.machine.map_or(u64::MAX, |bytes| bytes / 2 / MIB * MIB);
            self.job.memory.min(half)
        }

        /// Applies the changes of a profile, then of a command. The runtime is excluded: the caller can change it, too.
        pub fn with(&self, changes: &[ProfileLimits]) -> Self {
            fn last<T>(
                changes: &[ProfileLimits],
                of: impl Fn(&ProfileLimits) -> Option<T>,
            ) -> Option<T> {
                changes.iter().rev().find_map(of)
            }
            let job = &self.job;
            let files = last(changes, |limits| limits.open_files);
            let memory = last(changes, |limits| limits.memory);
            Self {
                job: JobLimits {
                    memory: memory.unwrap_or(job.memory),
                    tasks: last(changes, |limits| limits.tasks).unwrap_or(job.tasks),
                    cpu_percent: last(changes, |limits| limits.cpu_percent)
                        .unwrap_or(job.cpu_percent),
                    files: files.unwrap_or(job.files),
                    tmp: last(changes, |limits| limits.tmp).unwrap_or(job.tmp),
                    ..job.clone()
                },
                files_are_said: files.is_some(),
                memory_is_said: memory.is_some(),
                ..*self
            }
        }

        /// Reduces `files` for a job that runs as a user of the host: the kernel counts epoll(7) watches and descriptors in
        /// flight by user. A process with n descriptors has at most n²/4 watches. So a job takes at most a quarter.
        pub fn of_a_users_job(mut self) -> Self {
            const LEAST: u64 = 64;
            if let Some(watches) = self.watches.filter(|_| !self.files_are_said) {
                let each = watches / self.job.tasks.max(1);
                self.job.files = self.job.files.min(each.isqrt().max(LEAST));
            }
            self
        }

        /// A job that changes the host must not be killed half-way, so only its profile or command limits its memory.
        pub fn of_a_host_job(self) -> Limits {
            let limits = self.limits();
            match self.memory_is_said {
                true => limits,
                false => Limits {
                    data: Limits::INFINITY,
                    memory: None,
                    ..limits
                },
            }
        }

        pub fn of_a_writing_job(self) -> Limits {
            let limits = self.limits();
            Limits {
                fsize: self.job.file.max(limits.fsize),
                ..limits
            }
        }

        /// Returns the bytes of the machine's memory, or as many as any has.
        pub fn machine(&self) -> u64 {
            self.machine.unwrap_or(u64::MAX)
        }

        /// Returns the bytes that a copy of the machine can take in memory: an eighth of the machine's, at most 2 GiB, if the
        /// profile sets no number.
        pub fn space(&self, set: Option<u64>) -> u64 {
            const MOST: u64 = 2 << 30;
            set.unwrap_or_else(|| self.machine.map_or(MOST, |bytes| bytes / 8).min(MOST))
        }

        /// Its copy lies in memory, beside what its processes take.
        pub fn of_a_copying_job(self, space: Option<u64>) -> Limits {
            let space = self.space(space);
            let limits = self.limits();
            Limits {
                memory: limits.memory.map(|memory| memory.saturating_add(space)),
                // A full copy returns ENOSPC first.
                fsize: limits.fsize.max(space.saturating_mul(2)),
                ..limits
            }
        }

        pub fn limits(&self) -> Limits {
            Limits {
                nofile: self.job.files,
                nproc: self.job.tasks,
                others: None,
                data: self.effective_memory(),
                cpu_s: self.job.cpu_s,
                fsize: Limits::fsize_of_tmp(self.job.tmp),
                tmp_bytes: self.job.tmp,
                tmp_inodes: self.job.tmp_files,
                memory: Some(self.effective_memory()),
                tasks: Some(self.job.tasks),
                cpu_percent: Some(self.job.cpu_percent),
            }
        }
    }

    fn machine_memory() -> Option<u64> {
        let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
        memory_of(&meminfo)
    }

    fn machine_watches() -> Option<u64> {
        let most = std::fs::read_to_string("/proc/sys/fs/epoll/max_user_watches").ok()?;
        most.trim().parse().ok()
    }

    fn memory_of(meminfo: &str) -> Option<u64> {
        let total = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibi: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibi.checked_mul(1024)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_command_has_the_last_word() {
            let config = MachineLimits::default();
            let profile = ProfileLimits {
                memory: Some(1 << 20),
                tmp: Some(7),
                ..ProfileLimits::default()
            };
            let command = ProfileLimits {
                memory: Some(2 << 20),
                tasks: Some(3),
                open_files: Some(64),
                cpu_percent: Some(50),
                ..ProfileLimits::default()
            };
            assert_eq!(config.with(&[]), config);
            let one = config.with(&[profile]).job;
            assert_eq!((one.memory, one.tmp, one.tasks), (1 << 20, 7, 256));
            let both = config.with(&[profile, command]).job;
            let others = (
                both.memory,
                both.tasks,
                both.files,
                both.cpu_percent,
                both.tmp,
            );
            assert_eq!(others, (2 << 20, 3, 64, 50, 7));
        }

        #[test]
        fn s04_user_job_leaves_user_most_watches() {
            let tasks = JobLimits::default().tasks;
            for watches in [300_000, 860_000, 5_491_511, u64::MAX] {
                let machine = MachineLimits {
                    watches: Some(watches),
                    ..MachineLimits::default()
                };
                let files = machine.clone().of_a_users_job().limits().nofile;
                assert!(files * files / 4 * tasks <= watches, "{watches}: {files}");
                assert!((64..=1024).contains(&files), "{files}");
                let said = ProfileLimits {
                    open_files: Some(1000),
                    ..ProfileLimits::default()
                };
                let said = machine.with(&[said]).of_a_users_job();
                assert_eq!(
                    said.limits().nofile,
                    1000,
                    "an administrator has the last word"
                );
            }
            assert_eq!(MachineLimits::default().of_a_users_job().job.files, 1024);
        }

        #[test]
        fn job_gets_half_of_machine_at_most() {
            for (machine, memory) in [
                (None, 2 << 30),
                (Some(4 << 30), 2 << 30),
                (Some((2 << 30) - 1), 1023 << 20),
            ] {
                let limits = MachineLimits {
                    machine,
                    ..MachineLimits::default()
                };
                assert_eq!(limits.limits().memory, Some(memory));
                assert_eq!(limits.limits().data, memory);
            }
            let said = |memory| ProfileLimits {
                memory,
                ..ProfileLimits::default()
            };
            for (profile, command, memory) in [
                (None, None, None),
                (Some(1 << 20), None, Some(1 << 20)),
                (None, Some(2 << 20), Some(2 << 20)),
                (Some(1 << 40), None, Some(2 << 30)),
            ] {
                let machine = MachineLimits {
                    machine: Some(4 << 30),
                    ..MachineLimits::default()
                };
                let limits = machine
                    .with(&[said(profile), said(command)])
                    .of_a_host_job();
                assert_eq!(limits.memory, memory);
                assert_eq!(limits.data, memory.unwrap_or(Limits::INFINITY));
            }
            let meminfo = "MemTotal:        2025432 kB\nMemFree: 1 kB\n";
            assert_eq!(memory_of(meminfo), Some(2_025_432 << 10));
            assert_eq!(memory_of("MemFree: 1 kB\n"), None);
        }
    }
}

pub(crate) mod policy_reload;
pub(crate) mod recorded;
pub(crate) mod shadow;

use crate::startup::arguments::Args;
use crate::state_dir::lock::State;

pub use limits::MachineLimits;
pub use remit_settings::{
    AccountRef, AuditConfig, AuditSink, Config, JobLimits, JobsConfig, Need, Output, Sync,
};

#[derive(Debug)]
pub struct Settings {
    pub args: Args,
    pub config: Config,
    pub limits: MachineLimits,
    pub state: State,
}
