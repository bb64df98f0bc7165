//! What the walls are, for answers and records.

use remit_common::admin::{ProfileCheck, WallCheck, WallState};
use remit_confine::{Controller, Finding, Limits};

use super::ground::Ground;
use super::{Sandboxes, Walled, Walls, limits};

impl Walls {
    /// In what nothing runs, and why, if so: `read: …`, `read: …; strict: …`, or both in one.
    pub fn refused(&self) -> Option<String> {
        match (self.read.why_not(), self.strict.why_not()) {
            (None, None) => None,
            (Some(read), Some(strict)) if read == strict => {
                Some(format!("read and strict: {read}"))
            }
            _ => Some(self.refused_bases().collect::<Vec<_>>().join("; ")),
        }
    }

    fn refused_bases(&self) -> impl Iterator<Item = String> {
        Walled::ALL.into_iter().filter_map(|walled| {
            let why = self.stand(walled).why_not()?;
            Some(format!("{}: {why}", walled.name()))
        })
    }

    /// Why nothing runs in this base, if so.
    pub fn why_not(&self, walled: Walled) -> Option<&str> {
        self.stand(walled).why_not()
    }

    /// Whether there is anything of this base that a witness can try.
    pub fn is_built(&self, walled: Walled) -> bool {
        self.stand(walled).compiled().is_some() && self.ground.is_ok()
    }

    /// `uname -r`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Landlock's version and its fixed errata, 0 without.
    pub fn landlock(&self) -> (u32, u32) {
        self.ground.as_ref().map_or((0, 0), |ground| {
            let kernel = ground.kernel();
            (kernel.landlock_abi, kernel.landlock_errata)
        })
    }

    /// The directory of the jobs' cgroups.
    pub fn cgroup(&self) -> Option<String> {
        let path = self.ground.as_ref().ok()?.cgroups().path();
        Some(path.display().to_string())
    }

    /// Names of the controllers of the jobs' cgroups, and of those that are not there.
    pub fn controllers(&self) -> (Vec<String>, Vec<String>) {
        let there = self.own_controllers();
        let (there, missing): (Vec<_>, Vec<_>) = Controller::ALL
            .into_iter()
            .partition(|controller| there.contains(controller));
        let names = |list: Vec<Controller>| list.iter().map(|c| c.name().to_owned()).collect();
        (names(there), names(missing))
    }

    /// What limits a job, in words.
    pub fn limits(&self, limits: &Limits) -> Vec<String> {
        let Some(compiled) = self.any_compiled() else {
            return Vec::new();
        };
        let clamped = compiled.sandbox().clamped(limits);
        limits::told(limits, self.own_controllers(), &clamped, None)
    }

    /// What of these limits the daemon's own hard limits take away.
    pub fn lowered(&self, limits: &Limits) -> Vec<String> {
        let clamped = self.any_compiled().map(|c| c.sandbox().clamped(limits));
        clamped
            .unwrap_or_default()
            .iter()
            .map(limits::lowered)
            .collect()
    }

    /// Profiles in which nothing runs, with the reason: those whose walls do not hold, and those
    /// of the policy that this machine cannot have.
    pub fn refused_profiles(&self, sandboxes: &Sandboxes) -> Vec<String> {
        let others = sandboxes.refused();
        self.refused_bases()
            .chain(others.map(|(name, why)| format!("{name}: {why}")))
            .collect()
    }

    /// Walls that this kernel does not have, and its audit where that was asked for in vain.
    pub fn absent(&self) -> Vec<String> {
        let absent = Walled::ALL.into_iter().flat_map(|w| self.absent_walls(w));
        let mut all: Vec<_> = absent.map(|(name, why)| format!("{name}: {why}")).collect();
        let unheard = self.kernel_audit.why_not();
        all.extend(unheard.map(|why| format!("the kernel's audit (audit.kernel): {why}")));
        all.sort();
        all.dedup();
        all
    }

    /// What a witness found of a base, with the walls that it could not try.
    pub fn checked(&self, walled: Walled, findings: &[Finding]) -> ProfileCheck {
        let tried = findings.iter().map(|finding| WallCheck {
            name: finding.wall.name().to_owned(),
            state: match finding.held {
                true => WallState::Held,
                false => WallState::Broken,
            },
            detail: finding.detail.clone(),
        });
        let absent = self
            .absent_walls(walled)
            .into_iter()
            .map(|(name, why)| WallCheck {
                name: name.to_owned(),
                state: WallState::Absent,
                detail: why.to_owned(),
            });
        ProfileCheck {
            name: walled.name().to_owned(),
            refused: self.why_not(walled).map(str::to_owned),
            walls: tried.chain(absent).collect(),
        }
    }

    fn absent_walls(&self, _: Walled) -> Vec<(&'static str, &'static str)> {
        let Ok(ground) = &self.ground else {
            return Vec::new();
        };
        remit_confine::Wall::ALL
            .into_iter()
            .filter_map(|wall| Some((wall.name(), wall.absent(ground.kernel())?)))
            .collect()
    }

    fn own_controllers(&self) -> &[Controller] {
        self.ground.as_ref().map_or(&[], Ground::controllers)
    }

    /// The daemon's own hard limits are the same for all.
    fn any_compiled(&self) -> Option<&super::Compiled> {
        let all = [&self.read, &self.strict];
        all.into_iter()
            .find_map(|stand| stand.compiled())
            .map(AsRef::as_ref)
    }
}
