//! The sandboxes that jobs run in, and whether they were seen to hold. Nothing is forked behind
//! walls that were not: [`Walls::spawn`] has them proved alone.

mod compiled;
mod ground;
mod limits;
mod proof;
mod ready;
mod report;
mod secrets;
mod sight;
mod standing;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use remit_common::denial::Sight;
use remit_common::names::JobId;
use remit_common::outcome::Enforced;
use remit_common::refusal::{Code, Refusal};
use remit_confine::{Cgroup, Controller, Error, Keeper, Kernel, Spawned, Step, Witness};
use remit_policy::{Base, Policy, Profile};

use crate::accounts::optional_group;
use crate::audit::Recorded;
use crate::config::{Config, Need};
use crate::error::{Fatal, chain};
use crate::kernel_audit::KernelAudit;
use crate::plan::Plan;
use crate::uids::JobUid;
pub use compiled::{Compiled, Sandboxes, Workshop, limits_in};
use ground::Ground;
pub use proof::{Asked, broken};
pub use ready::{Ready, empty};
use standing::{Stand, UNTRIED};

/// What jobs of a profile see and reach.
pub fn sight(profile: &Profile) -> Sight {
    sight::of(profile)
}

/// What walls are tried of, each by a witness of its own: `host` has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walled {
    /// Base `read`.
    Read,
    /// Base `strict`.
    Strict,
}

impl Walled {
    /// In the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::Read, Self::Strict];

    /// The profile that a witness has.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Strict => "strict",
        }
    }

    /// Of a profile; `None` for one without walls.
    pub const fn of(base: Base) -> Option<Self> {
        match base {
            Base::Read => Some(Self::Read),
            Base::Strict => Some(Self::Strict),
            Base::Host => None,
        }
    }

    fn profile(self) -> Arc<Profile> {
        Arc::new(match self {
            Self::Read => Profile::read(),
            Self::Strict => Profile::strict(),
        })
    }
}

/// The sandboxes, whatever their standing.
#[derive(Debug)]
pub struct Walls {
    /// Why there is none, if so: then nothing runs, in whatever profile.
    ground: Result<Ground, String>,
    workshop: Option<Workshop>,
    read: Stand,
    strict: Stand,
    /// `uname -r`.
    release: String,
    /// Whether the kernel tells what they refuse.
    kernel_audit: KernelAudit,
}

impl Walls {
    /// Puts all walls up and has a witness of each base try each one. What cannot be built or does
    /// not hold refuses that base, not the start: an administrator can ask why.
    ///
    /// # Errors
    /// `sandbox.require` names what this machine lacks.
    pub fn raise(config: &Config) -> Result<Self, Fatal> {
        let release = Kernel::release().map_err(|error| Fatal::System(chain(&error)))?;
        let kernel_audit = KernelAudit::ask(config.audit.kernel);
        let ground = match Ground::lay(config) {
            Ok(ground) => ground,
            Err(error) => {
                let why = chain(&error);
                return Ok(Self {
                    read: Stand::refused(None, why.clone()),
                    strict: Stand::refused(None, why.clone()),
                    ground: Err(why),
                    workshop: None,
                    release,
                    kernel_audit,
                });
            }
        };
        check_needs(&ground, &config.sandbox.require)?;
        let groups = config.jobs.groups.iter().filter_map(optional_group);
        let workshop = Workshop::new(
            ground.kernel().clone(),
            groups.collect(),
            config.limits.clone(),
            kernel_audit.is_heard(),
        );
        // The last uid of the range: no job has it before the others were used.
        let uid = config.jobs.uid_first + (config.jobs.uid_count - 1);
        let stand = |walled: Walled| match workshop.compile(&walled.profile()).map(Rc::new) {
            Err(error) => Stand::refused(None, chain(&error)),
            Ok(compiled) => match proof::now(&ground, &compiled, uid) {
                Ok(()) => Stand::proved(compiled),
                Err(why) => Stand::refused(Some(compiled), why),
            },
        };
        Ok(Self {
            read: stand(Walled::Read),
            strict: stand(Walled::Strict),
            workshop: Some(workshop),
            ground: Ok(ground),
            release,
            kernel_audit,
        })
    }

    /// Compiles the profiles of a policy that is to be in force.
    pub fn sandboxes(&self, policy: &Policy) -> Sandboxes {
        let workshop = self.workshop.as_ref();
        let why = self.ground.as_ref().err().map_or("", String::as_str);
        let sandboxes = Sandboxes::of(policy, workshop.ok_or(why));
        if let Ok(ground) = &self.ground {
            ground.forget_others(sandboxes.all());
        }
        sandboxes
    }

    /// Has ready what makes jobs of `read` start sooner; waits for it, some milliseconds.
    pub fn warm(&self, sandboxes: &Sandboxes) {
        if let (Ok(ground), Ok(read)) = (&self.ground, sandboxes.get(&Profile::read())) {
            ground.warm(&read);
        }
    }

    /// Whether any wait to be tried again.
    pub fn are_untried(&self) -> bool {
        self.read.is_untried() || self.strict.is_untried()
    }

