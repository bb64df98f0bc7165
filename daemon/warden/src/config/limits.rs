//! `[limits]` of `remit.toml`, and what this machine leaves of them.

use remit_common::caps;
use remit_confine::Limits;
use remit_policy::ProfileLimits;
use serde::Deserialize;

/// `[limits]`: of one job. Bytes, seconds, counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobLimits {
    /// Seconds when the caller names none.
    pub runtime_s: u32,
    /// Seconds at most.
    pub max_runtime_s: u32,
    /// Memory of the whole job where a controller counts it, else of each process.
    pub memory: u64,
    /// Processes and threads.
    pub tasks: u64,
    /// Percent of one CPU, where the controller is there.
    pub cpu_percent: u32,
    /// CPU seconds of each process.
    pub cpu_s: u64,
    /// Open descriptors of each process.
    pub files: u64,
    /// Bytes in each of the private directories.
    pub tmp: u64,
    /// Files in each of the private directories.
    pub tmp_files: u64,
    /// Bytes of one file, for jobs that write files of the host.
    pub file: u64,
    /// Bytes that this machine has in all, where that is known.
    #[serde(skip)]
    pub machine: Option<u64>,
    /// Watches by epoll(7) that this machine gives one user, where that is known.
    #[serde(skip)]
    pub watches: Option<u64>,
    /// `files` is a word of a profile or a command.
    #[serde(skip)]
    pub files_are_said: bool,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            runtime_s: caps::RUNTIME_S_DEFAULT,
            max_runtime_s: 3600,
            memory: 2 << 30,
            tasks: 256,
            cpu_percent: 400,
            cpu_s: 3600,
            files: 1024,
            tmp: 64 << 20,
            tmp_files: 16 << 10,
            file: 2 << 30,
            machine: None,
            watches: None,
            files_are_said: false,
        }
    }
}

impl JobLimits {
    /// One job never has more than half of the machine: what it takes, all others are without,
    /// and a machine that runs out of memory stands still for minutes before it ends anything.
    fn effective_memory(&self) -> u64 {
        const MIB: u64 = 1 << 20;
        let half = self.machine.map_or(u64::MAX, |bytes| bytes / 2 / MIB * MIB);
        self.memory.min(half)
    }

    /// With what a profile, and then a command, changes of them. The last word counts. Not how long it may
    /// run, on which the caller has a say, too.
    pub fn with(&self, changes: &[ProfileLimits]) -> Self {
        fn last<T>(
            changes: &[ProfileLimits],
            of: impl Fn(&ProfileLimits) -> Option<T>,
        ) -> Option<T> {
            changes.iter().rev().find_map(of)
        }
        Self {
            runtime_s: self.runtime_s,
            max_runtime_s: self.max_runtime_s,
            memory: last(changes, |limits| limits.memory).unwrap_or(self.memory),
            tasks: last(changes, |limits| limits.tasks).unwrap_or(self.tasks),
            cpu_percent: last(changes, |limits| limits.cpu_percent).unwrap_or(self.cpu_percent),
            files: last(changes, |limits| limits.open_files).unwrap_or(self.files),
            tmp: last(changes, |limits| limits.tmp).unwrap_or(self.tmp),
            cpu_s: self.cpu_s,
            tmp_files: self.tmp_files,
            file: self.file,
            machine: self.machine,
            watches: self.watches,
            files_are_said: last(changes, |limits| limits.open_files).is_some(),
        }
    }

    /// The same of a job whose user is one of the host's. The kernel counts watches by epoll(7) and descriptors in
    /// flight by user. With n descriptors a process has n²/4 watches at most, so the job has a quarter of the user's.
    pub fn of_a_users_job(mut self) -> Self {
        const LEAST: u64 = 64;
        if let Some(watches) = self.watches.filter(|_| !self.files_are_said) {
            let each = watches / self.tasks.max(1);
            self.files = self.files.min(each.isqrt().max(LEAST));
        }
        self
    }

    /// The same of a job that writes files of the host.
    pub fn of_a_writing_job(self) -> Limits {
        let limits = self.limits();
        Limits {
            fsize: self.file.max(limits.fsize),
            ..limits
        }
    }

    /// As the sandbox wants them.
    pub fn limits(&self) -> Limits {
        Limits {
            nofile: self.files,
            nproc: self.tasks,
            others: None,
            data: self.effective_memory(),
            cpu_s: self.cpu_s,
            // Above the private directories, so that a full one says ENOSPC first.
            fsize: self.tmp.saturating_mul(2),
            tmp_bytes: self.tmp,
            tmp_inodes: self.tmp_files,
            memory: Some(self.effective_memory()),
            tasks: Some(self.tasks),
            cpu_percent: Some(self.cpu_percent),
        }
    }
}

/// Bytes of memory of this machine, from proc_meminfo(5).
pub fn machine_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    memory_of(&meminfo)
}

/// What this machine gives one user of watches by epoll(7).
pub fn machine_watches() -> Option<u64> {
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
        let config = JobLimits::default();
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
        let one = config.with(&[profile]);
        assert_eq!((one.memory, one.tmp, one.tasks), (1 << 20, 7, 256));
        let both = config.with(&[profile, command]);
        let others = (
            both.memory,
            both.tasks,
            both.files,
            both.cpu_percent,
            both.tmp,
        );
        assert_eq!(others, (2 << 20, 3, 64, 50, 7));
    }

    /// S4: n processes of f descriptors have n·f²/4 watches at most.
    #[test]
    fn s04_the_job_of_a_user_leaves_that_user_most_watches() {
        let tasks = JobLimits::default().tasks;
        for watches in [300_000, 860_000, 5_491_511, u64::MAX] {
            let machine = JobLimits {
                watches: Some(watches),
                ..JobLimits::default()
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
        assert_eq!(JobLimits::default().of_a_users_job().files, 1024);
    }

    #[test]
    fn a_job_has_half_of_the_machine_at_most() {
        for (machine, memory) in [
            (None, 2 << 30),
            (Some(4 << 30), 2 << 30),
            (Some((2 << 30) - 1), 1023 << 20),
        ] {
            let limits = JobLimits {
                machine,
                ..JobLimits::default()
            };
            assert_eq!(limits.limits().memory, Some(memory));
            assert_eq!(limits.limits().data, memory);
        }
        let meminfo = "MemTotal:        2025432 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_of(meminfo), Some(2_025_432 << 10));
        assert_eq!(memory_of("MemFree: 1 kB\n"), None);
    }
}
