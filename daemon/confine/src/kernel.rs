//! What this kernel can do, found by trying.

use crate::error::{Doing, Error, Result};
use crate::fence::fence;
use crate::floor::{self, ForkCall};
use crate::wall::Walls;
use std::{io, path::Path, sync::OnceLock};

/// What this kernel can do.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `uname -r`, to be shown only.
    pub release: String,
    /// Landlock's ABI, 0 without Landlock (not built, not in `lsm=`, or refused by a filter).
    pub landlock_abi: u32,
    /// Landlock's fixed errata, a bit mask; 0 where the kernel does not tell.
    pub landlock_errata: u32,
    /// Kernel keyrings exist.
    pub keyrings: bool,
    /// Audit login uids exist.
    pub loginuid: bool,
    /// Jobs share the processor by sessions, and one job is one session: where the kernel makes a group of each
    /// session and no controller counts processor time. Not probed; whoever has the cgroups says it.
    pub one_session: bool,
    pub(crate) fork: ForkCall,
}

impl Kernel {
    /// Tries each. A kernel that lacks what every sandbox needs (mount_setattr, close_range,
    /// pidfds, seccomp filters: Linux 5.12) is refused here, by name.
    pub fn probe() -> Result<Kernel> {
        let fork = fork_call()?;
        let landlock_abi = landlock()?;
        let kernel = Kernel {
            release: Self::release()?,
            landlock_abi,
            landlock_errata: if landlock_abi > 0 {
                floor::landlock_errata().unwrap_or(0)
            } else {
                0
            },
            keyrings: exists(floor::session_keyring().map(drop), "a session keyring")?,
            loginuid: Path::new("/proc/self/loginuid").exists(),
            one_session: false,
            fork,
        };
        needs(fork)?;
        Ok(kernel)
    }

    /// Whether this kernel shares processor time by sessions: sched(7), autogroups.
    pub fn shares_by_session() -> bool {
        let enabled = std::fs::read("/proc/sys/kernel/sched_autogroup_enabled");
        enabled.is_ok_and(|text| text.trim_ascii() == b"1")
    }

    /// `uname -r`, of any kernel.
    pub fn release() -> Result<String> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .doing(|| "cannot read '/proc/sys/kernel/osrelease'".into())?;
        Ok(release.trim().to_owned())
    }
}

fn absent(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP))
}

fn exists(tried: io::Result<()>, what: &str) -> Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(e) if absent(&e) => Ok(false),
        // No session keyring yet: the call is there.
        Err(e) if e.raw_os_error() == Some(libc::ENOKEY) => Ok(true),
        Err(e) => Err(e).doing(|| format!("cannot ask for {what}")),
    }
}

/// The ABI, proved by a ruleset with every right we want of it.
fn landlock() -> Result<u32> {
    let abi = match floor::landlock_abi() {
        Ok(abi) => abi,
        Err(e) if absent(&e) => return Ok(0),
        Err(e) => return Err(e).doing(|| "cannot ask for Landlock's version".into()),
    };
    if let Some(fence) = fence(abi, Walls::ALL) {
        floor::landlock_ruleset(&fence.handled).doing(|| {
            format!("cannot make a Landlock ruleset, though the kernel claims version {abi}")
        })?;
    }
    Ok(abi)
}

/// How to fork here: tried once, with a child that ends at once.
pub(crate) fn fork_call() -> Result<ForkCall> {
    static FOUND: OnceLock<ForkCall> = OnceLock::new();
    if let Some(call) = FOUND.get() {
        return Ok(*call);
    }
    let tried = |call| {
        let (pid, _pidfd) = floor::fork(call, None, || 0)?;
        floor::wait(pid, 0).map(drop)
    };
    let call = match tried(ForkCall::Clone3) {
        Ok(()) => ForkCall::Clone3,
        Err(e) if absent(&e) || e.raw_os_error() == Some(libc::EPERM) => {
            tried(ForkCall::Clone)
                .doing(|| "cannot fork with a pidfd (clone, CLONE_PIDFD)".into())?;
            ForkCall::Clone
        }
        Err(e) => return Err(e).doing(|| "cannot fork".into()),
    };
    Ok(*FOUND.get_or_init(|| call))
}

/// Its name and the attempt.
type Need = (&'static str, fn() -> io::Result<()>);
/// What no sandbox can do without, tried in a child: its exit status is the place in this list.
const NEEDS: [Need; 5] = [
    ("close_range (Linux 5.9)", || floor::close_from(3)),
    (
        "a mount namespace of its own (CAP_SYS_ADMIN)",
        floor::own_mounts,
    ),
    ("mount_setattr (Linux 5.12)", || {
        floor::set_whole_tree(
            floor::RDONLY | floor::NOSUID | floor::NODEV,
            floor::Later::CutOff,
        )
    }),
    (
        "dropping capabilities and locking securebits (CAP_SETPCAP)",
        || {
            floor::lock_securebits()?;
            floor::drop_bounding()
        },
    ),
    ("seccomp filters", || {
        floor::no_new_privs()?;
        let allow = libc::sock_filter {
            code: 6,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        };
        floor::install_filter(&[allow])
    }),
];

fn needs(fork: ForkCall) -> Result<()> {
    let child = || {
        for (n, (_, attempt)) in (1..).zip(NEEDS) {
            if attempt().is_err() {
                return n;
            }
        }
        0
    };
    let (pid, _pidfd) = floor::fork(fork, None, child).doing(|| "cannot fork".into())?;
    let ended = floor::wait(pid, 0).doing(|| "cannot wait for a child".into())?;
    let code = ended.and_then(|(status, _)| status.code());
    match code {
        Some(0) => Ok(()),
        Some(n) => {
            let what = NEEDS.get(n as usize - 1).map_or("?", |(what, _)| what);
            Err(Error::refused(
                "cannot confine on this kernel",
                format!("it refuses {what}"),
            ))
        }
        None => Err(Error::refused(
            "cannot confine on this kernel",
            "the child that tried was killed",
        )),
    }
}
