//! A profile, compiled once for all its jobs.

use crate::net::Net;
use crate::spec::layer::EnabledLayers;
use crate::spec::limits::own_ceilings;
use crate::spec::overmounts::{self, Overmounts};
use crate::spec::recipe::Recipe;
use crate::steps::landlock::{Fence, fence};
use crate::steps::private_root::{Root, plan_root};
use crate::steps::seccomp::{self, AuditedFilter, Class, Program};
use crate::supervise::pidns_monitor::{Filters, PROCESSES};
use crate::{Error, HostProfile, Kernel, Limits, Network, ReadProfile, Result, StrictProfile, sys};
use remit_spawn::{Ceilings, Credentials, Description};

/// Landlock's first ABI that blocks abstract Unix sockets of other processes.
const SCOPE_ABI: u32 = 6;
/// `CAP_SETUID`: the job can be any user of the host, and use up what the kernel gives that user.
const fn changes_uid(capabilities: u64) -> bool {
    const SETUID: u64 = 1 << 7;
    capabilities & SETUID != 0
}

/// Landlock's first ABI that can report to the kernel's audit what it refuses.
const AUDIT_ABI: u32 = 7;

#[derive(Debug)]
pub struct Sandbox {
    pub(crate) layers: EnabledLayers,
    pub(crate) base: Base,
    pub(crate) credentials: Credentials,
    pub(crate) class: Class,
    pub(crate) program: Option<Program>,
    /// Used instead of `program` if refusals go to the kernel's audit.
    pub(crate) reported: Option<AuditedFilter>,
    pub(crate) fence: Option<Fence>,
    pub(crate) limits: Limits,
    pub(crate) ceilings: Ceilings,
    pub(crate) kernel: Kernel,
    /// Lets a worker build the same sandbox. `None` if all jobs are forked by this process.
    pub(crate) recipe: Option<Recipe>,
}

#[derive(Debug)]
pub(crate) enum Base {
    Read(Overmounts),
    Strict(Box<Strict>),
    Host,
}

#[derive(Debug)]
pub(crate) struct Strict {
    pub(crate) root: Root,
    pub(crate) net: Option<Net>,
    pub(crate) filters: Filters,
}

/// Returns the user other than root that may redirect a path: the job's `uid`. Returns 0 for a user of the host that has
/// more rights in a job than outside: it would get what only the job may have.
pub(crate) fn trusted(credentials: &Credentials, uid: u32) -> u32 {
    let gains = credentials.capabilities != 0 || !credentials.groups.is_empty();
    match credentials.user.is_some() && gains {
        true => 0,
        false => uid,
    }
}