    /// Whether a job may be put in a sandbox of this base just now.
    ///
    /// # Errors
    /// `busy` while the walls wait to be tried again; else `unsupported_kernel`, naming the wall and
    /// what was seen of it.
    pub fn open_for(&self, base: Base) -> Result<(), Refusal> {
        let (name, why) = match (Walled::of(base), &self.ground) {
            (Some(walled), _) => {
                let stand = self.stand(walled);
                if stand.is_untried() {
                    return Err(busy());
                }
                match stand.why_not() {
                    Some(why) => (walled.name(), why),
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
            .by("the daemon's own trial of the sandbox")
            .lift("remit doctor shows every wall; when it is mended, systemctl restart remitd")
            .next(
                "tell the person you work for; until then only facts about the host are answered",
            ))
    }

    /// Lets nothing run any more in what is made of this base.
    pub fn refuse(&mut self, walled: Walled, why: String) {
        self.stand_mut(walled).refuse(why);
    }

    /// Each wall of this base was tried as it stands now, and held. What is refused stays so.
    pub fn prove(&mut self, walled: Walled) {
        self.stand_mut(walled).prove();
    }

    /// Forks a job in its sandbox, where `ready` is what was made for it. Takes only what is recorded.
    ///
    /// # Errors
    /// Nothing was forked.
    pub fn spawn(
        &self,
        plan: &Recorded<Box<Plan>>,
        ready: Option<Ready>,
    ) -> Result<(Spawned, Cgroup), Error> {
        let walled = Walled::of(plan.bound.compiled.base());
        match walled.and_then(|walled| self.stand(walled).why_not()) {
            None => self.ground()?.spawn(plan, ready),
            Some(why) => Err(unbuilt(why)),
        }
    }

    /// Makes what a job of this id will need.
    ///
    /// # Errors
    /// It cannot be made, or there are no walls.
    pub fn make_ready(&self, job: JobId) -> Result<Ready, Error> {
        self.ground()?.make_ready(job)
    }

    /// Has something wait in there to become the job of this uid. Whether that can be for this sandbox just now.
    pub fn equip(&self, ready: &mut Ready, compiled: &Compiled, uid: u32) -> bool {
        let ground = self.ground.as_ref();
        ground.is_ok_and(|ground| ground.equip(ready, compiled, uid))
    }

    /// Says that nothing that was made ready is there any more.
    pub fn dismissed(&self) {
        if let Ok(ground) = &self.ground {
            ground.dismissed();
        }
    }

    /// What stood when a job was executed, from its own steps.
    pub fn enforced(&self, plan: &Plan, steps: &[Step]) -> Option<Enforced> {
        let ground = self.ground.as_ref().ok()?;
        Some(ground.enforced(plan, steps))
    }

    /// Ends all jobs at once, and all that waits for one.
    pub fn end_jobs(&self) {
        if let Ok(ground) = &self.ground {
            ground.end_jobs();
        }
    }

    /// Ends all that is left of jobs, the zygotes and the keeper, and waits so long for each.
    pub fn end_keeper(&self, patience: Duration) {
        if let Ok(ground) = &self.ground {
            ground.end_keeper(patience);
        }
    }

    /// A new keeper, after the old one has died. Whoever killed it may have done more: nothing runs behind
    /// walls until they are tried. Whether there is one: without, nothing runs any more.
    pub fn renew_keeper(&mut self) -> bool {
        let renewed = match &mut self.ground {
            Ok(ground) => ground.renew_keeper(),
            Err(_) => return false,
        };
        if let Err(error) = renewed {
            self.give_up(&chain(&error));
            return false;
        }
        self.read.renew();
        self.strict.renew();
        true
    }

    /// Lets nothing run any more at all.
    pub fn give_up(&mut self, why: &str) {
        self.ground = Err(why.to_owned());
        self.workshop = None;
        for walled in Walled::ALL {
            self.refuse(walled, why.to_owned());
        }
    }

    /// A child that tries every wall of a base, under a uid that nothing else has, and its cgroup.
    ///
    /// # Errors
    /// It cannot be forked, or there are no walls.
    pub fn witness(&self, walled: Walled, uid: &JobUid) -> Result<(Witness, Cgroup), Error> {
        let stand = self.stand(walled);
        match stand.compiled() {
            Some(compiled) => self.ground()?.witness(compiled, uid.get()),
            None => Err(unbuilt(stand.why_not().unwrap_or_default())),
        }
    }

    /// Whether the kernel tells what the walls refuse.
    pub fn kernel_audit(&self) -> &KernelAudit {
        &self.kernel_audit
    }

    /// The process that ends all jobs when this one dies.
    pub fn keeper(&self) -> Option<&Keeper> {
        self.ground.as_ref().ok().map(Ground::keeper)
    }

    fn ground(&self) -> Result<&Ground, Error> {
        self.ground.as_ref().map_err(|why| unbuilt(why))
    }

    fn stand(&self, walled: Walled) -> &Stand {
        match walled {
            Walled::Read => &self.read,
            Walled::Strict => &self.strict,
        }
    }

    fn stand_mut(&mut self, walled: Walled) -> &mut Stand {
        match walled {
            Walled::Read => &mut self.read,
            Walled::Strict => &mut self.strict,
        }
    }
}

fn busy() -> Refusal {
    Refusal::new(Code::Busy, format!("nothing runs just now: {UNTRIED}"))
        .by("the daemon's own trial of the sandbox")
        .lift("it is tried every second; remit status and the log tell what is in the way")
        .next("ask again in a second")
}

fn check_needs(ground: &Ground, needs: &[Need]) -> Result<(), Fatal> {
    let has = |controller| ground.controllers().contains(&controller);
    let missing = needs.iter().find(|need| match need {
        Need::Landlock => ground.kernel().landlock_abi == 0,
        // Without one there is no ground.
        Need::Cgroup => false,
        Need::Controllers => !has(Controller::Memory) || !has(Controller::Pids),
    });
    match missing {
        None => Ok(()),
        Some(need) => Err(Fatal::Unavailable(format!(
            "sandbox.require names '{}', and this machine (Linux {}) does not have it",
            need.name(),
            ground.kernel().release
        ))),
    }
}

fn unbuilt(why: &str) -> Error {
    Error::Refused {
        doing: "cannot confine anything".to_owned(),
        why: why.to_owned(),
    }
}
