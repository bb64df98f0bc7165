//! Host support for all sandboxes: cgroups, the spawner, and the `Watchdog` process that kills all jobs if the daemon
//! dies. This module does not decide if the layers hold.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use remit_common::names::JobId;
use remit_common::outcome::Enforced;
use remit_policy::{Base, Eyes};
use remit_spawn::{Job, Kept, Kernel, SOCKET, Step, WARDEN};
use remit_sys::{
    Cgroup, Cgroups, Closing, Controller, Doing, Error, Limits, Result, Switch, spawn_root, sys,
};

use super::prepared::Secrets;
use super::{Compiled, visibility::limits};
use crate::audit::Recorded;
use crate::config::Config;
use crate::request::{BoundCall, Plan};
use crate::sandbox::prepared::PreforkedJob;
use crate::sandbox::spawner::{OrderedJob, Sandbox, SelfTest, Spawned, Spawner, Watchdog};
use crate::service::program::{self, c_string, environment, wait_for_exit};
use crate::startup::error::{Fatal, chain};

/// Tasks that the rlimit of a uid allows beyond the limit of the job's cgroup.
const SPARE_TASKS: u64 = 16;
const NO_LAYERS: &str = "none (host)";
/// A copy of the machine with the eyes of root lacks a layer.
const NO_MASK: &str = "unmasked";

/// Why a job was not forked.
#[derive(Debug)]
pub struct NotForked {
    pub why: Error,
    /// Its cgroup, in which a process may still end: until it has, the job's uid is no other job's.
    pub left: Option<PreforkedJob>,
}

impl NotForked {
    fn in_cgroup(why: Error, cgroup: Cgroup) -> Self {
        let left = Some(PreforkedJob::of(cgroup));
        Self { why, left }
    }
}

impl From<Error> for NotForked {
    fn from(why: Error) -> Self {
        Self { why, left: None }
    }
}

#[derive(Debug)]
pub struct HostSupport {
    watchdog: Watchdog,
    watchdog_uid: u32,
    spawner: Spawner,
    cgroups: Cgroups,
}

/// A job that its child may have begun, if it has one.
pub struct Ordered<'a> {
    secrets: Secrets<'a>,
    cgroup: Cgroup,
    child: Option<OrderedJob>,
}

impl HostSupport {
    /// Fails if the kernel cannot confine, or if cgroups, the spawner or the `Watchdog` cannot be created.
    pub fn set_up(config: &Config, program: &SpawnerProgram, closing: Closing) -> Result<Self> {
        let watchdog_uid = config.jobs.uid_first;
        // First, because it moves this process into a cgroup of its own, in which the spawner is born.
        let cgroups = Cgroups::open("remit")?;
        let has_cpu = cgroups.controllers().contains(&Controller::Cpu);
        let one_session = !has_cpu && Kernel::shares_by_session();
        let spawner = program.start(cgroups.switch(), one_session, closing)?;
        Ok(Self {
            watchdog: spawner.watch(watchdog_uid)?,
            watchdog_uid,
            cgroups,
            spawner,
        })
    }