impl Sandbox {
    pub fn read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
        Self::compile_read(profile, kernel, EnabledLayers::ALL)
    }

    /// Does the same with one layer missing, for tests that must then fail.
    #[cfg(feature = "mutate")]
    pub fn without(profile: &ReadProfile, kernel: &Kernel, layer: crate::Layer) -> Result<Sandbox> {
        Self::compile_read(profile, kernel, EnabledLayers::without(layer))
    }

    /// Compiles `profile` for this kernel. Its paths are looked up when a job starts.
    pub fn strict(profile: &StrictProfile, kernel: &Kernel) -> Result<Sandbox> {
        Self::compile_strict(profile, kernel, EnabledLayers::ALL)
    }

    #[cfg(feature = "mutate")]
    pub fn strict_without(
        profile: &StrictProfile,
        kernel: &Kernel,
        layer: crate::Layer,
    ) -> Result<Sandbox> {
        Self::compile_strict(profile, kernel, EnabledLayers::without(layer))
    }

    /// Compiles `profile`. Its jobs need a cgroup.
    pub fn host(profile: &HostProfile, kernel: &Kernel) -> Result<Sandbox> {
        Self::compile_host(profile, kernel, EnabledLayers::ALL)
    }

    #[cfg(feature = "mutate")]
    pub fn host_without(
        profile: &HostProfile,
        kernel: &Kernel,
        layer: crate::Layer,
    ) -> Result<Sandbox> {
        Self::compile_host(profile, kernel, EnabledLayers::without(layer))
    }

    fn compile_host(
        profile: &HostProfile,
        kernel: &Kernel,
        layers: EnabledLayers,
    ) -> Result<Sandbox> {
        Ok(Sandbox {
            layers,
            base: Base::Host,
            credentials: Credentials {
                user: Some(profile.user),
                groups: profile.groups.clone(),
                capabilities: 0,
            },
            class: Class::default(),
            program: None,
            reported: None,
            fence: None,
            limits: profile.limits,
            ceilings: own_ceilings()?,
            kernel: kernel.clone(),
            recipe: None,
        })
    }

    pub(crate) fn compile_read(
        profile: &ReadProfile,
        kernel: &Kernel,
        layers: EnabledLayers,
    ) -> Result<Sandbox> {
        let class = Class {
            locks: !profile.write.is_empty(),
            no_set_id: !profile.write.is_empty(),
            internet: profile.network,
            shared_uid: changes_uid(profile.capabilities),
            one_session: kernel.one_session,
            ..Class::default()
        };
        let sandbox = Sandbox {
            layers,
            base: Base::Read(overmounts::find(profile)?),
            credentials: Credentials {
                user: None,
                groups: profile.groups.clone(),
                capabilities: profile.capabilities,
            },
            class,
            program: Some(seccomp::compile(layers, class)?),
            reported: None,
            fence: fence(kernel.landlock_abi, layers).map(|fence| match profile.network {
                true => fence.without_network(),
                false => fence,
            }),
            limits: profile.limits,
            ceilings: own_ceilings()?,
            kernel: kernel.clone(),
            recipe: None,
        };
        Ok(sandbox.with_recipe())
    }

    fn compile_strict(
        profile: &StrictProfile,
        kernel: &Kernel,
        layers: EnabledLayers,
    ) -> Result<Sandbox> {
        if !profile.sockets.is_empty()
            && profile.network == Network::Host
            && kernel.landlock_abi < SCOPE_ABI
        {
            return Err(Error::refused(
                "cannot give jobs both Unix sockets and the host's network",
                "they would reach every abstract Unix socket of the host too, which only Landlock \
                 since Linux 6.12 prevents; remove 'sockets', or choose another 'network'",
            ));
        }
        let class = Class {
            locks: !profile.write.is_empty(),
            internet: true,
            unix: !profile.sockets.is_empty(),
            ipc: true,
            no_set_id: !profile.write.is_empty(),
            shared_uid: profile.user.is_some() || changes_uid(profile.capabilities),
            one_session: kernel.one_session,
            own_network: profile.network != Network::Host,
        };
        let credentials = Credentials {
            user: profile.user,
            groups: profile.groups.clone(),
            capabilities: profile.capabilities,
        };
        let root = plan_root(profile, &Net::hosts(&profile.network))?;
        let net = Net::new(&profile.network, kernel)?;
        let sandbox = Self::of_strict_parts(
            credentials,
            class,
            root,
            net,
            profile.limits,
            kernel,
            layers,
        )?;
        Ok(sandbox.with_recipe())
    }

    pub(crate) fn of_strict_parts(
        credentials: Credentials,
        class: Class,
        root: Root,
        net: Option<Net>,
        limits: Limits,
        kernel: &Kernel,
        layers: EnabledLayers,
    ) -> Result<Sandbox> {
        let filters = Filters::compile()?;
        Ok(Sandbox {
            layers,
            base: Base::Strict(Box::new(Strict { root, net, filters })),
            credentials,
            class,
            program: Some(seccomp::compile(layers, class)?),
            reported: None,
            fence: fence(kernel.landlock_abi, layers).map(Fence::without_network),
            limits,
            ceilings: own_ceilings()?,
            kernel: kernel.clone(),
            recipe: None,
        })
    }

    /// Returns what the warden needs to know of it.
    pub fn description(&self) -> Description {
        let mounts = match &self.base {
            Base::Strict(strict) => strict.root.mounts.as_slice(),
            Base::Read(overmounts) => &overmounts.listed,
            Base::Host => &[],
        };
        Description {
            credentials: self.credentials.clone(),
            can_wait: self.recipe.is_some(),
            attendants: self.attendants(),
            paths: mounts.iter().map(|mount| mount.name.clone()).collect(),
            ceilings: self.ceilings.clone(),
        }
    }

    fn with_recipe(self) -> Sandbox {
        let recipe = Recipe::new(&self);
        Sandbox { recipe, ..self }
    }

    /// Reports to the kernel's audit what the layers refuse a job: by the system call filter, and by Landlock from ABI
    /// 7 on (Linux 6.15). Each refusal is one record, so a job can fill the host's audit log.
    #[must_use]
    pub fn with_kernel_audit(self) -> Sandbox {
        let reported = self.program.as_ref().map(AuditedFilter::new);
        Sandbox {
            reported,
            recipe: None,
            ..self
        }
    }

    pub(crate) fn landlock_flags(&self) -> u32 {
        match self.reported.is_some() && self.kernel.landlock_abi >= AUDIT_ABI {
            true => sys::LOG_NEW_EXEC_ON,
            false => 0,
        }
    }

    /// Returns how many processes serve each job in addition to its own. They count among the tasks of its cgroup.
    pub(crate) fn attendants(&self) -> u64 {
        match self.base {
            Base::Strict(_) => PROCESSES,
            Base::Read(_) | Base::Host => 0,
        }
    }

    pub(crate) fn processes(&self, limits: &Limits) -> Limits {
        let more = match (self.credentials.user, limits.others) {
            // The child adds the tasks that a user of the profile also has.
            (None, _) | (Some(_), Some(_)) => self.attendants(),
            // The kernel counts no tasks of root.
            (Some(_), None) => u64::MAX,
        };
        let fsize = match self.base {
            // A job that may change everything may write files of any size.
            Base::Host => u64::MAX,
            Base::Read(_) | Base::Strict(_) => limits.fsize,
        };
        Limits {
            nproc: limits.nproc.saturating_add(more),
            fsize,
            ..*limits
        }
    }
}
