//! The walls as they were put up: keeper, compiled filters, cgroups. Whether they hold is not said here.

use std::os::fd::AsFd;

use remit_common::outcome::Enforced;
use remit_confine::{
    Cgroup, Cgroups, Clamped, Controller, Job, Keeper, Kernel, Killing, Limits, ReadProfile,
    Result, Sandbox, Spawned, Step, Witness, kill_uid, spawn, witness,
};

use super::limits;
use crate::accounts::optional_group;
use crate::audit::Recorded;
use crate::config::Config;
use crate::error::chain;
use crate::plan::Plan;

/// Of a uid, beyond those of a job's cgroup.
const SPARE_TASKS: u64 = 16;

/// Everything that confines a job.
#[derive(Debug)]
pub struct Built {
    kernel: Kernel,
    sandbox: Sandbox,
    keeper: Keeper,
    keeper_id: u32,
    cgroups: Option<Cgroups>,
}

impl Built {
    /// Puts all walls up.
    ///
    /// # Errors
    /// A wall that cannot be built here.
    pub fn build(config: &Config) -> Result<Self> {
        let kernel = Kernel::probe()?;
        let profile = ReadProfile {
            groups: config
                .jobs
                .groups
                .iter()
                .filter_map(optional_group)
                .collect(),
            limits: config.limits.limits(),
        };
        let keeper_id = config.jobs.uid_first;
        let cgroups = Cgroups::open("remit")?;
        Ok(Self {
            sandbox: compile(&profile, &kernel)?,
            kernel,
            keeper: Keeper::start(keeper_id, keeper_id)?,
            keeper_id,
            cgroups,
        })
    }

    /// Forks a job behind all walls.
    pub fn spawn(&self, plan: &Recorded<Box<Plan>>) -> Result<(Spawned, Option<Cgroup>)> {
        let cgroup = match &self.cgroups {
            Some(cgroups) => Some(cgroups.create(&plan.job.to_string(), &plan.limits)?),
            None => None,
        };
        let job = Job {
            uid: plan.uid.get(),
            gid: plan.uid.get(),
            loginuid: plan.requester.subject.loginuid(),
            argv: &plan.argv,
            path: &plan.path,
            env: &plan.env,
            cwd: &plan.cwd,
            stdin: plan.stdin.as_ref().map(AsFd::as_fd),
            script: plan.script.as_ref().map(AsFd::as_fd),
            cgroup: cgroup.as_ref(),
            limits: &self.own(&plan.limits),
        };
        match spawn(&self.sandbox, &self.keeper, &job) {
            Ok(spawned) => Ok((spawned, cgroup)),
            Err(error) => {
                if let Some(Err(left)) = cgroup.map(Cgroup::remove) {
                    say!("{}", chain(&left));
                }
                Err(error)
            }
        }
    }

    /// The limits of each process. Where a controller counts the tasks of the whole job, it shall
    /// be the one that refuses: it remembers that it did.
    fn own(&self, limits: &Limits) -> Limits {
        match self.controllers().contains(&Controller::Pids) {
            true => Limits {
                nproc: limits.nproc.saturating_add(SPARE_TASKS),
                ..*limits
            },
            false => *limits,
        }
    }

    /// What stood when a job was executed, from its own steps.
    pub fn enforced(&self, plan: &Plan, steps: &[Step]) -> Enforced {
        let controllers = match steps.contains(&Step::Cgroup) {
            true => self.controllers(),
            false => &[],
        };
        let mut told = vec![format!("runtime {} s", plan.runtime_s)];
        told.extend(limits::told(
            &plan.limits,
            controllers,
            &self.clamped(&plan.limits),
        ));
        Enforced {
            profile: plan.profile.clone(),
            uid: plan.uid.get(),
            walls: steps.iter().map(|step| step.name().to_owned()).collect(),
            landlock: match steps.contains(&Step::Landlock) {
                true => self.kernel.landlock_abi,
                false => 0,
            },
            limits: told,
        }
    }

    /// A new keeper, after the old one has died and all jobs with it.
    ///
    /// # Errors
    /// There can be none; nothing may run any more.
    pub fn renew_keeper(&mut self) -> Result<()> {
        let _ = remit_confine::floor::reap(self.keeper.pid());
        self.keeper = Keeper::start(self.keeper_id, self.keeper_id)?;
        Ok(())
    }

    /// A child that tries every wall, under a uid that nothing else has.
    pub fn witness(&self, uid: u32) -> Result<Witness> {
        witness(&self.sandbox, &self.keeper, uid, uid)
    }

    /// Begins to kill everything of a uid of jobs.
    pub fn kill_uid(&self, uid: u32) -> Result<Killing> {
        kill_uid(&self.keeper, uid)
    }

    /// The init of the jobs' pid namespace.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// What the kernel has.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The jobs' cgroups, where there are some.
    pub fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.as_ref()
    }

    /// The controllers of the jobs' cgroups.
    pub fn controllers(&self) -> &[Controller] {
        self.cgroups.as_ref().map_or(&[], Cgroups::controllers)
    }

    /// What of these limits the daemon's own hard limits take away.
    pub fn clamped(&self, limits: &Limits) -> Vec<Clamped> {
        self.sandbox.clamped(limits)
    }
}

#[cfg(not(feature = "mutate"))]
fn compile(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::read(profile, kernel)
}

/// Under test, `REMIT_MUTATE=wall` leaves one wall out.
#[cfg(feature = "mutate")]
fn compile(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
    use remit_confine::Wall;
    let Ok(name) = std::env::var("REMIT_MUTATE") else {
        return Sandbox::read(profile, kernel);
    };
    let wall = Wall::ALL
        .into_iter()
        .find(|wall| format!("{wall:?}") == name);
    match wall {
        Some(wall) => Sandbox::without(profile, kernel, wall),
        None => Sandbox::read(profile, kernel),
    }
}
