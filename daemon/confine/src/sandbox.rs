//! A profile compiled, once for all its jobs.

use crate::fence::{Fence, fence};
use crate::limits::{Ceilings, Clamped, Limits};
use crate::monitor::{Filters, PROCESSES};
use crate::net::{Net, Network};
use crate::places::{self, Places};
use crate::profile::{HostProfile, ReadProfile, StrictProfile};
use crate::recipe::Recipe;
use crate::root::Root;
use crate::seccomp::{self, Class, Program, Told};
use crate::wall::Walls;
use crate::{Error, Kernel, Result, floor};
use std::path::Path;

/// Landlock's first ABI that keeps abstract Unix sockets of others out of reach.
const SCOPES: u32 = 6;
/// `CAP_SETUID`: its job can be any user of the host, and use up what the kernel gives that one.
const fn changes_uid(capabilities: u64) -> bool {
    const SETUID: u64 = 1 << 7;
    capabilities & SETUID != 0
}

/// Landlock's first ABI that can tell the kernel's audit of what it refuses.
const TELLS: u32 = 7;

/// A compiled profile. Cheap to keep, nothing in it belongs to one job.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) walls: Walls,
    pub(crate) base: Base,
    pub(crate) who: Who,
    pub(crate) class: Class,
    pub(crate) program: Option<Program>,
    /// In place of `program`, where the kernel's audit shall be told.
    pub(crate) told: Option<Told>,
    pub(crate) fence: Option<Fence>,
    pub(crate) limits: Limits,
    pub(crate) ceilings: Ceilings,
    pub(crate) kernel: Kernel,
    /// What a zygote makes the same of; `None` for a sandbox whose jobs are all forked here.
    pub(crate) recipe: Option<Recipe>,
}

/// What a sandbox is made of.
#[derive(Debug)]
pub(crate) enum Base {
    /// The host's tree, read-only.
    Read(Places),
    /// A root, namespaces and, mostly, a network of its own.
    Strict(Box<Strict>),
    /// Nothing is changed.
    Host,
}

/// What a `strict` sandbox is made of.
#[derive(Debug)]
pub(crate) struct Strict {
    pub(crate) root: Root,
    pub(crate) net: Option<Net>,
    pub(crate) filters: Filters,
}

/// Who the jobs of a sandbox are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Who {
    /// Uid and gid; `None`: those that each job brings.
    pub(crate) user: Option<(u32, u32)>,
    /// Exactly these.
    pub(crate) groups: Vec<u32>,
    /// Kept, and nothing else.
    pub(crate) capabilities: u64,
}

impl Who {
    /// Who beside root may be able to redirect a path: the job's user `uid`, unless it is one of the
    /// host's that has more in a job than outside. It would have what is meant for the job alone.
    pub(crate) fn trusted(&self, uid: u32) -> u32 {
        let gains = self.capabilities != 0 || !self.groups.is_empty();
        match self.user.is_some() && gains {
            true => 0,
            false => uid,
        }
    }
}

