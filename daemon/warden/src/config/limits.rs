//! `[limits]` of `remit.toml`: limits of one job, in bytes, seconds and counts.

use remit_common::caps;
use remit_confine::Limits;
use remit_policy::ProfileLimits;
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobLimits {
    /// Seconds if the caller names none.
    pub runtime_s: u32,
    pub max_runtime_s: u32,
    /// Memory of the whole job if a controller counts it, otherwise of each process.
    pub memory: u64,
    pub tasks: u64,
    /// Percent of one CPU. Needs the cpu controller.
    pub cpu_percent: u32,
    /// CPU seconds of each process.
    pub cpu_s: u64,
    pub files: u64,
    /// Bytes in each private directory. `tmp_files`: files in each.
    pub tmp: u64,
    pub tmp_files: u64,
    /// Bytes of one file, for jobs that write files of the host.
    pub file: u64,
    #[serde(skip)]
    pub machine: Option<u64>,
    /// Watches by epoll(7) that this machine allows one user, if known.
    #[serde(skip)]
    pub watches: Option<u64>,
    /// True if a profile or a command sets `files`.
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
    /// Returns at most half of the machine's memory. A machine that runs out of memory hangs for minutes before it
    /// kills anything.
    fn effective_memory(&self) -> u64 {
        const MIB: u64 = 1 << 20;
        let half = self.machine.map_or(u64::MAX, |bytes| bytes / 2 / MIB * MIB);
        self.memory.min(half)
    }

    /// Applies the changes of a profile, then of a command. The runtime is excluded: the caller can change it, too.
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

    /// Reduces `files` for a job that runs as a user of the host: the kernel counts epoll(7) watches and descriptors
    /// in flight by user. A process with n descriptors has at most n²/4 watches. The job therefore uses at most a
    /// quarter of the user's.
    pub fn of_a_users_job(mut self) -> Self {
        const LEAST: u64 = 64;
        if let Some(watches) = self.watches.filter(|_| !self.files_are_said) {
            let each = watches / self.tasks.max(1);
            self.files = self.files.min(each.isqrt().max(LEAST));
        }
        self
    }

    pub fn of_a_writing_job(self) -> Limits {
        let limits = self.limits();
        Limits {
            fsize: self.file.max(limits.fsize),
            ..limits
        }
    }

    pub fn limits(&self) -> Limits {
        Limits {
            nofile: self.files,
            nproc: self.tasks,
            others: None,
            data: self.effective_memory(),
            cpu_s: self.cpu_s,
            // Larger than the private directories, so a full one returns ENOSPC first.
            fsize: self.tmp.saturating_mul(2),
            tmp_bytes: self.tmp,
            tmp_inodes: self.tmp_files,
            memory: Some(self.effective_memory()),
            tasks: Some(self.tasks),
            cpu_percent: Some(self.cpu_percent),
        }
    }
}

pub fn machine_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    memory_of(&meminfo)
}

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

    #[test]
    fn s04_user_job_leaves_user_most_watches() {
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
    fn job_gets_half_of_machine_at_most() {
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
