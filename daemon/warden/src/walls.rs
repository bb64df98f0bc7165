//! The sandbox that jobs run in, and whether it was seen to hold. Nothing is forked behind walls
//! that were not: [`Walls::spawn`] has them from [`Standing::Proved`] alone.

mod built;
mod limits;
mod proof;

use std::mem;

use remit_common::admin::{ProfileCheck, WallCheck, WallState};
use remit_common::outcome::Enforced;
use remit_common::refusal::{Code, Refusal};
use remit_confine::{
    Cgroup, Cgroups, Controller, Error, Finding, Keeper, Kernel, Killing, Limits, Spawned, Step,
    Wall, Witness,
};

use crate::audit::Recorded;
use crate::config::{Config, Need};
use crate::error::{Fatal, chain};
use crate::plan::Plan;
use built::Built;
pub use proof::{Asked, broken};

/// The one profile of this release.
const PROFILE: &str = "read";
/// Why nothing runs in what is put up and not tried yet.
const UNTRIED: &str =
    "the keeper of the jobs died, and the walls around a new one are not tried yet";

/// The sandbox, whatever its standing.
#[derive(Debug)]
pub struct Walls {
    standing: Standing,
    /// `uname -r`.
    release: String,
}

#[derive(Debug)]
enum Standing {
    /// A witness tried each wall from inside, and each held.
    Proved(Built),
    /// Proved once, and put up anew since: nothing runs until each wall was tried again.
    Untried(Built),
    /// Nothing runs any more, until the daemon is started again.
    Refused {
        /// Which wall, and what was seen of it.
        why: String,
        /// What could be built: jobs that run are ended by it.
        built: Option<Built>,
    },
}

impl Walls {
    /// Puts all walls up and has a witness try each one. What cannot be built or does not hold
    /// refuses the profile, not the start: an administrator can ask why.
    ///
    /// # Errors
    /// `sandbox.require` names what this machine lacks.
    pub fn raise(config: &Config) -> Result<Self, Fatal> {
        let release = Kernel::release().map_err(|error| Fatal::System(chain(&error)))?;
        let refused = |why, built| Standing::Refused { why, built };
        let standing = match Built::build(config) {
            Err(error) => refused(chain(&error), None),
            Ok(built) => {
                check_needs(&built, &config.sandbox.require)?;
                // The last uid of the range: no job has it before the others were used.
                let uid = config.jobs.uid_first + (config.jobs.uid_count - 1);
                match proof::now(&built, uid) {
                    Ok(()) => Standing::Proved(built),
                    Err(why) => refused(why, Some(built)),
                }
            }
        };
        Ok(Self { standing, release })
    }

    /// Why nothing may run, if so.
    pub fn refused(&self) -> Option<&str> {
        match &self.standing {
            Standing::Proved(_) => None,
            Standing::Untried(_) => Some(UNTRIED),
            Standing::Refused { why, .. } => Some(why),
        }
    }

    /// Whether they wait to be tried again.
    pub fn are_untried(&self) -> bool {
        matches!(self.standing, Standing::Untried(_))
    }

    /// The same for whoever wants to run something.
    ///
    /// # Errors
    /// `busy` while they wait to be tried again; else `unsupported_kernel`, naming the wall and
    /// what was seen of it.
    pub fn open_for_work(&self) -> Result<(), Refusal> {
        if self.are_untried() {
            return Err(Refusal::new(Code::Busy, format!("nothing runs just now: {UNTRIED}"))
                .by("the daemon's own trial of the sandbox")
                .lift("it is tried every second; remit status and the log tell what is in the way")
                .next("ask again in a second"));
        }
        let Some(why) = self.refused() else {
            return Ok(());
        };
        let text = format!(
            "nothing runs in '{PROFILE}' on this machine (Linux {}): {why}",
            self.release
        );
        Err(Refusal::new(Code::UnsupportedKernel, text)
            .by("the daemon's own trial of the sandbox")
            .lift("remit doctor shows every wall; when it is mended, systemctl restart remitd")
            .next(
                "tell the person you work for; until then only facts about the host are answered",
            ))
    }

    /// Lets nothing run any more.
    pub fn refuse(&mut self, why: String) {
        self.turn(|standing| {
            let built = match standing {
                Standing::Proved(built) | Standing::Untried(built) => Some(built),
                Standing::Refused { built, .. } => built,
            };
            Standing::Refused { why, built }
        });
    }

    /// Each wall was tried as it stands now, and held. What is refused stays so.
    pub fn prove(&mut self) {
        self.turn(|standing| match standing {
            Standing::Proved(built) | Standing::Untried(built) => Standing::Proved(built),
            refused @ Standing::Refused { .. } => refused,
        });
    }

    fn turn(&mut self, into: impl FnOnce(Standing) -> Standing) {
        let between = Standing::Refused {
            why: String::new(),
            built: None,
        };
        self.standing = into(mem::replace(&mut self.standing, between));
    }

    /// Forks a job behind all walls. Takes only what is recorded.
    ///
    /// # Errors
    /// Nothing was forked.
    pub fn spawn(&self, plan: &Recorded<Box<Plan>>) -> Result<(Spawned, Option<Cgroup>), Error> {
        match &self.standing {
            Standing::Proved(built) => built.spawn(plan),
            Standing::Untried(_) => Err(unbuilt(UNTRIED)),
            Standing::Refused { why, .. } => Err(unbuilt(why)),
        }
    }

    /// What stood when a job was executed, from its own steps.
    pub fn enforced(&self, plan: &Plan, steps: &[Step]) -> Option<Enforced> {
        self.built().map(|built| built.enforced(plan, steps))
    }

