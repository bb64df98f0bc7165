//! The processes of a daemon, without its jobs.

use std::fs;
use std::time::Duration;

use crate::usage::{Daemon, Memory};
use crate::{Failure, usage};

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
        let helpers = helpers.into_iter().flatten().map(usage::cpu_of);
        let helpers = helpers.sum::<Result<Duration, Failure>>()?;
        Ok(Spent {
            warden: usage::cpu_of(self.warden)?,
            broker: usage::cpu_of(self.broker)?,
            helpers,
            jobs: usage::cpu_of_children(self.warden)?,
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
