//! The processes that a daemon consists of, without its jobs.

use std::fs;
use std::time::Duration;

use crate::Failure;
use crate::cpu;
use crate::memory::{Daemon, Memory};

/// Pids of a daemon that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// Root.
    pub warden: u32,
    /// Talks to clients.
    pub broker: u32,
    /// Ends all jobs when the warden dies.
    pub keeper: Option<u32>,
    /// Keeps a sandbox ready, where the daemon has one.
    pub zygote: Option<u32>,
}

impl Members {
    /// Of the daemon whose warden this is. Jobs are its children as well: its own processes have names.
    pub fn of(warden: u32) -> Result<Self, Failure> {
        let path = format!("/proc/{warden}/task/{warden}/children");
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
        let children = text.split_whitespace().filter_map(|pid| pid.parse().ok());
        // One that has just ended has no name any more, and was a job.
        let names = children.filter_map(|pid: u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some((pid, name))
        });
        of_names(warden, names).ok_or_else(|| "the daemon has no broker".into())
    }

    /// What they use now.
    pub fn memory(self) -> Result<Daemon, Failure> {
        let part = |pid: Option<u32>| pid.map_or(Ok(Memory::default()), Memory::of);
        Ok(Daemon {
            warden: Memory::of(self.warden)?,
            broker: Memory::of(self.broker)?,
            keeper: part(self.keeper)?,
            zygote: part(self.zygote)?,
        })
    }

    /// What they have used, jobs that have ended too: from their fork to their end.
    pub fn cpu(self) -> Result<Spent, Failure> {
        let helpers = [self.keeper, self.zygote];
        let helpers = helpers.into_iter().flatten().map(cpu::of);
        let helpers = helpers.sum::<Result<Duration, Failure>>()?;
        Ok(Spent {
            warden: cpu::of(self.warden)?,
            broker: cpu::of(self.broker)?,
            helpers,
            jobs: cpu::of_children(self.warden)?,
        })
    }
}

/// Processor time of a daemon, part by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Of the warden.
    pub warden: Duration,
    /// Of the broker.
    pub broker: Duration,
    /// Of keeper and zygote.
    pub helpers: Duration,
    /// Of jobs, their beginning inside our own code too.
    pub jobs: Duration,
}

impl Spent {
    /// What has come since `before`.
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
    let (mut broker, mut keeper, mut zygote) = (None, None, None);
    for (pid, name) in names {
        let place = match name.trim_end() {
            "remit-broker" => &mut broker,
            "remit-keeper" => &mut keeper,
            "remit-zygote" => &mut zygote,
            _ => continue,
        };
        // The first one: a job that took the name came later.
        place.get_or_insert(pid);
    }
    Some(Members {
        warden,
        broker: broker?,
        keeper,
        zygote,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_processes_are_told_from_jobs() {
        let children = [
            (2, "remit-keeper\n"),
            (3, "remit-broker\n"),
            (4, "sleep\n"),
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
            keeper: Some(2),
            zygote: None,
        };
        assert_eq!(names(&children), Some(members));
        assert_eq!(names(&[(2, "remit-keeper\n")]), None);
    }
}