    /// Gives a job to the child that was made for it, if there is one.
    pub fn order<'a>(
        &self,
        plan: &'a Recorded<Box<Plan>>,
        ready: Option<PreforkedJob>,
    ) -> std::result::Result<Ordered<'a>, NotForked> {
        let bound = &plan.bound;
        let secrets = match Secrets::seal(bound) {
            Ok(secrets) => secrets,
            Err(why) => return Err(NotForked { why, left: ready }),
        };
        let ready = match ready {
            Some(ready) => ready.made_for(bound.compiled.sandbox()),
            None => self.allocate(plan.job)?,
        };
        let (waiting, cgroup) = match ready.into_parts() {
            (waiting, Some(cgroup)) => (waiting, cgroup),
            (_, None) => (None, self.cgroups.make(&plan.job.to_string())?),
        };
        if let Err(error) = self.cgroups.limit(&cgroup, &together(bound)) {
            drop(waiting);
            return Err(NotForked::in_cgroup(error, cgroup));
        }
        let sandbox = bound.compiled.sandbox();
        let ordered = self.with_job(plan, &secrets, &cgroup, |job| {
            self.spawner.order(sandbox, job, waiting)
        });
        match ordered {
            Ok(child) => Ok(Ordered {
                secrets,
                cgroup,
                child,
            }),
            Err(error) => Err(NotForked::in_cgroup(error, cgroup)),
        }
    }

    fn with_job<T>(
        &self,
        plan: &Recorded<Box<Plan>>,
        secrets: &Secrets<'_>,
        cgroup: &Cgroup,
        then: impl FnOnce(&Job<'_>) -> T,
    ) -> T {
        let bound = &plan.bound;
        // A check sees the files of its plan instead.
        let stdin = plan.stdin().filter(|_| bound.staged.is_none());
        let stdin = plan.pack.as_ref().map(|pack| pack.job.as_fd()).or(stdin);
        then(&Job {
            uid: plan.uid.get(),
            gid: plan.uid.get(),
            loginuid: plan.requester.subject.loginuid(),
            argv: &bound.argv,
            arguments: &secrets.arguments(),
            path: &plan.path,
            env: &bound.env,
            cwd: &bound.cwd,
            stdin: secrets.stdin.as_ref().map(AsFd::as_fd).or(stdin),
            script: plan.script(),
            staged: bound.staged.as_ref().map(AsFd::as_fd),
            kept: plan.kept.as_deref().map(|view| Kept {
                users: view.users.as_fd(),
                tree: view.tree.as_fd(),
            }),
            measured: plan
                .approved
                .as_ref()
                .map_or(&[], |approved| &approved.files),
            cgroup: Some(cgroup.fd()),
            limits: &self.own(&bound.limits, bound.compiled.fixed_uid()),
        })
    }

    /// Returns the job, of the child that has it or of a new one.
    pub fn spawn(
        &self,
        plan: &Recorded<Box<Plan>>,
        ordered: Ordered<'_>,
    ) -> std::result::Result<(Spawned, Cgroup), NotForked> {
        let Ordered {
            secrets,
            cgroup,
            child,
        } = ordered;
        let sandbox = plan.bound.compiled.sandbox();
        let spawned = self.with_job(plan, &secrets, &cgroup, |job| {
            self.spawner.spawn(sandbox, job, child)
        });
        if let Some(why) = self.spawner.loss() {
            say!("a worker process ended: {why}; the next job of its profile starts another one");
        }
        match spawned {
            Ok(spawned) => Ok((spawned, cgroup)),
            Err(error) => Err(NotForked::in_cgroup(error, cgroup)),
        }
    }

    pub fn warm(&self, compiled: &Compiled) {
        if self.counted(compiled.fixed_uid()).is_some() {
            return;
        }
        if let Err(error) = self.spawner.warm(compiled.sandbox()) {
            say!("{}; the first job tries to start one again", chain(&error));
        }
    }

    pub fn forget_others<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) {
        if let Err(error) = self.spawner.keep_for(sandboxes) {
            say!("{}", chain(&error));
        }
    }

    pub fn allocate(&self, job: JobId) -> Result<PreforkedJob> {
        self.cgroups.make(&job.to_string()).map(PreforkedJob::of)
    }

    /// Requests a pre-forked child. Returns false if that is impossible now. The existence of the child is known later.
    pub fn prefork(&self, ready: &mut PreforkedJob, compiled: &Compiled, uid: u32) -> bool {
        if self.counted(compiled.fixed_uid()).is_some() {
            return false;
        }
        let sandbox = compiled.sandbox();
        let cgroup = ready.cgroup().map(Cgroup::fd);
        let waiting = cgroup.and_then(|cgroup| self.spawner.prepare(sandbox, cgroup, (uid, uid)));
        let asked = waiting.is_some();
        ready.prefork(waiting);
        asked
    }

    /// Returns the limits of each process. If a controller counts the tasks of the whole job, it must refuse first,
    /// because it remembers refusals. `user`: the owner of the processes, if not the job's own uid.
    fn own(&self, limits: &Limits, user: Option<u32>) -> Limits {
        match self.controllers().contains(&Controller::Pids) {
            true => Limits {
                nproc: limits.nproc.saturating_add(SPARE_TASKS),
                ..*limits
            },
            false => Limits {
                others: self.counted(user),
                ..*limits
            },
        }
    }

    /// Returns the user whose tasks the job's child must count, because no controller counts those of the job.
    fn counted(&self, user: Option<u32>) -> Option<u32> {
        let none_counts = !self.controllers().contains(&Controller::Pids);
        user.filter(|uid| *uid != 0 && none_counts)
    }

    /// Returns what was enforced when a job executed its program, from the steps that the job reported.
    pub fn enforced(&self, plan: &Plan, steps: &[Step]) -> Enforced {
        let bound = &plan.bound;
        let controllers = match steps.contains(&Step::Cgroup) {
            true => self.controllers(),
            false => &[],
        };
        let clamped = bound.compiled.sandbox().clamped(&bound.limits);
        let user = bound.compiled.fixed_uid();
        let mut limit_texts = vec![format!("runtime {} s", bound.runtime.seconds)];
        limit_texts.extend(limits::limit_texts(
            &bound.limits,
            controllers,
            &clamped,
            (user, bound.compiled.space()),
        ));
        limit_texts.extend(limits::names_text(bound.compiled.profile()));
        let layers = match bound.compiled.base() {
            Base::Host => vec![NO_LAYERS.to_owned()],
            Base::Read | Base::Strict | Base::Plan | Base::Extract => {
                let steps = steps.iter().map(|step| step.name());
                let unmasked = (bound.compiled.profile().eyes == Eyes::Root).then_some(NO_MASK);
                steps.chain(unmasked).map(str::to_owned).collect()
            }
        };
        Enforced {
            profile: bound.compiled.name().to_owned(),
            uid: bound.compiled.fixed_uid().unwrap_or(plan.uid.get()),
            layers,
            landlock: match steps.contains(&Step::Landlock) {
                true => self.kernel().landlock_abi,
                false => 0,
            },
            limits: limit_texts,
        }
    }

    pub fn end_jobs(&self) {
        if let Err(error) = self.cgroups.switch().pull() {
            say_error!("the jobs cannot be ended all at once: {error}");
        }
    }

    /// Fails if no `Watchdog` can be started. Then nothing may run.
    pub fn restart_watchdog(&mut self) -> Result<()> {
        self.spawner.end_workers(Duration::ZERO);
        let _ = sys::reap(self.watchdog.pid());
        self.watchdog = self.spawner.watch(self.watchdog_uid)?;
        Ok(())
    }

    /// Kills all that is left of jobs and self-tests, then ends workers and `Watchdog`. Waits up to `patience` for each.
    pub fn end_watchdog(&self, patience: Duration) {
        self.end_jobs();
        let watchdog = &self.watchdog;
        let _ = sys::pidfd_send_signal(watchdog.pidfd(), libc::SIGKILL);
        self.spawner.end_workers(patience);
        wait_for_exit(watchdog.pidfd(), patience);
        let _ = sys::reap(watchdog.pid());
        match self.cgroups.wait_until_empty(patience) {
            Ok(true) => {}
            Ok(false) => {
                say_error!("processes of jobs are left, because the kernel has not ended them yet")
            }
            Err(error) => say_error!("{error}"),
        }
    }

    /// Starts a self-test of all layers in its own cgroup. No other process may have `uid`.
    pub fn self_test(
        &self,
        compiled: &Compiled,
        uid: u32,
    ) -> std::result::Result<(SelfTest, Cgroup), NotForked> {
        let cgroup = self.cgroups.make(&format!("witness-{uid}"))?;
        match self
            .spawner
            .self_test(compiled.sandbox(), cgroup.fd(), (uid, uid))
        {
            Ok(self_test) => Ok((self_test, cgroup)),
            Err(error) => Err(NotForked::in_cgroup(error, cgroup)),
        }
    }

    pub fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    pub fn kernel(&self) -> &Kernel {
        self.spawner.kernel()
    }

    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    pub fn controllers(&self) -> &[Controller] {
        self.cgroups.controllers()
    }
}

