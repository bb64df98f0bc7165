//! What all sandboxes stand on: kernel, cgroups and the keeper that ends all jobs. Whether walls hold is not
//! said here.

use std::os::fd::AsFd;
use std::time::Duration;

use remit_common::names::JobId;
use remit_common::outcome::Enforced;
use remit_confine::{
    Cgroup, Cgroups, Controller, Job, Keeper, Kernel, Limits, Result, Sandbox, Spawned, Step,
    Witness, Zygotes, floor, witness,
};
use remit_policy::Base;

use super::ready::Ready;
use super::secrets::Secrets;
use super::{Compiled, limits};
use crate::audit::Recorded;
use crate::config::Config;
use crate::error::chain;
use crate::plan::{Bound, Plan};
use crate::processes::tasks_of;
use crate::stop::parted;

/// Of a uid, beyond those of a job's cgroup.
const SPARE_TASKS: u64 = 16;
/// What stands in `enforced` instead of walls where there are none.
const NO_WALLS: &str = "none (host)";

/// Everything that every job needs, whatever its sandbox.
#[derive(Debug)]
pub struct Ground {
    kernel: Kernel,
    keeper: Keeper,
    keeper_id: u32,
    zygotes: Zygotes,
    cgroups: Cgroups,
}

impl Ground {
    /// Looks what the kernel has, finds room for cgroups, and starts the keeper.
    ///
    /// # Errors
    /// The kernel cannot confine, or there can be no cgroups or no keeper.
    pub fn lay(config: &Config) -> Result<Self> {
        let mut kernel = Kernel::probe()?;
        let keeper_id = config.jobs.uid_first;
        let cgroups = Cgroups::open("remit")?;
        let has_cpu = cgroups.controllers().contains(&Controller::Cpu);
        kernel.one_session = !has_cpu && Kernel::shares_by_session();
        Ok(Self {
            kernel,
            keeper: Keeper::start(keeper_id, keeper_id, cgroups.switch())?,
            keeper_id,
            cgroups,
            zygotes: Zygotes::of_this_program()?,
        })
    }

    /// Forks a job in its sandbox, where `ready` is what was made for it.
    pub fn spawn(
        &self,
        plan: &Recorded<Box<Plan>>,
        ready: Option<Ready>,
    ) -> Result<(Spawned, Cgroup)> {
        let bound = &plan.bound;
        let secrets = Secrets::seal(bound)?;
        let ready = match ready {
            Some(ready) => ready.made_for(bound.compiled.sandbox()),
            None => self.make_ready(plan.job)?,
        };
        let (waiting, cgroup) = match ready.into_parts() {
            (waiting, Some(cgroup)) => (waiting, cgroup),
            (_, None) => (None, self.cgroups.make(&plan.job.to_string())?),
        };
        if let Err(error) = self.cgroups.limit(&cgroup, &together(bound)) {
            drop(waiting);
            drop(Ready::of(cgroup));
            return Err(error);
        }
        let job = Job {
            uid: plan.uid.get(),
            gid: plan.uid.get(),
            loginuid: plan.requester.subject.loginuid(),
            argv: &bound.argv,
            places: &secrets.arguments(),
            path: &plan.path,
            env: &bound.env,
            cwd: &bound.cwd,
            stdin: secrets.stdin.as_ref().map(AsFd::as_fd).or(plan.stdin()),
            script: plan.script(),
            measured: plan
                .approved
                .as_ref()
                .map_or(&[], |approved| &approved.files),
            cgroup: Some(cgroup.fd()),
            limits: &self.own(&bound.limits, bound.compiled.fixed_uid()),
        };
        let sandbox = bound.compiled.sandbox();
        let switch = self.cgroups.switch();
        let spawned = self.zygotes.spawn(sandbox, switch, &job, waiting);
        if let Some(why) = self.zygotes.loss() {
            say!("a zygote was lost: {why}; until there is another, remitd forks jobs itself");
        }
        match spawned {
            Ok(spawned) => Ok((spawned, cgroup)),
            Err(error) => {
                drop(Ready::of(cgroup));
                Err(error)
            }
        }
    }

    /// Has a process of its own ready that forks the jobs of a sandbox, where it is one for that. Without, they
    /// are slower.
    pub fn warm(&self, compiled: &Compiled) {
        if let Err(error) = self.zygotes.warm(compiled.sandbox(), self.cgroups.switch()) {
            say!(
                "{}; jobs are forked by remitd itself, more slowly",
                chain(&error)
            );
        }
    }

