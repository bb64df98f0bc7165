//! A profile, compiled once for all its jobs.

use crate::net::Net;
use crate::spec::overmounts::{self, Overmounts};
use crate::steps::landlock::{Fence, fence};
use crate::steps::private_root::{Root, plan_root};
use crate::steps::report::EnabledLayers;
use crate::steps::seccomp::{Class, Filter};
use crate::steps::view;
use crate::supervise::pidns_monitor::{Attendance, PROCESSES};
use crate::{
    Error, ExtractProfile, HostProfile, Kernel, Limits, Network, ReadProfile, Result,
    StrictProfile, ViewProfile, sys,
};
use remit_spawn::{
    Ceilings, Credentials, Description, Inspect, Profile, ResourceLimit, Wanted, asked,
};
use remit_sys::Doing;
use serde::{Deserialize, Serialize};

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
    pub(crate) filter: Filter,
    pub(crate) fence: Option<Fence>,
    pub(crate) limits: Limits,
    pub(crate) ceilings: Ceilings,
    pub(crate) kernel: Kernel,
    /// What it was compiled from. Its worker compiles the same.
    pub(crate) origin: Origin,
}

/// Equal origins and equal roots mean equal confinement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    wanted: Wanted,
    kernel: Kernel,
    layers: EnabledLayers,
}

#[derive(Debug)]
pub(crate) enum Base {
    Read(Overmounts),
    Strict(Box<Strict>),
    Host,
    View(Box<View>),
    /// Its job reads a view that another job has left.
    Extract(Overmounts),
}

#[derive(Debug)]
pub(crate) struct Strict {
    pub(crate) root: Root,
    pub(crate) attendance: Attendance,
}

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) attendance: Attendance,
    /// Bytes and inodes.
    pub(crate) area: (u64, u64),
    pub(crate) sees_all: bool,
}

struct Parts {
    base: Base,
    credentials: Credentials,
    class: Class,
    fence: Option<Fence>,
    limits: Limits,
}

fn read(profile: &ReadProfile, kernel: &Kernel, layers: EnabledLayers) -> Result<Parts> {
    let inspect = profile.inspect.as_ref();
    check_inspect(inspect, kernel)?;
    let class = Class {
        locks: !profile.write.is_empty(),
        no_set_id: !profile.write.is_empty(),
        internet: profile.network,
        inspects: matches!(inspect, Some(Inspect::Names { .. } | Inspect::Processes)),
        shared_uid: changes_uid(profile.capabilities),
        one_session: kernel.one_session,
        bus: profile.has_bus && !profile.network,
        ..Class::default()
    };
    Ok(Parts {
        base: Base::Read(overmounts::find(profile)?),
        credentials: Credentials {
            user: None,
            groups: profile.groups.clone(),
            capabilities: profile.capabilities | inspect.map_or(0, Inspect::capabilities),
        },
        class,
        fence: fence(kernel.landlock_abi, layers).and_then(|fence| match inspect {
            _ if profile.network => Some(fence.without_network()),
            Some(Inspect::Names { .. }) => Some(fence.without_content()),
            // In a domain the kernel refuses every other process, whatever the domain handles. landlock(7).
            Some(Inspect::Processes) => None,
            Some(Inspect::File) | None => Some(fence),
        }),
        limits: profile.limits,
    })
}

fn check_inspect(inspect: Option<&Inspect>, kernel: &Kernel) -> Result<()> {
    match inspect {
        Some(Inspect::Names { .. }) if kernel.landlock_abi == 0 => Err(Error::refused(
            "cannot show the names in private directories",
            "this kernel has no Landlock, and nothing else keeps back the content of the files; \
             enable Landlock, or take the profile away",
        )),
        _ => Ok(()),
    }
}

