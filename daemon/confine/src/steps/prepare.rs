//! What a job's child does before it needs the job: all that depends only on the profile, the uid and the cgroup.

use crate::net::Relay;
use crate::spec::compiled::{Base, Strict, View};
use crate::steps::landlock::Fence;
use crate::steps::mounts;
use crate::steps::private_root::{self, Mount, MountParams};
use crate::steps::report::{Fault, StepResult, Taken};
use crate::steps::view::{self, Building, Built, Laying, Watched, enter_view, first_id};
use crate::supervise::pidns_monitor::{Attendance, Go, Monitor};
use crate::sys::{self, ForkCall, Propagation};
use crate::{Error, Layer, Limits, Result, Sandbox, Why};
use remit_spawn::{ResourceLimit, Staged};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A child on its way through `prepare`. What it opens for `enter` has the host's rights, and is closed there.
pub(crate) struct Preparing<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) own: (u32, u32),
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// The process that reaps the child, and whose end is the end of all jobs.
    pub(crate) parent: u32,
    /// `Slave`, if the child waits for its job: its tree then follows the host's unmounts until it is cut off.
    pub(crate) propagation: Propagation,
    pub(crate) stage: Option<&'a Mount>,
    /// Files of a plan that the job sees, in a sealed memory file.
    pub(crate) staged: Option<BorrowedFd<'a>>,
    private: PrivateOptions,
    pub(crate) mount_ns: Option<OwnedFd>,
    pub(crate) proc: Option<OwnedFd>,
    /// The plan that is laid into the view.
    laying: Option<Laying>,
    /// The user namespace of a view, and what is left of the view after its job.
    pub(crate) users: Option<OwnedFd>,
    pub(crate) kept: Option<OwnedFd>,
    /// What its worker knows of the machine's directories, and what it should know.
    pub(crate) watched: Option<Watched<'a>>,
    pub(crate) news: Vec<u8>,
    /// Its login uid, open for writing; missing on a kernel without audit.
    pub(crate) loginuid: Option<io::Result<OwnedFd>>,
    relay: Option<Relay>,
    go: Option<Go>,
    ruleset: Option<OwnedFd>,
}

/// Mount options of a private directory open to all users, and of one that is not; and the most pages of shared memory.
struct PrivateOptions {
    shared: CString,
    own: CString,
    shared_pages: CString,
}

pub(crate) fn private_size(limits: &Limits) -> (u64, u64) {
    (limits.tmp_bytes, limits.tmp_inodes)
}

impl<'a> Preparing<'a> {
    pub(crate) fn new(
        sandbox: &'a Sandbox,
        own: (u32, u32),
        (bytes, inodes): (u64, u64),
        cgroup: Option<BorrowedFd<'a>>,
        parent: u32,
    ) -> Result<Preparing<'a>> {
        let (uid, gid) = sandbox.owner(own);
        let text = |text: String| {
            CString::new(text)
                .map_err(|_| Error::refused("cannot prepare a job", "a NUL in a number"))
        };
        let options = |mode: u32| {
            text(format!(
                "size={bytes},nr_inodes={inodes},mode={mode:o},uid={uid},gid={gid}"
            ))
        };
        Ok(Preparing {
            sandbox,
            own,
            cgroup,
            parent,
            propagation: Propagation::Private,
            stage: None,
            staged: None,
            private: PrivateOptions {
                shared: options(0o1777)?,
                own: options(0o755)?,
                shared_pages: text(bytes.div_ceil(4096).to_string())?,
            },
            mount_ns: None,
            proc: None,
            laying: None,
            users: None,
            kept: None,
            watched: None,
            news: Vec::new(),
            loginuid: None,
            relay: None,
            go: None,
            ruleset: None,
        })
    }

    fn strict(&self) -> std::result::Result<&'a Strict, Fault> {
        match &self.sandbox.base {
            Base::Strict(strict) => Ok(strict),
            Base::Read(_) | Base::Host | Base::View(_) | Base::Extract(_) => {
                Err(Fault::because(Why::Unmet))
            }
        }
    }

    fn attendance(&self) -> std::result::Result<&'a Attendance, Fault> {
        match &self.sandbox.base {
            Base::Strict(strict) => Ok(&strict.attendance),
            Base::View(view) => Ok(&view.attendance),
            Base::Read(_) | Base::Host | Base::Extract(_) => Err(Fault::because(Why::Unmet)),
        }
    }

    fn view(&self) -> std::result::Result<&'a View, Fault> {
        match &self.sandbox.base {
            Base::View(view) => Ok(view),
            _ => Err(Fault::because(Why::Unmet)),
        }
    }

    fn monitor<'b>(
        &'b self,
        init_limits: &'b [ResourceLimit],
    ) -> std::result::Result<Monitor<'b>, Fault> {
        Ok(Monitor {
            init_limits,
            filters: &self.attendance()?.filters,
            layers: self.sandbox.layers,
            call: self.sandbox.kernel.fork,
            uid: self.own.0,
            gid: self.own.1,
            shared_pages: &self.private.shared_pages,
        })
    }

    fn new_ruleset(&self) -> io::Result<Option<OwnedFd>> {
        let fence = self.sandbox.fence.as_ref();
        fence
            .map(|fence| sys::landlock_ruleset(&fence.handled))
            .transpose()
    }

    fn mount_params<'b>(
        &'b self,
        ruleset: &'b Option<OwnedFd>,
        whole: bool,
        staged: Option<&'b Staged>,
    ) -> MountParams<'b> {
        let granted = |ruleset: &'b OwnedFd| -> Option<(BorrowedFd<'b>, &'b Fence)> {
            Some((ruleset.as_fd(), self.sandbox.fence.as_ref()?))
        };
        MountParams {
            layers: self.sandbox.layers,
            whole,
            shared: &self.private.shared,
            own: &self.private.own,
            ruleset: ruleset.as_ref().and_then(granted),
            staged,
            stage: self.stage,
        }
    }
}

