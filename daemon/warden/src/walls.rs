//! What confines every job, kept ready: keeper, compiled filters, cgroups.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::outcome::Enforced;
use remit_confine::{
    Cgroup, Cgroups, Controller, Job, Keeper, Kernel, ReadProfile, Sandbox, Spawned, Step,
    kill_uid, spawn, witness,
};

use crate::accounts::optional_group;
use crate::audit::Recorded;
use crate::config::{Config, Need};
use crate::error::{Fatal, chain};
use crate::plan::Plan;

/// How long the start-up may wait for a child of its own. The loop waits for none.
const PATIENCE: Duration = Duration::from_secs(30);

/// All walls.
#[derive(Debug)]
pub struct Walls {
    kernel: Kernel,
    sandbox: Sandbox,
    keeper: Keeper,
    keeper_id: u32,
    cgroups: Option<Cgroups>,
}

impl Walls {
    /// Puts all walls up and proves them: a witness tries each one from inside.
    ///
    /// # Errors
    /// A wall that cannot be built, did not hold, or that the configuration insists on and the kernel lacks.
    pub fn raise(config: &Config) -> Result<Self, Fatal> {
        let broken = |error: remit_confine::Error| Fatal::Unavailable(chain(&error));
        let kernel = Kernel::probe().map_err(broken)?;
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
        let cgroups = Cgroups::open("remit").map_err(broken)?;
        let walls = Self {
            sandbox: compile(&profile, &kernel).map_err(broken)?,
            kernel,
            keeper: Keeper::start(keeper_id, keeper_id).map_err(broken)?,
            keeper_id,
            cgroups,
        };
        walls.check_needs(&config.sandbox.require)?;
        walls.prove(keeper_id.saturating_add(config.jobs.uid_count - 1))?;
        Ok(walls)
    }

    fn check_needs(&self, needs: &[Need]) -> Result<(), Fatal> {
        let has = |controller| self.controllers().contains(&controller);
        let missing = needs.iter().find(|need| match need {
            Need::Landlock => self.kernel.landlock_abi == 0,
            Need::Cgroup => self.cgroups.is_none(),
            Need::Controllers => !has(Controller::Memory) || !has(Controller::Pids),
        });
        match missing {
            None => Ok(()),
            Some(need) => Err(Fatal::Unavailable(format!(
                "sandbox.require names {need:?}, and this machine (Linux {}) does not have it",
                self.kernel.release
            ))),
        }
    }

    /// A child behind all walls tries each of them; one that does not hold keeps the daemon from starting.
    fn prove(&self, uid: u32) -> Result<(), Fatal> {
        let broken = |error: remit_confine::Error| Fatal::Unavailable(chain(&error));
        let mut witness = witness(&self.sandbox, &self.keeper, uid, uid).map_err(broken)?;
        let findings = loop {
            wait_for(witness.fd())?;
            if let Some(findings) = witness.read().map_err(broken)? {
                break findings;
            }
        };
        // Its bystander cannot be signalled from behind the Landlock scope that was just proved,
        // not even by the parent-death signal. Whether others have the uid does not matter here.
        let killing = kill_uid(&self.keeper, uid).map_err(broken)?;
        let _ = poll(
            &mut [PollFd::new(killing.fd(), PollFlags::POLLIN)],
            1000_u16,
        );
        let failed: Vec<String> = findings
            .iter()
            .filter(|finding| !finding.held)
            .map(|finding| format!("{:?} ({})", finding.wall, finding.detail))
            .collect();
        if failed.is_empty() || cfg!(feature = "mutate") {
            return Ok(());
        }
        Err(Fatal::Unavailable(format!(
            "the sandbox does not hold on this machine: {}",
            failed.join("; ")
        )))
    }

    /// Forks a job behind all walls. Takes only what is recorded.
    ///
    /// # Errors
    /// Nothing was forked.
    pub fn spawn(
        &self,
        plan: &Recorded<Box<Plan>>,
    ) -> Result<(Spawned, Option<Cgroup>), remit_confine::Error> {
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
            limits: &plan.limits,
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

    /// What stood when a job was executed, from its own steps.
    pub fn enforced(&self, plan: &Plan, steps: &[Step]) -> Enforced {
        let has =
            |controller| steps.contains(&Step::Cgroup) && self.controllers().contains(&controller);
        let by = |there: bool| {
            if there {
                "cgroup"
            } else {
                "each process, rlimit"
            }
        };
        let limits = &plan.limits;
        Enforced {
            profile: plan.profile.to_owned(),
            uid: plan.uid.get(),
            walls: steps.iter().map(|step| step.name().to_owned()).collect(),
            landlock: match steps.contains(&Step::Landlock) {
                true => self.kernel.landlock_abi,
                false => 0,
            },
            limits: vec![
                format!("runtime {} s", plan.runtime_s),
                format!(
                    "memory {} ({})",
                    size(limits.data),
                    match has(Controller::Memory) {
                        true => "cgroup",
                        false => "private memory of each process, rlimit",
                    }
                ),
                format!("tasks {} ({})", limits.nproc, by(has(Controller::Pids))),
                format!("files {} (rlimit)", limits.nofile),
                format!("tmp {} each", size(limits.tmp_bytes)),
            ],
        }
    }

    /// A new keeper, after the old one has died and all jobs with it.
    ///
    /// # Errors
    /// There can be none; nothing may run any more.
    pub fn renew_keeper(&mut self) -> Result<(), Fatal> {
        let _ = remit_confine::floor::reap(self.keeper.pid());
        self.keeper = Keeper::start(self.keeper_id, self.keeper_id)
            .map_err(|error| Fatal::Unavailable(chain(&error)))?;
        Ok(())
    }

    /// The keeper.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// What the kernel has.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Names of the controllers of the jobs' cgroups.
    pub fn controller_names(&self) -> Vec<String> {
        self.controllers()
            .iter()
            .map(|controller| controller.name().to_owned())
            .collect()
    }

    fn controllers(&self) -> &[Controller] {
        self.cgroups.as_ref().map_or(&[], Cgroups::controllers)
    }
}

#[cfg(not(feature = "mutate"))]
fn compile(profile: &ReadProfile, kernel: &Kernel) -> remit_confine::Result<Sandbox> {
    Sandbox::read(profile, kernel)
}

/// Under test, `REMIT_MUTATE=wall` leaves one wall out.
#[cfg(feature = "mutate")]
fn compile(profile: &ReadProfile, kernel: &Kernel) -> remit_confine::Result<Sandbox> {
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

/// Bytes for people: whole MiB where it is that.
fn size(bytes: u64) -> String {
    match (bytes >> 20, bytes % (1 << 20)) {
        (mebi, 0) => format!("{mebi} MiB"),
        _ => format!("{bytes} bytes"),
    }
}

fn wait_for(fd: BorrowedFd<'_>) -> Result<(), Fatal> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, patience) {
        Ok(1..) => Ok(()),
        Ok(_) => Err(Fatal::Unavailable(
            "a child of the start-up does not answer".into(),
        )),
        Err(errno) => Err(Fatal::System(format!("poll: {errno}"))),
    }
}