impl Sandbox {
    /// Compiles `profile` for this kernel and this machine's directories.
    pub fn read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
        Self::compile_read(profile, kernel, Walls::ALL)
    }

    /// The same with one wall missing, for tests that must then fail.
    #[cfg(feature = "mutate")]
    pub fn without(profile: &ReadProfile, kernel: &Kernel, wall: crate::Wall) -> Result<Sandbox> {
        Self::compile_read(profile, kernel, Walls::without(wall))
    }

    /// Compiles `profile` for this kernel and this machine's directories. Its paths are looked up
    /// when a job starts.
    pub fn strict(profile: &StrictProfile, kernel: &Kernel) -> Result<Sandbox> {
        Self::compile_strict(profile, kernel, Walls::ALL)
    }

    /// The same with one wall missing, for tests that must then fail.
    #[cfg(feature = "mutate")]
    pub fn strict_without(
        profile: &StrictProfile,
        kernel: &Kernel,
        wall: crate::Wall,
    ) -> Result<Sandbox> {
        Self::compile_strict(profile, kernel, Walls::without(wall))
    }

    /// Compiles `profile`. Its jobs need a cgroup.
    pub fn host(profile: &HostProfile, kernel: &Kernel) -> Result<Sandbox> {
        Self::compile_host(profile, kernel, Walls::ALL)
    }

    /// The same with one wall missing, for tests that must then fail.
    #[cfg(feature = "mutate")]
    pub fn host_without(
        profile: &HostProfile,
        kernel: &Kernel,
        wall: crate::Wall,
    ) -> Result<Sandbox> {
        Self::compile_host(profile, kernel, Walls::without(wall))
    }

    fn compile_host(profile: &HostProfile, kernel: &Kernel, walls: Walls) -> Result<Sandbox> {
        Ok(Sandbox {
            walls,
            base: Base::Host,
            who: Who {
                user: Some(profile.user),
                groups: profile.groups.clone(),
                capabilities: 0,
            },
            class: Class::default(),
            program: None,
            told: None,
            fence: None,
            limits: profile.limits,
            ceilings: Ceilings::own()?,
            kernel: kernel.clone(),
            recipe: None,
        })
    }

    pub(crate) fn compile_read(
        profile: &ReadProfile,
        kernel: &Kernel,
        walls: Walls,
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
            walls,
            base: Base::Read(places::find(profile)?),
            who: Who {
                user: None,
                groups: profile.groups.clone(),
                capabilities: profile.capabilities,
            },
            class,
            program: Some(seccomp::compile(walls, class)?),
            told: None,
            fence: fence(kernel.landlock_abi, walls).map(|fence| match profile.network {
                true => fence.without_network(),
                false => fence,
            }),
            limits: profile.limits,
            ceilings: Ceilings::own()?,
            kernel: kernel.clone(),
            recipe: None,
        };
        Ok(sandbox.with_recipe())
    }

    fn compile_strict(profile: &StrictProfile, kernel: &Kernel, walls: Walls) -> Result<Sandbox> {
        if !profile.sockets.is_empty()
            && profile.network == Network::Host
            && kernel.landlock_abi < SCOPES
        {
            return Err(Error::refused(
                "cannot give jobs both Unix sockets and the host's network",
                "they would reach every abstract Unix socket of the host too, which only Landlock \
                 since Linux 6.12 keeps from them; list no 'sockets', or another 'network'",
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
        let who = Who {
            user: profile.user,
            groups: profile.groups.clone(),
            capabilities: profile.capabilities,
        };
        let root = Root::of(profile, &Net::hosts(&profile.network))?;
        let net = Net::of(&profile.network, kernel)?;
        let sandbox = Self::of_strict_parts(who, class, root, net, profile.limits, kernel, walls)?;
        Ok(sandbox.with_recipe())
    }

    /// A `strict` sandbox of what a profile comes to.
    pub(crate) fn of_strict_parts(
        who: Who,
        class: Class,
        root: Root,
        net: Option<Net>,
        limits: Limits,
        kernel: &Kernel,
        walls: Walls,
    ) -> Result<Sandbox> {
        let filters = Filters::compile()?;
        Ok(Sandbox {
            walls,
            base: Base::Strict(Box::new(Strict { root, net, filters })),
            who,
            class,
            program: Some(seccomp::compile(walls, class)?),
            told: None,
            fence: fence(kernel.landlock_abi, walls).map(Fence::without_network),
            limits,
            ceilings: Ceilings::own()?,
            kernel: kernel.clone(),
            recipe: None,
        })
    }

    /// Uid, gid and supplementary groups of a job in it whose own id is `own`. `None`: it has capabilities, by which it
    /// may see more than these say.
    pub fn identity(&self, own: u32) -> Option<(u32, u32, &[u32])> {
        let (uid, gid) = self.who.user.unwrap_or((own, own));
        (self.who.capabilities == 0).then_some((uid, gid, &self.who.groups))
    }

    /// Whether its jobs can be forked ahead.
    pub fn can_wait(&self) -> bool {
        self.recipe.is_some()
    }

    fn with_recipe(self) -> Sandbox {
        let recipe = Recipe::of(&self);
        Sandbox { recipe, ..self }
    }

    /// The same walls, and what they refuse a job is told to the kernel's audit: by the filter of system
    /// calls, and by Landlock where the kernel can (ABI 7, Linux 6.15). A record for each time: a job
    /// can fill the host's audit log so.
    #[must_use]
    pub fn told_to_audit(self) -> Sandbox {
        let told = self.program.as_ref().map(Told::of);
        Sandbox {
            told,
            recipe: None,
            ..self
        }
    }

    /// What landlock_restrict_self(2) is called with.
    pub(crate) fn landlock_flags(&self) -> u32 {
        match self.told.is_some() && self.kernel.landlock_abi >= TELLS {
            true => floor::LOG_NEW_EXEC_ON,
            false => 0,
        }
    }

    /// The path of the profile that a failed step is about: `Progress::Failed::at` of `Step::Root`
    /// and `Step::Mounts`.
    pub fn path(&self, at: u16) -> Option<&Path> {
        match &self.base {
            Base::Strict(strict) => strict.root.path(at),
            Base::Read(places) => {
                let listed = places.listed.get(usize::from(at));
                listed.map(|mount| mount.name.as_path())
            }
            Base::Host => None,
        }
    }

    /// Processes that serve each job besides its own: they count among the tasks of its cgroup.
    pub fn attendants(&self) -> u64 {
        match self.base {
            Base::Strict(_) => PROCESSES,
            Base::Read(_) | Base::Host => 0,
        }
    }

    /// The limits of one process, of those of a job.
    pub(crate) fn processes(&self, limits: &Limits) -> Limits {
        let more = match (self.who.user, limits.others) {
            (None, _) => self.attendants(),
            // They count those of that user everywhere. Of root the kernel counts none.
            (Some(_), Some(others)) => self.attendants().saturating_add(others),
            (Some(_), None) => u64::MAX,
        };
        let fsize = match self.base {
            // What may change everything may write everything.
            Base::Host => u64::MAX,
            Base::Read(_) | Base::Strict(_) => limits.fsize,
        };
        Limits {
            nproc: limits.nproc.saturating_add(more),
            fsize,
            ..*limits
        }
    }

    /// Which of `limits` will be lower than asked for, because this process's own hard limits
    /// are and it lacks `CAP_SYS_RESOURCE`. To be told with the result.
    pub fn clamped(&self, limits: &Limits) -> Vec<Clamped> {
        self.ceilings.clamped(limits)
    }
}
