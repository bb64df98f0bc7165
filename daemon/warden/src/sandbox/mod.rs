//! Builds the sandboxes of jobs and has them tested. [`SandboxManager::order`] starts nothing in an untested one.

pub(crate) mod checkup;
mod compiled;
mod confined_base;
pub(crate) mod host_support;
pub(crate) mod pool;
pub(crate) mod prepared;
mod report;
pub(crate) mod self_test;
pub(crate) mod spawner;
pub(crate) mod visibility;

use std::rc::Rc;
use std::time::Duration;

use remit_common::denial::ProfileVisibility;
use remit_common::names::JobId;
use remit_common::outcome::Enforced;
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Base, Policy, Profile};
use remit_spawn::{Kernel, Step};
use remit_sys::{Cgroup, Closing, Controller, Error};

use crate::audit::{Recorded, kernel_audit::KernelAudit};
use crate::config::{Config, MachineLimits, Need};
use crate::identity::user_names::optional_group;
use crate::job::allocation::JobUid;
use crate::request::Plan;
use crate::sandbox::host_support::{HostSupport, NotForked, Ordered, SpawnerProgram};
pub use crate::sandbox::prepared::{PreforkedJob, empty};
use crate::sandbox::self_test::BaseState;
pub use crate::sandbox::self_test::{TestedAt, broken};
use crate::sandbox::spawner::{SelfTest, Spawned, Spawner, Watchdog};
use crate::service::bus_process::Bus;
use crate::startup::error::{Fatal, chain};
pub use compiled::{Compiled, Sandboxes, Workshop, limits_in};
pub use confined_base::ConfinedBase;

#[derive(Debug)]
pub struct SandboxManager {
    /// `Err`: there is no sandbox, for this reason. Then nothing runs in any profile.
    host_support: Result<HostSupport, String>,
    workshop: Option<Workshop>,
    bus: Option<Bus>,
    /// Why jobs have no bus, if nobody wanted that.
    no_bus: Option<String>,
    read: BaseState,
    strict: BaseState,
    plan: BaseState,
    release: String,
    kernel_audit: KernelAudit,
}

impl SandboxManager {
    /// Builds all sandbox layers and runs the self-test of each base. A failure refuses that base, not the start: an
    /// administrator can ask why. `closing` closes jobs' output. Fails if this machine lacks what `sandbox.require` names.
    pub fn set_up(config: &Config, limits: MachineLimits, closing: Closing) -> Result<Self, Fatal> {
        let release = Kernel::release().map_err(|error| Fatal::System(chain(&error)))?;
        let kernel_audit = KernelAudit::ask(config.audit.kernel);
        let program = SpawnerProgram::find()?;
        let host_support = match HostSupport::set_up(config, &program, closing) {
            Ok(host_support) => host_support,
            Err(error) => {
                let why = chain(&error);
                return Ok(Self {
                    read: BaseState::refused(None, why.clone()),
                    strict: BaseState::refused(None, why.clone()),
                    plan: BaseState::unneeded(),
                    host_support: Err(why),
                    workshop: None,
                    bus: None,
                    no_bus: None,
                    release,
                    kernel_audit,
                });
            }
        };
        check_needs(&host_support, &config.sandbox.require)?;
        let (bus, no_bus) = match Bus::find(config).and_then(|bus| started(bus, &host_support)) {
            Ok(bus) => (bus, None),
            Err(why) => (None, Some(why.to_string())),
        };
        let groups = config.jobs.groups.iter().filter_map(optional_group);
        let workshop = Workshop::new(
            Box::new(host_support.spawner().clone()),
            groups.collect(),
            limits,
            kernel_audit.is_heard(),
            bus.is_some(),
            config.sandbox.require.contains(&Need::Landlock),
        );
        // The last uid of the range: no job has it before the others were used.
        let uid = config.jobs.uid_first + (config.jobs.uid_count - 1);
        let base_state =
            |confined: ConfinedBase| match workshop.compile(&confined.profile()).map(Rc::new) {
                Err(error) => BaseState::refused(None, chain(&error)),
                Ok(compiled) => match self_test::now(&host_support, &compiled, uid) {
                    Ok(()) => BaseState::proved(compiled),
                    Err(why) => BaseState::refused(Some(compiled), why),
                },
            };
        Ok(Self {
            read: base_state(ConfinedBase::Read),
            strict: base_state(ConfinedBase::Strict),
            plan: BaseState::unneeded(),
            workshop: Some(workshop),
            bus,
            no_bus,
            host_support: Ok(host_support),
            release,
            kernel_audit,
        })
    }

    pub fn sandboxes(&self, policy: &Policy) -> Sandboxes {
        let workshop = self.workshop.as_ref();
        let why = self.host_support.as_ref().err().map_or("", String::as_str);
        let sandboxes = Sandboxes::of(policy, workshop.ok_or(why));
        if let Ok(host_support) = &self.host_support {
            host_support.forget_others(sandboxes.all());
        }
        sandboxes
    }

