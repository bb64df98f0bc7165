//! Describes the state of the sandbox layers for answers and records.

use remit_common::admin::{LayerCheck, LayerState, ProfileCheck};
use remit_common::text::by_reason;
use remit_spawn::Finding;
use remit_sys::{Controller, Limits};

use super::visibility::limits;
use super::{ConfinedBase, SandboxManager, Sandboxes};
use crate::sandbox::host_support::HostSupport;

impl SandboxManager {
    /// Returns bases in which nothing runs, with reasons: `read: …`, `read: …; strict: …` or `read, strict: …`.
    pub fn refused(&self) -> Option<String> {
        let all = self.bases().filter_map(|confined| {
            let why = self.base_state(confined).why_not()?;
            Some((confined.name(), why))
        });
        let all = by_reason(all);
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn refused_bases(&self) -> impl Iterator<Item = String> {
        self.bases().filter_map(|confined| {
            let why = self.base_state(confined).why_not()?;
            Some(format!("{}: {why}", confined.name()))
        })
    }

    pub fn why_not(&self, confined: ConfinedBase) -> Option<&str> {
        self.base_state(confined).why_not()
    }

    pub fn refused_by_name(&self, name: &str) -> Option<String> {
        let confined = self.bases().find(|confined| confined.name() == name)?;
        self.why_not(confined).map(str::to_owned)
    }

    pub fn is_built(&self, confined: ConfinedBase) -> bool {
        let base_state = self.base_state(confined);
        // What a machine lacks for base `plan` comes with no second test.
        let is_tested = confined != ConfinedBase::Plan || !base_state.is_refused();
        is_tested && base_state.compiled().is_some() && self.host_support.is_ok()
    }

    pub fn release(&self) -> &str {
        &self.release
    }

    pub fn landlock(&self) -> (u32, u32) {
        self.host_support.as_ref().map_or((0, 0), |host_support| {
            let kernel = host_support.kernel();
            (kernel.landlock_abi, kernel.landlock_errata)
        })
    }

    pub fn cgroup(&self) -> Option<String> {
        let path = self.host_support.as_ref().ok()?.cgroups().path();
        Some(path.display().to_string())
    }

    pub fn controllers(&self) -> (Vec<String>, Vec<String>) {
        let there = self.own_controllers();
        let (there, missing): (Vec<_>, Vec<_>) = Controller::ALL
            .into_iter()
            .partition(|controller| there.contains(controller));
        let names = |list: Vec<Controller>| list.iter().map(|c| c.name().to_owned()).collect();
        (names(there), names(missing))
    }

    pub fn limits(&self, limits: &Limits) -> Vec<String> {
        let Some(compiled) = self.any_compiled() else {
            return Vec::new();
        };
        let clamped = compiled.sandbox().clamped(limits);
        limits::limit_texts(limits, self.own_controllers(), &clamped, (None, None))
    }

    pub fn lowered(&self, limits: &Limits) -> Vec<String> {
        let clamped = self.any_compiled().map(|c| c.sandbox().clamped(limits));
        clamped
            .unwrap_or_default()
            .iter()
            .map(limits::lowered)
            .collect()
    }

    /// Returns profiles in which nothing runs, with reasons, also those that this machine cannot provide.
    pub fn refused_profiles(&self, sandboxes: &Sandboxes) -> Vec<String> {
        let others = sandboxes.refused();
        self.refused_bases()
            .chain(others.map(|(name, why)| format!("{name}: {why}")))
            .collect()
    }

    /// Returns layers that this kernel lacks, and the kernel's audit and the bus if configured but not available.
    pub fn absent(&self) -> Vec<String> {
        let absent = self.absent_layers().into_iter();
        let mut all: Vec<_> = absent.map(|(name, why)| format!("{name}: {why}")).collect();
        let unheard = self.kernel_audit.why_not();
        all.extend(unheard.map(|why| format!("the kernel's audit (audit.kernel): {why}")));
        let no_bus = self.no_bus.clone();
        let no_bus = no_bus.or_else(|| self.bus.as_ref()?.why_not());
        all.extend(no_bus.map(|why| format!("the system bus for jobs of 'read' (bus.off): {why}")));
        all.sort();
        all.dedup();
        all
    }

    /// Combines the results of a self-test with the layers that it could not test.
    pub fn checked(&self, confined: ConfinedBase, findings: &[Finding]) -> ProfileCheck {
        let tried = findings.iter().map(|finding| LayerCheck {
            name: finding.layer.name().to_owned(),
            state: match finding.held {
                true => LayerState::Held,
                false => LayerState::Broken,
            },
            detail: finding.detail.clone(),
        });
        let absent = self
            .absent_layers()
            .into_iter()
            .map(|(name, why)| LayerCheck {
                name: name.to_owned(),
                state: LayerState::Absent,
                detail: why.to_owned(),
            });
        ProfileCheck {
            name: confined.name().to_owned(),
            refused: self.why_not(confined).map(str::to_owned),
            layers: tried.chain(absent).collect(),
        }
    }

    fn absent_layers(&self) -> Vec<(&'static str, &'static str)> {
        let Ok(host_support) = &self.host_support else {
            return Vec::new();
        };
        remit_spawn::Layer::ALL
            .into_iter()
            .filter_map(|layer| Some((layer.name(), layer.absent(host_support.kernel())?)))
            .collect()
    }

    fn own_controllers(&self) -> &[Controller] {
        self.host_support
            .as_ref()
            .map_or(&[], HostSupport::controllers)
    }

    /// The daemon's own hard limits are the same for all sandboxes.
    fn any_compiled(&self) -> Option<&super::Compiled> {
        let all = [&self.read, &self.strict];
        all.into_iter()
            .find_map(|base_state| base_state.compiled())
            .map(AsRef::as_ref)
    }
}