    /// A new keeper, after the old one has died and all jobs with it; nothing runs below it until
    /// the walls are tried. Whether there is one: without, nothing runs any more.
    pub fn renew_keeper(&mut self) -> bool {
        let renewed = match &mut self.standing {
            Standing::Proved(built) | Standing::Untried(built) => built.renew_keeper(),
            Standing::Refused {
                built: Some(built), ..
            } => built.renew_keeper(),
            Standing::Refused { built: None, .. } => return false,
        };
        if let Err(error) = renewed {
            self.refuse(chain(&error));
            return false;
        }
        self.turn(|standing| match standing {
            Standing::Proved(built) => Standing::Untried(built),
            other @ (Standing::Untried(_) | Standing::Refused { .. }) => other,
        });
        true
    }

    /// A child that tries every wall, under a uid that nothing else has.
    ///
    /// # Errors
    /// It cannot be forked, or there are no walls.
    pub fn witness(&self, uid: u32) -> Result<Witness, Error> {
        match self.built() {
            Some(built) => built.witness(uid),
            None => Err(unbuilt(self.refused().unwrap_or_default())),
        }
    }

    /// Begins to kill everything of a uid of jobs.
    ///
    /// # Errors
    /// The child that kills cannot be forked.
    pub fn kill_uid(&self, uid: u32) -> Result<Killing, Error> {
        match self.built() {
            Some(built) => built.kill_uid(uid),
            None => Err(unbuilt("there is no keeper")),
        }
    }

    /// The init of the jobs' pid namespace.
    pub fn keeper(&self) -> Option<&Keeper> {
        self.built().map(Built::keeper)
    }

    /// Whether there is anything that a witness can try.
    pub fn are_built(&self) -> bool {
        self.built().is_some()
    }

    /// `uname -r`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Landlock's version and its fixed errata, 0 without.
    pub fn landlock(&self) -> (u32, u32) {
        self.built().map_or((0, 0), |built| {
            let kernel = built.kernel();
            (kernel.landlock_abi, kernel.landlock_errata)
        })
    }

    /// The directory of the jobs' cgroups.
    pub fn cgroup(&self) -> Option<String> {
        let path = self.built()?.cgroups().map(Cgroups::path)?;
        Some(path.display().to_string())
    }

    /// Names of the controllers of the jobs' cgroups, and of those that are not there.
    pub fn controllers(&self) -> (Vec<String>, Vec<String>) {
        let there = self.built().map_or(&[][..], Built::controllers);
        let (there, missing): (Vec<_>, Vec<_>) = Controller::ALL
            .into_iter()
            .partition(|controller| there.contains(controller));
        let names = |list: Vec<Controller>| list.iter().map(|c| c.name().to_owned()).collect();
        (names(there), names(missing))
    }

    /// What limits a job, in words.
    pub fn limits(&self, limits: &Limits) -> Vec<String> {
        let Some(built) = self.built() else {
            return Vec::new();
        };
        limits::told(limits, built.controllers(), &built.clamped(limits))
    }

    /// What of these limits the daemon's own hard limits take away.
    pub fn lowered(&self, limits: &Limits) -> Vec<String> {
        let clamped = self.built().map(|built| built.clamped(limits));
        clamped
            .unwrap_or_default()
            .iter()
            .map(limits::lowered)
            .collect()
    }

    /// Profiles in which nothing runs, with the reason.
    pub fn refused_profiles(&self) -> Vec<String> {
        let why = self.refused().map(|why| format!("{PROFILE}: {why}"));
        why.into_iter().collect()
    }

    /// Walls that this kernel does not have.
    pub fn absent(&self) -> Vec<String> {
        let absent = self.absent_walls();
        absent
            .map(|(wall, why)| format!("{}: {why}", wall.name()))
            .collect()
    }

    /// What a witness found, with the walls that it could not try.
    pub fn checked(&self, findings: &[Finding]) -> Vec<ProfileCheck> {
        let tried = findings.iter().map(|finding| WallCheck {
            name: finding.wall.name().to_owned(),
            state: match finding.held {
                true => WallState::Held,
                false => WallState::Broken,
            },
            detail: finding.detail.clone(),
        });
        let absent = self.absent_walls().map(|(wall, why)| WallCheck {
            name: wall.name().to_owned(),
            state: WallState::Absent,
            detail: why.to_owned(),
        });
        vec![ProfileCheck {
            name: PROFILE.to_owned(),
            refused: self.refused().map(str::to_owned),
            walls: tried.chain(absent).collect(),
        }]
    }

    fn absent_walls(&self) -> impl Iterator<Item = (Wall, &'static str)> {
        let built = self.built();
        Wall::ALL
            .into_iter()
            .filter_map(move |wall| Some((wall, wall.absent(built?.kernel())?)))
    }

    fn built(&self) -> Option<&Built> {
        match &self.standing {
            Standing::Proved(built) | Standing::Untried(built) => Some(built),
            Standing::Refused { built, .. } => built.as_ref(),
        }
    }
}

fn check_needs(built: &Built, needs: &[Need]) -> Result<(), Fatal> {
    let has = |controller| built.controllers().contains(&controller);
    let missing = needs.iter().find(|need| match need {
        Need::Landlock => built.kernel().landlock_abi == 0,
        Need::Cgroup => built.cgroups().is_none(),
        Need::Controllers => !has(Controller::Memory) || !has(Controller::Pids),
    });
    match missing {
        None => Ok(()),
        Some(need) => Err(Fatal::Unavailable(format!(
            "sandbox.require names '{}', and this machine (Linux {}) does not have it",
            need.name(),
            built.kernel().release
        ))),
    }
}

fn unbuilt(why: &str) -> Error {
    Error::Refused {
        doing: "cannot confine anything".to_owned(),
        why: why.to_owned(),
    }
}