    /// Starts the worker of `read`, so its jobs start sooner. Blocks for some milliseconds.
    pub fn warm(&self, sandboxes: &Sandboxes) {
        if let (Ok(host_support), Ok(read)) = (&self.host_support, sandboxes.get(&Profile::read()))
        {
            host_support.warm(&read);
        }
    }

    /// Returns true if nothing may start. Base `plan` is tested while others run.
    pub fn are_untried(&self) -> bool {
        self.read.is_untried() || self.strict.is_untried()
    }

    pub fn has_untried(&self) -> bool {
        self.bases()
            .any(|confined| self.base_state(confined).is_untried())
    }

    /// Builds base `plan` when it is first needed. Returns true if its self-test is due: it looks through directories of the
    /// machine, so it does not run for nothing.
    pub fn need_plan(&mut self) -> bool {
        if self.plan.is_needed() {
            return false;
        }
        let compiled = match &self.workshop {
            Some(workshop) => workshop.compile(&ConfinedBase::Plan.profile()),
            None => return false,
        };
        self.plan = match compiled.map(Rc::new) {
            Ok(compiled) => BaseState::untried(compiled),
            Err(error) => BaseState::refused(None, chain(&error)),
        };
        self.plan.is_untried()
    }

    /// Returns the bases that are in use.
    pub fn bases(&self) -> impl Iterator<Item = ConfinedBase> {
        let all = ConfinedBase::ALL.into_iter();
        all.filter(|confined| self.base_state(*confined).is_needed())
    }

    /// Checks that jobs of this base may start. Errors: `busy` during a self-test, `unsupported_kernel` with the layer.
    pub fn check_usable(&self, base: Base) -> Result<(), Refusal> {
        let (name, why) = match (ConfinedBase::of(base), &self.host_support) {
            (Some(confined), _) => {
                let base_state = self.base_state(confined);
                match base_state.why_not() {
                    Some(why) if base_state.is_untried() => return Err(busy(why)),
                    Some(why) => (confined.name(), why),
                    None => return Ok(()),
                }
            }
            (None, Err(why)) => ("host", why.as_str()),
            (None, Ok(_)) => return Ok(()),
        };
        let text = format!(
            "nothing runs in '{name}' on this machine (Linux {}): {why}",
            self.release
        );
        Err(Refusal::new(Code::UnsupportedKernel, text)
            .by("the daemon's self-test of the sandbox")
            .lift(
                "remit doctor shows each sandbox layer; after the repair: systemctl restart remitd",
            )
            .next(
                "tell the person you work for; until then only facts about the host are answered",
            ))
    }

    pub fn refuse(&mut self, confined: ConfinedBase, why: String) {
        self.base_state_mut(confined).refuse(why);
    }

    /// Marks a base whose layers passed the self-test in their present state. A refused base stays refused.
    pub fn prove(&mut self, confined: ConfinedBase) {
        self.base_state_mut(confined).prove();
    }

