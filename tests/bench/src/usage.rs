//! The processes of a daemon, and the memory and processor time of processes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};
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
    pub spawner: Memory,
    pub zygote: Memory,
}

impl Daemon {
    pub fn warden_and_broker(&self) -> Memory {
        self.warden.and(self.broker)
    }
}

impl Daemon {
    /// Returns the memory of all processes that are root.
    pub fn of_root(&self) -> Memory {
        let helpers = self.watchdog.and(self.spawner).and(self.zygote);
        self.warden.and(helpers)
    }
}

/// Returns the processor time of all threads of a process, including ended ones: clock_getcpuclockid(3).
pub fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    let now = || {
        ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid).ok()?))
            .and_then(ClockId::now)
            .ok()
    };
    let time = now().ok_or_else(|| format!("no clock of process {pid}"))?;
    Ok(Duration::from(time))
}

/// Returns the processor time of all descendants that were waited for: `cutime` and `cstime` of `/proc/PID/stat`, in
/// hundredths of a second. Jobs are children of the warden.
pub fn cpu_of_children(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
    let ticks = ticks(&text).ok_or_else(|| format!("'{path}' has no cutime"))?;
    let each = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / each as f64))
}

/// Returns the processor time of all children of this process that were waited for: getrusage(2).
pub fn cpu_of_own_children() -> Result<Duration, Failure> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// Returns the bytes of the machine's file systems in memory, and of shared memory: `Shmem`, proc_meminfo(5).
pub fn shared_pages() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/meminfo")?;
    field(&text, "Shmem:").ok_or_else(|| "'/proc/meminfo' has no Shmem".into())
}

/// The fields follow the name, which may have any characters: proc_pid_stat(5).
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(") ")?;
    let mut fields = behind.split(' ').skip(13);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    pub warden: u32,
    pub broker: u32,
    /// PID 1 of the jobs' pid namespace. Its end kills all jobs when the warden dies.
    pub watchdog: Option<u32>,
    pub spawner: Option<u32>,
    pub zygote: Option<u32>,
}

impl Members {
    /// Finds the processes of this warden by name, because jobs are its children too.
    pub fn of(warden: u32) -> Result<Self, Failure> {
        let path = format!("/proc/{warden}/task/{warden}/children");
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
        let children = text.split_whitespace().filter_map(|pid| pid.parse().ok());
        // A process that has just ended has no name. It was a job.
        let names = children.filter_map(|pid: u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some((pid, name))
        });
        of_names(warden, names).ok_or_else(|| "the daemon has no broker".into())
    }

    pub fn memory(self) -> Result<Daemon, Failure> {
        let part = |pid: Option<u32>| pid.map_or(Ok(Memory::default()), Memory::of);
        Ok(Daemon {
            warden: Memory::of(self.warden)?,
            broker: Memory::of(self.broker)?,
            watchdog: part(self.watchdog)?,
            spawner: part(self.spawner)?,
            zygote: part(self.zygote)?,
        })
    }

    /// Returns the processor time used, including that of ended jobs from fork to end.
    pub fn cpu(self) -> Result<Spent, Failure> {
        let helpers = [self.watchdog, self.spawner, self.zygote];
        let helpers = helpers.into_iter().flatten().map(cpu_of);
        let helpers = helpers.sum::<Result<Duration, Failure>>()?;
        Ok(Spent {
            warden: cpu_of(self.warden)?,
            broker: cpu_of(self.broker)?,
            helpers,
            jobs: cpu_of_children(self.warden)?,
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub warden: Duration,
    pub broker: Duration,
    /// The watchdog, the spawner and the worker.
    pub helpers: Duration,
    /// Includes the sandbox set-up before exec.
    pub jobs: Duration,
}

impl Spent {
    pub fn all(self) -> Duration {
        self.warden + self.broker + self.helpers + self.jobs
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            warden: self.warden.saturating_sub(before.warden),
            broker: self.broker.saturating_sub(before.broker),
            helpers: self.helpers.saturating_sub(before.helpers),
            jobs: self.jobs.saturating_sub(before.jobs),
        }
    }
}

fn of_names(warden: u32, names: impl Iterator<Item = (u32, String)>) -> Option<Members> {
    let (mut broker, mut watchdog, mut spawner, mut zygote) = (None, None, None, None);
    for (pid, name) in names {
        let member = match name.trim_end() {
            "remit-broker" => &mut broker,
            "remit-watchdog" => &mut watchdog,
            "remit-spawner" => &mut spawner,
            "remit-zygote" => &mut zygote,
            _ => continue,
        };
        // The first match wins: a job that took the name started later.
        member.get_or_insert(pid);
    }
    Some(Members {
        warden,
        broker: broker?,
        watchdog,
        spawner,
        zygote,
    })
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

    #[test]
    fn fields_are_found_after_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 700 8000 20 0 1 0 9";
        assert_eq!(ticks(stat), Some(8700));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn what_a_process_uses_is_counted() {
        let own = std::process::id();
        let before = cpu_of(own).expect("it runs");
        let mut sum = 0u64;
        while cpu_of(own).expect("it runs") < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_of_children(own).is_ok());
    }

    #[test]
    fn daemon_processes_are_distinguished_from_jobs() {
        let children = [
            (2, "remit-watchdog\n"),
            (3, "remit-broker\n"),
            (4, "sleep\n"),
            (6, "remit-spawner\n"),
            (5, "remit-broker\n"),
        ];
        let names = |all: &[(u32, &str)]| {
            let all: Vec<_> = all
                .iter()
                .map(|(pid, name)| (*pid, (*name).to_owned()))
                .collect();
            of_names(1, all.into_iter())
        };
        let members = Members {
            warden: 1,
            broker: 3,
            watchdog: Some(2),
            spawner: Some(6),
            zygote: None,
        };
        assert_eq!(names(&children), Some(members));
        assert_eq!(names(&[(2, "remit-watchdog\n")]), None);
    }
}
