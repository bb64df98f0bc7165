//! Probes the features of this kernel by trying each of them.

use crate::steps::landlock::fence;
use crate::steps::report::EnabledLayers;
use crate::sys::{self, ForkCall};
use remit_core::mount_table::mounts;
use remit_spawn::Kernel;
use remit_sys::{Doing, Error, Result};
use std::{io, path::Path, sync::OnceLock};

/// Tries each feature. Refuses a kernel without mount_setattr, close_range, pidfds or seccomp filters (Linux 5.12), by name.
pub fn probe() -> Result<Kernel> {
    let fork = fork_call()?;
    let landlock_abi = landlock()?;
    let kernel = Kernel {
        release: Kernel::release()?,
        landlock_abi,
        landlock_errata: if landlock_abi > 0 {
            sys::landlock_errata().unwrap_or(0)
        } else {
            0
        },
        keyrings: exists(sys::session_keyring().map(drop), "a session keyring")?,
        loginuid: Path::new("/proc/self/loginuid").exists(),
        one_session: false,
        fork,
    };
    needs(fork)?;
    has_root_of_its_mounts()?;
    Ok(kernel)
}

/// Refuses to run in a chroot(2), where `/` is no mount: pivot_root(2), which sets a job's root, needs one.
fn has_root_of_its_mounts() -> Result<()> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let mounts = std::fs::read(MOUNTS).doing(|| format!("cannot read '{MOUNTS}'"))?;
    match mounts_root(&mounts) {
        true => Ok(()),
        false => Err(Error::refused(
            "cannot build a root for jobs",
            "this process runs in a chroot; start it outside, or in a container or by pivot_root, where '/' is a mount",
        )),
    }
}

/// Returns true if a mount is at `/`.
fn mounts_root(mountinfo: &[u8]) -> bool {
    mounts(mountinfo).flatten().any(|mount| mount.point == b"/")
}

fn absent(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP))
}

fn exists(tried: io::Result<()>, what: &str) -> Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(e) if absent(&e) => Ok(false),
        // The call exists; there is only no session keyring yet.
        Err(e) if e.raw_os_error() == Some(libc::ENOKEY) => Ok(true),
        Err(e) => Err(e).doing(|| format!("cannot ask for {what}")),
    }
}

/// Returns the ABI, checked by a ruleset with every right that remit uses of it.
fn landlock() -> Result<u32> {
    let abi = match sys::landlock_abi() {
        Ok(abi) => abi,
        Err(e) if absent(&e) => return Ok(0),
        Err(e) => return Err(e).doing(|| "cannot get Landlock's version".into()),
    };
    if let Some(fence) = fence(abi, EnabledLayers::ALL) {
        sys::landlock_ruleset(&fence.handled).doing(|| {
            format!("cannot make a Landlock ruleset, though the kernel claims version {abi}")
        })?;
    }
    Ok(abi)
}

type Need = (&'static str, fn() -> io::Result<()>);
/// What every sandbox needs. A child tries each. Its exit status is the position in this list, counted from 1.
const NEEDS: [Need; 5] = [
    ("close_range (Linux 5.9)", || sys::close_from(3)),
    (
        "a mount namespace of its own (CAP_SYS_ADMIN)",
        sys::own_mounts,
    ),
    ("mount_setattr (Linux 5.12)", || {
        sys::set_whole_tree(
            sys::RDONLY | sys::NOSUID | sys::NODEV,
            sys::Propagation::Private,
        )
    }),
    (
        "dropping capabilities and locking securebits (CAP_SETPCAP)",
        || {
            sys::lock_securebits()?;
            sys::drop_bounding()
        },
    ),
    ("seccomp filters", || {
        sys::no_new_privs()?;
        let allow = libc::sock_filter {
            code: 6,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        };
        sys::install_filter(&[allow])
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
    let (pid, _pidfd) = sys::fork(fork, None, child).doing(|| "cannot fork".into())?;
    let ended = sys::wait(pid, 0).doing(|| "cannot wait for a child".into())?;
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

/// Returns the call that forks a child with a pidfd, which is found out once.
pub(crate) fn fork_call() -> Result<ForkCall> {
    static FOUND: OnceLock<ForkCall> = OnceLock::new();
    if let Some(call) = FOUND.get() {
        return Ok(*call);
    }
    let tried = |call| {
        let (pid, _pidfd) = sys::fork(call, None, || 0)?;
        sys::wait(pid, 0).map(drop)
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

#[cfg(test)]
mod tests {
    use super::mounts_root;

    #[test]
    fn a_chroot_has_no_mount_at_its_root() {
        let proc = b"25 1 0:23 / /proc rw,nosuid - proc proc rw\n90 27 0:50 / /home/\xf6 rw - fuse.a a rw\n";
        assert!(!mounts_root(proc.as_slice()));
        let root = b"21 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n";
        assert!(mounts_root(&[proc.as_slice(), root].concat()));
    }
}