    /// Keeps nothing ready for the jobs of sandboxes that are no more.
    pub fn forget_others<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) {
        self.zygotes.keep_for(sandboxes);
    }

    /// Makes what a job will need that is still to come: its cgroup.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_ready(&self, job: JobId) -> Result<Ready> {
        self.cgroups.make(&job.to_string()).map(Ready::of)
    }

    /// Has a child forked that waits to become the job of this uid, in its cgroup. Whether a zygote is ready for that;
    /// whether there is such a child is known later.
    pub fn equip(&self, ready: &mut Ready, compiled: &Compiled, uid: u32) -> bool {
        let sandbox = compiled.sandbox();
        let cgroup = ready.cgroup().map(Cgroup::fd);
        let waiting = self.zygotes.prepare(sandbox, cgroup, (uid, uid));
        let asked = waiting.is_some();
        ready.equip(waiting);
        asked
    }

    /// Says that nothing that was made ready is there any more.
    pub fn dismissed(&self) {
        self.zygotes.dismissed();
    }

    /// The limits of each process. Where a controller counts the tasks of the whole job, it shall
    /// be the one that refuses: it remembers that it did. `user`: whose processes they are, where that is not the
    /// job's own uid.
    fn own(&self, limits: &Limits, user: Option<u32>) -> Limits {
        match self.controllers().contains(&Controller::Pids) {
            true => Limits {
                nproc: limits.nproc.saturating_add(SPARE_TASKS),
                ..*limits
            },
            false => Limits {
                others: user.filter(|uid| *uid != 0).map(tasks_of),
                ..*limits
            },
        }
    }

    /// What stood when a job was executed, from its own steps.
    pub fn enforced(&self, plan: &Plan, steps: &[Step]) -> Enforced {
        let bound = &plan.bound;
        let controllers = match steps.contains(&Step::Cgroup) {
            true => self.controllers(),
            false => &[],
        };
        let clamped = bound.compiled.sandbox().clamped(&bound.limits);
        let user = bound.compiled.fixed_uid();
        let mut told = vec![format!("runtime {} s", bound.runtime.seconds)];
        told.extend(limits::told(&bound.limits, controllers, &clamped, user));
        let walls = match bound.compiled.base() {
            Base::Host => vec![NO_WALLS.to_owned()],
            Base::Read | Base::Strict => steps.iter().map(|step| step.name().to_owned()).collect(),
        };
        Enforced {
            profile: bound.compiled.name().to_owned(),
            uid: bound.compiled.fixed_uid().unwrap_or(plan.uid.get()),
            walls,
            landlock: match steps.contains(&Step::Landlock) {
                true => self.kernel.landlock_abi,
                false => 0,
            },
            limits: told,
        }
    }

    /// Ends all jobs at once, and all that waits for one.
    pub fn end_jobs(&self) {
        if let Err(error) = self.cgroups.switch().pull() {
            say_error!("the jobs cannot be ended all at once: {error}");
        }
    }

    /// A new keeper, after the old one has died.
    ///
    /// # Errors
    /// There can be none; nothing may run any more.
    pub fn renew_keeper(&mut self) -> Result<()> {
        self.zygotes.end(Duration::ZERO);
        let _ = floor::reap(self.keeper.pid());
        self.keeper = Keeper::start(self.keeper_id, self.keeper_id, self.cgroups.switch())?;
        Ok(())
    }

    /// Ends all that is left of jobs, then the zygotes and the keeper, and waits so long for each.
    pub fn end_keeper(&self, patience: Duration) {
        self.end_jobs();
        let keeper = &self.keeper;
        let _ = floor::pidfd_send_signal(keeper.pidfd(), libc::SIGKILL);
        self.zygotes.end(patience);
        parted(keeper.pidfd(), patience);
        let _ = floor::reap(keeper.pid());
    }

    /// A child that tries every wall of a sandbox, under a uid that nothing else has, and its cgroup.
    pub fn witness(&self, compiled: &Compiled, uid: u32) -> Result<(Witness, Cgroup)> {
        let cgroup = self.cgroups.make(&format!("witness-{uid}"))?;
        match witness(compiled.sandbox(), &cgroup, uid, uid) {
            Ok(witness) => Ok((witness, cgroup)),
            Err(error) => {
                drop(Ready::of(cgroup));
                Err(error)
            }
        }
    }

    /// The process that ends all jobs when the warden dies.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// What the kernel has.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The jobs' cgroups.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// The controllers of the jobs' cgroups.
    pub fn controllers(&self) -> &[Controller] {
        self.cgroups.controllers()
    }
}

/// The limits of a job and all that belongs to it.
fn together(bound: &Bound) -> Limits {
    let more = bound.compiled.sandbox().attendants();
    Limits {
        tasks: bound.limits.tasks.map(|tasks| tasks.saturating_add(more)),
        ..bound.limits
    }
}