fn strict(profile: &StrictProfile, kernel: &Kernel, layers: EnabledLayers) -> Result<Parts> {
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
        bus: false,
        inspects: false,
        no_set_id: !profile.write.is_empty(),
        shared_uid: profile.user.is_some() || changes_uid(profile.capabilities),
        one_session: kernel.one_session,
        own_network: profile.network != Network::Host,
        changes_root: false,
    };
    Ok(Parts {
        base: Base::Strict(Box::new(Strict {
            root: plan_root(profile, &Net::hosts(&profile.network))?,
            attendance: Attendance::new(&profile.network, kernel)?,
        })),
        credentials: Credentials {
            user: profile.user,
            groups: profile.groups.clone(),
            capabilities: profile.capabilities,
        },
        class,
        fence: fence(kernel.landlock_abi, layers).map(Fence::without_network),
        limits: profile.limits,
    })
}

fn view(profile: &ViewProfile, kernel: &Kernel, layers: EnabledLayers) -> Result<Parts> {
    let class = Class {
        locks: true,
        internet: true,
        unix: true,
        ipc: true,
        one_session: kernel.one_session,
        own_network: true,
        changes_root: true,
        ..Class::default()
    };
    view::probe(kernel.fork)?;
    let network = match profile.names.as_slice() {
        [] => Network::Loopback,
        names => Network::Names(names.to_vec()),
    };
    Ok(Parts {
        base: Base::View(Box::new(View {
            attendance: Attendance::new(&network, kernel)?,
            area: profile.area,
            sees_all: profile.sees_all,
        })),
        credentials: Credentials {
            user: None,
            groups: profile.groups.clone(),
            capabilities: 0,
        },
        class,
        fence: fence(kernel.landlock_abi, layers).map(Fence::without_network),
        limits: profile.limits,
    })
}

fn extract(profile: &ExtractProfile, kernel: &Kernel, layers: EnabledLayers) -> Result<Parts> {
    let as_read = ReadProfile {
        limits: profile.limits,
        ..ReadProfile::default()
    };
    let parts = read(&as_read, kernel, layers)?;
    let base = match parts.base {
        Base::Read(overmounts) => Base::Extract(overmounts),
        base => base,
    };
    Ok(Parts { base, ..parts })
}