/// It ends with the process that reaps it.
pub(crate) fn session(_: &mut Preparing<'_>) -> Taken {
    sys::die_with_parent()?;
    sys::new_session()?;
    Ok(StepResult::Done)
}

/// The maximum: memory in pipes and sockets counts for no process, so with less a large program of the host would go.
pub(crate) fn oom_first(child: &mut Preparing<'_>) -> Taken {
    oom_score(child, b"1000")
}

/// A job that changes the host must not be killed first, half-way.
pub(crate) fn oom_usual(child: &mut Preparing<'_>) -> Taken {
    oom_score(child, b"0")
}

fn oom_score(child: &Preparing<'_>, score: &[u8]) -> Taken {
    child.sandbox.layers.take_if(Layer::Scheduling, || {
        let file = sys::open(c"/proc/self/oom_score_adj", libc::O_WRONLY)?;
        sys::write(file.as_fd(), score).map(drop)
    })
}

/// The fork has put the child into its cgroup, unless the kernel cannot.
pub(crate) fn cgroup(child: &mut Preparing<'_>) -> Taken {
    let Some(dir) = child.cgroup else {
        return Ok(StepResult::Absent);
    };
    if child.sandbox.kernel.fork == ForkCall::Clone {
        join(dir)?;
        // A process that ends all jobs when the parent dies may have done so before this one was in the cgroup.
        if sys::parent() != child.parent {
            return Err(Fault::because(Why::Died));
        }
    }
    Ok(StepResult::Done)
}

pub(crate) fn join(dir: BorrowedFd<'_>) -> io::Result<()> {
    let procs = sys::open_at(Some(dir), c"cgroup.procs", libc::O_WRONLY)?;
    sys::write(procs.as_fd(), b"0").map(drop)
}

/// Opened while it is the host's and can be written.
pub(crate) fn host_proc(child: &mut Preparing<'_>) -> Taken {
    let proc = sys::open(c"/proc", libc::O_PATH | libc::O_DIRECTORY)?;
    child.loginuid = Some(sys::open_at(
        Some(proc.as_fd()),
        c"self/loginuid",
        libc::O_WRONLY,
    ));
    child.proc = Some(proc);
    Ok(StepResult::Done)
}

pub(crate) fn mount_namespace(child: &mut Preparing<'_>) -> Taken {
    sys::own_mounts()?;
    child.mount_ns = Some(sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY)?);
    Ok(StepResult::Done)
}

pub(crate) fn mounts(child: &mut Preparing<'_>) -> Taken {
    let (Base::Read(overmounts) | Base::Extract(overmounts)) = &child.sandbox.base else {
        return Err(Fault::because(Why::Unmet));
    };
    let ruleset = child.new_ruleset()?;
    mounts::confine(
        overmounts,
        &child.mount_params(&ruleset, true, None),
        child.propagation,
    )?;
    child.ruleset = ruleset;
    Ok(StepResult::Done)
}

pub(crate) fn network(child: &mut Preparing<'_>) -> Taken {
    let is_on = child.sandbox.layers.is_on(Layer::NetworkNamespace);
    let Some(net) = child.attendance()?.net.as_ref().filter(|_| is_on) else {
        return Ok(StepResult::Absent);
    };
    let (uid, gid) = child.own;
    child.relay = net.relay(net.enter()?, child.sandbox.kernel.fork, uid, gid)?;
    Ok(StepResult::Done)
}

pub(crate) fn namespaces(child: &mut Preparing<'_>) -> Taken {
    child.monitor(&[])?.enter()?;
    Ok(StepResult::Done)
}