    /// Gives a job to the child that was prepared for it. Accepts only recorded plans. `ready` is what was prepared.
    pub fn order<'a>(
        &self,
        plan: &'a Recorded<Box<Plan>>,
        ready: Option<PreforkedJob>,
    ) -> Result<Ordered<'a>, NotForked> {
        let confined = ConfinedBase::of(plan.bound.compiled.base());
        let usable = match confined.and_then(|confined| self.base_state(confined).why_not()) {
            None => self.host_support(),
            Some(why) => Err(unbuilt(why)),
        };
        match usable {
            Ok(host_support) => host_support.order(plan, ready),
            Err(why) => Err(NotForked { why, left: ready }),
        }
    }

    /// Returns the process of a job that was ordered just before. Without a child that goes on, forks one.
    pub fn spawn(
        &self,
        plan: &Recorded<Box<Plan>>,
        ordered: Ordered<'_>,
    ) -> Result<(Spawned, Cgroup), NotForked> {
        self.host_support()?.spawn(plan, ordered)
    }

    pub fn allocate(&self, job: JobId) -> Result<PreforkedJob, Error> {
        self.host_support()?.allocate(job)
    }

    pub fn prefork(&self, ready: &mut PreforkedJob, compiled: &Compiled, uid: u32) -> bool {
        let host_support = self.host_support.as_ref();
        host_support.is_ok_and(|host_support| host_support.prefork(ready, compiled, uid))
    }

    pub fn enforced(&self, plan: &Plan, steps: &[Step]) -> Option<Enforced> {
        let host_support = self.host_support.as_ref().ok()?;
        Some(host_support.enforced(plan, steps))
    }

    pub fn end_jobs(&self) {
        if let Ok(host_support) = &self.host_support {
            host_support.end_jobs();
        }
    }

    pub fn end_watchdog(&self, patience: Duration) {
        if let Ok(host_support) = &self.host_support {
            host_support.end_watchdog(patience);
        }
    }

    /// Starts a new PID 1 after the old one died. Whoever killed it may have done more, so nothing runs in a sandbox
    /// before the next self-test. Returns false if there is none: then nothing runs any more.
    pub fn restart_watchdog(&mut self) -> bool {
        let Ok(host_support) = &mut self.host_support else {
            return false;
        };
        let renewed = host_support.restart_watchdog();
        // The spawner has died, too: that is the next event, and ends the daemon. To give up here would drop it.
        let is_over = host_support.spawner().why_over().is_some();
        self.read.renew();
        self.strict.renew();
        self.plan.renew();
        match renewed {
            Ok(()) => true,
            Err(_) if is_over => false,
            Err(error) => {
                self.give_up(&chain(&error));
                false
            }
        }
    }

    pub fn spawner(&self) -> Option<&Spawner> {
        self.host_support.as_ref().ok().map(HostSupport::spawner)
    }

    pub fn give_up(&mut self, why: &str) {
        if let Ok(host_support) = &self.host_support {
            host_support.spawner().end_workers(Duration::ZERO);
        }
        self.host_support = Err(why.to_owned());
        self.workshop = None;
        for confined in self.bases().collect::<Vec<_>>() {
            self.refuse(confined, why.to_owned());
        }
    }

    /// Forks the self-test of a base, under a uid that nothing else has, and returns its cgroup too.
    pub fn self_test(
        &self,
        confined: ConfinedBase,
        uid: &JobUid,
    ) -> Result<(SelfTest, Cgroup), NotForked> {
        let base_state = self.base_state(confined);
        match base_state.compiled() {
            Some(compiled) => self.host_support()?.self_test(compiled, uid.get()),
            None => Err(unbuilt(base_state.why_not().unwrap_or_default()).into()),
        }
    }

    /// Starts `remit-bus`, and lets the jobs of later workers reach it.
    pub fn start_bus(&mut self) -> Result<(), Fatal> {
        match (&mut self.bus, &self.host_support) {
            (Some(bus), Ok(host_support)) => start_bus(bus, host_support),
            _ => Ok(()),
        }
    }

    pub fn visibility(&self, profile: &Profile) -> ProfileVisibility {
        visibility::of(profile, self.bus.is_some())
    }

    pub fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    pub fn bus_mut(&mut self) -> Option<&mut Bus> {
        self.bus.as_mut()
    }

    pub fn kernel_audit(&self) -> &KernelAudit {
        &self.kernel_audit
    }

    /// Returns PID 1, which ends all jobs when this process dies.
    pub fn watchdog(&self) -> Option<&Watchdog> {
        self.host_support.as_ref().ok().map(HostSupport::watchdog)
    }

    fn host_support(&self) -> Result<&HostSupport, Error> {
        self.host_support.as_ref().map_err(|why| unbuilt(why))
    }

    fn base_state(&self, confined: ConfinedBase) -> &BaseState {
        match confined {
            ConfinedBase::Read => &self.read,
            ConfinedBase::Strict => &self.strict,
            ConfinedBase::Plan => &self.plan,
        }
    }

    fn base_state_mut(&mut self, confined: ConfinedBase) -> &mut BaseState {
        match confined {
            ConfinedBase::Read => &mut self.read,
            ConfinedBase::Strict => &mut self.strict,
            ConfinedBase::Plan => &mut self.plan,
        }
    }
}

fn started(bus: Option<Bus>, host_support: &HostSupport) -> Result<Option<Bus>, Fatal> {
    let Some(mut bus) = bus else {
        return Ok(None);
    };
    start_bus(&mut bus, host_support)?;
    Ok(Some(bus))
}

fn start_bus(bus: &mut Bus, host_support: &HostSupport) -> Result<(), Fatal> {
    let socket = bus.start()?;
    let used = host_support.spawner().use_bus(socket);
    used.map_err(|error| Fatal::System(chain(&error)))
}

fn busy(why: &str) -> Refusal {
    Refusal::new(Code::Busy, format!("nothing runs just now: {why}"))
        .by("the daemon's self-test of the sandbox")
        .lift("it is tried every second; remit status and the log tell what is in the way")
        .next("ask again in a second")
}

fn check_needs(host_support: &HostSupport, needs: &[Need]) -> Result<(), Fatal> {
    let has = |controller| host_support.controllers().contains(&controller);
    let missing = needs.iter().find(|need| match need {
        Need::Landlock => host_support.kernel().landlock_abi == 0,
        // Without a cgroup there is no `HostSupport`.
        Need::Cgroup => false,
        Need::Controllers => !has(Controller::Memory) || !has(Controller::Pids),
    });
    match missing {
        None => Ok(()),
        Some(need) => Err(Fatal::Unavailable(format!(
            "sandbox.require names '{}', which this machine (Linux {}) does not have",
            need.name(),
            host_support.kernel().release
        ))),
    }
}

fn unbuilt(why: &str) -> Error {
    Error::Refused {
        doing: "cannot confine anything".to_owned(),
        why: why.to_owned(),
    }
}