fn host(profile: &HostProfile) -> Parts {
    Parts {
        base: Base::Host,
        credentials: Credentials {
            user: Some(profile.user),
            groups: profile.groups.clone(),
            capabilities: 0,
        },
        class: Class::default(),
        fence: None,
        limits: profile.limits,
    }
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
    /// Returns the root of its own that its jobs have, as this machine's links led when it was compiled.
    pub(crate) fn root(&self) -> Option<&Root> {
        match &self.base {
            Base::Strict(strict) => Some(&strict.root),
            Base::Read(_) | Base::Host | Base::View(_) | Base::Extract(_) => None,
        }
    }

    /// Compiles a profile for this kernel. Its paths are looked up when a job starts.
    pub fn compile(wanted: Wanted, kernel: &Kernel) -> Result<Sandbox> {
        Self::with_layers(wanted, kernel, EnabledLayers::ALL)
    }

    #[cfg(feature = "mutate")]
    pub fn compile_without(
        wanted: Wanted,
        kernel: &Kernel,
        layer: crate::Layer,
    ) -> Result<Sandbox> {
        Self::with_layers(wanted, kernel, EnabledLayers::without(layer))
    }

    fn with_layers(wanted: Wanted, kernel: &Kernel, layers: EnabledLayers) -> Result<Sandbox> {
        let kernel = kernel.clone();
        Self::of(Origin {
            wanted,
            kernel,
            layers,
        })
    }

    pub(crate) fn of(origin: Origin) -> Result<Sandbox> {
        let Origin {
            wanted,
            kernel,
            layers,
        } = &origin;
        let parts = match &wanted.profile {
            Profile::Read(profile) => read(profile, kernel, *layers)?,
            Profile::Strict(profile) => strict(profile, kernel, *layers)?,
            Profile::Host(profile) => host(profile),
            Profile::View(profile) => view(profile, kernel, *layers)?,
            Profile::Extract(profile) => extract(profile, kernel, *layers)?,
        };
        let filter = match parts.base {
            Base::Host => Filter::None,
            Base::Read(_) | Base::Strict(_) | Base::View(_) | Base::Extract(_) => {
                Filter::new(*layers, parts.class, wanted.is_audited)?
            }
        };
        Ok(Sandbox {
            layers: *layers,
            base: parts.base,
            credentials: parts.credentials,
            class: parts.class,
            filter,
            fence: parts.fence,
            limits: parts.limits,
            ceilings: own_ceilings()?,
            kernel: kernel.clone(),
            origin,
        })
    }

    pub fn description(&self) -> Description {
        let mounts = match &self.base {
            Base::Read(overmounts) => overmounts.listed.as_slice(),
            _ => self.root().map_or(&[][..], |root| root.mounts.as_slice()),
        };
        Description {
            credentials: self.credentials.clone(),
            can_wait: self.can_wait(),
            needs_cgroup: self.needs_cgroup(),
            attendants: self.attendants(),
            paths: mounts.iter().map(|mount| mount.name.clone()).collect(),
            ceilings: self.ceilings.clone(),
        }
    }

    /// Returns true if a child may wait for a job. Mounts of listed paths keep the host's busy, a relay is a process.
    fn can_wait(&self) -> bool {
        match &self.base {
            Base::Read(overmounts) => overmounts.listed.is_empty(),
            Base::Strict(own) => !own.attendance.net.as_ref().is_some_and(Net::has_relay),
            Base::Host | Base::View(_) | Base::Extract(_) => false,
        }
    }

    /// Returns the ids that a job's first process has, as the machine sees them.
    pub(crate) fn owner(&self, own: (u32, u32)) -> (u32, u32) {
        match self.base {
            Base::View(_) => (view::first_id(own.0), view::first_id(own.0)),
            _ => self.credentials.user.unwrap_or(own),
        }
    }

    /// Returns true if its jobs can be found and ended by their cgroup alone: their uid is shared, or they have many.
    pub(crate) fn needs_cgroup(&self) -> bool {
        let is_view = matches!(self.base, Base::View(_) | Base::Extract(_));
        is_view || self.credentials.user.is_some()
    }

    /// Returns true if a job gives up its capabilities before its program starts.
    pub(crate) fn is_powerless(&self) -> bool {
        let Profile::Read(profile) = &self.origin.wanted.profile else {
            return false;
        };
        profile.inspect == Some(Inspect::File)
    }

    pub(crate) fn landlock_flags(&self) -> u32 {
        match self.filter.is_audited() && self.kernel.landlock_abi >= AUDIT_ABI {
            true => sys::LOG_NEW_EXEC_ON,
            false => 0,
        }
    }

    /// Returns how many processes serve each job in addition to its own. They count among the tasks of its cgroup.
    pub(crate) fn attendants(&self) -> u64 {
        match self.base {
            Base::Strict(_) | Base::View(_) => PROCESSES,
            Base::Read(_) | Base::Host | Base::Extract(_) => 0,
        }
    }

    pub(crate) fn processes(&self, limits: &Limits) -> Limits {
        let more = match (self.credentials.user, limits.others) {
            // The child adds the tasks that a user of the profile also has.
            (None, _) | (Some(_), Some(_)) => self.attendants(),
            (Some(_), None) => u64::MAX, // The kernel counts no tasks of root.
        };
        let fsize = match self.base {
            Base::Host => u64::MAX, // A job that may change everything may write files of any size.
            Base::Read(_) | Base::Strict(_) | Base::View(_) | Base::Extract(_) => limits.fsize,
        };
        Limits {
            nproc: limits.nproc.saturating_add(more),
            fsize,
            ..*limits
        }
    }
}

const SYS_RESOURCE: u32 = 24;

fn own_ceilings() -> Result<Ceilings> {
    if sys::has_capability(SYS_RESOURCE).doing(|| "cannot read own capabilities".into())? {
        return Ok(Ceilings::new(Vec::new()));
    }
    let any = Limits::default();
    let hard = |row: ResourceLimit| -> Result<(u32, u64)> {
        let (_, hard) =
            sys::limit(row.resource).doing(|| format!("cannot read the limit '{}'", row.name))?;
        Ok((row.resource, hard))
    };
    Ok(Ceilings::new(
        asked(&any).into_iter().map(hard).collect::<Result<_>>()?,
    ))
}