/// Here one process becomes three: it stays as the job's monitor, and only the job's own process goes on.
pub(crate) fn attendants(child: &mut Preparing<'_>) -> Taken {
    let relay = child.relay.take();
    let sandbox = child.sandbox;
    let go = match sandbox.base {
        Base::View(_) => {
            let limits = sandbox.ceilings.apply(&sandbox.limits);
            child.monitor(&limits)?.split(relay)?
        }
        _ => child.monitor(&[])?.split(relay)?,
    };
    child.go = Some(go);
    Ok(StepResult::Done)
}

pub(crate) fn root(child: &mut Preparing<'_>) -> Taken {
    let ruleset = child.new_ruleset()?;
    let staged = child.staged.map(Staged::read).transpose()?;
    let params = child.mount_params(&ruleset, false, staged.as_ref());
    private_root::build(&child.strict()?.root, &params, child.propagation)?;
    child.ruleset = ruleset;
    Ok(StepResult::Done)
}

/// Before the pid namespace, in which `/proc` does not show this process's children.
pub(crate) fn users(child: &mut Preparing<'_>) -> Taken {
    let sandbox = child.sandbox;
    let limits = sandbox.ceilings.apply(&sandbox.processes(&sandbox.limits));
    child.users = Some(view::user_namespace(
        sandbox.kernel.fork,
        child.own,
        &limits,
    )?);
    Ok(StepResult::Done)
}

pub(crate) fn view(child: &mut Preparing<'_>) -> Taken {
    let view = child.view()?;
    let (bytes, inodes) = view.area;
    // The uploads are the machine's.
    let laying = child.staged.map(Laying::read).transpose()?;
    let root = first_id(child.own.0);
    let area = format!("size={bytes},nr_inodes={inodes},mode=755,uid={root},gid={root}");
    let area = CString::new(area).map_err(io::Error::other)?;
    let ruleset = child.new_ruleset()?;
    let (Some(proc), Some(users)) = (&child.proc, &child.users) else {
        return Err(Fault::because(Why::Unmet));
    };
    let Built { kept, hidden, news } = Building {
        layers: child.sandbox.layers,
        call: child.sandbox.kernel.fork,
        propagation: child.propagation,
        proc: proc.as_fd(),
        users: users.as_fd(),
        own: child.own,
        groups: &child.sandbox.credentials.groups,
        watched: child.watched.as_ref(),
        sees_all: view.sees_all,
        area: &area,
        shared: &child.private.shared,
        ruleset: ruleset
            .as_ref()
            .map(AsFd::as_fd)
            .zip(child.sandbox.fence.as_ref()),
    }
    .build()?;
    child.kept = Some(kept);
    child.laying = laying.map(|laying| laying.in_view(hidden));
    child.news = news;
    child.ruleset = ruleset;
    Ok(StepResult::Done)
}

/// Before the job is confined further: what it may not write, the plan can still change.
pub(crate) fn plan(child: &mut Preparing<'_>) -> Taken {
    let Some(laying) = child.laying.take() else {
        return Ok(StepResult::Absent);
    };
    let users = child.users.as_ref().ok_or(Fault::because(Why::Unmet))?;
    let call = child.sandbox.kernel.fork;
    laying.lay(call, || enter_view(child.sandbox.layers, users.as_fd()))?;
    Ok(StepResult::Done)
}

/// If the monitor could not confine itself, it reports why, and this process ends.
pub(crate) fn attended(child: &mut Preparing<'_>) -> Taken {
    const UNATTENDED: i32 = 127;
    match child.go.take().is_some_and(Go::wait) {
        true => Ok(StepResult::Done),
        false => sys::exit(UNATTENDED),
    }
}

pub(crate) fn keyring(child: &mut Preparing<'_>) -> Taken {
    match child.sandbox.kernel.keyrings {
        true => child
            .sandbox
            .layers
            .take_if(Layer::Keyring, sys::new_session_keyring),
        false => Ok(StepResult::Absent),
    }
}

/// Set before the filter, which makes setting this limit a success without effect. It is the same for all jobs.
pub(crate) fn core_limit(child: &mut Preparing<'_>) -> Taken {
    let sandbox = child.sandbox;
    let rows = sandbox.ceilings.apply(&sandbox.limits);
    let core = rows.iter().find(|row| row.resource == libc::RLIMIT_CORE);
    sandbox.layers.take_if(Layer::Rlimits, || {
        core.map_or(Ok(()), |row| {
            sys::set_limit(row.resource, row.soft, row.hard)
        })
    })
}

pub(crate) fn no_new_privs(child: &mut Preparing<'_>) -> Taken {
    child
        .sandbox
        .layers
        .take_if(Layer::NoNewPrivs, sys::no_new_privs)
}

pub(crate) fn landlock(child: &mut Preparing<'_>) -> Taken {
    let Some(ruleset) = child.ruleset.take() else {
        return Ok(StepResult::Absent);
    };
    sys::landlock_restrict(ruleset.as_fd(), child.sandbox.landlock_flags())?;
    Ok(StepResult::Done)
}