/// Returns the limits of a job including the processes that its sandbox needs.
fn together(bound: &BoundCall) -> Limits {
    let more = bound.compiled.sandbox().attendants();
    Limits {
        tasks: bound.limits.tasks.map(|tasks| tasks.saturating_add(more)),
        ..bound.limits
    }
}

#[derive(Clone, Debug)]
pub struct SpawnerProgram {
    path: PathBuf,
}

impl SpawnerProgram {
    pub fn find() -> std::result::Result<Self, Fatal> {
        let path = program::find("remit-spawner")?;
        Ok(Self { path })
    }

    /// Starts it with its socket and the pidfd of this process, and nothing else. Fails if the kernel cannot confine.
    pub fn start(&self, switch: &Switch, one_session: bool, closing: Closing) -> Result<Spawner> {
        let doing = || "cannot start remit-spawner".to_owned();
        let refused = |error: Fatal| Error::refused(doing(), error.to_string());
        let (own_end, its) = Spawner::socket().doing(doing)?;
        let warden = sys::pidfd_open(std::process::id().cast_signed()).doing(doing)?;
        let program = c_string(self.path.as_os_str().as_bytes()).map_err(refused)?;
        let mut environment = environment().map_err(refused)?;
        environment.extend(switched_off());
        let fds = [(its.as_fd(), SOCKET), (warden.as_fd(), WARDEN)];
        let argv = [program.clone()];
        let process = spawn_root(&program, &argv, &environment, &fds)?;
        drop(its);
        Spawner::new(process, own_end, switch, one_session, closing)
    }
}

#[cfg(not(feature = "mutate"))]
const fn switched_off() -> Option<CString> {
    None
}

/// Under test, names the layer that the spawner leaves out.
#[cfg(feature = "mutate")]
fn switched_off() -> Option<CString> {
    let layer = std::env::var("REMIT_MUTATE").ok()?;
    CString::new(format!("REMIT_MUTATE={layer}")).ok()
}
