//! The sandbox of this process: few capabilities, few system calls, and by Landlock only the directories of the plan.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use libc::c_long;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use remit_sys::sys;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Those of the largest plan, if each of its paths is in a directory of its own.
const DESCRIPTORS: u64 = 5 * remit_plan::ENTRIES as u64 + 256;

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, LEASE, SETFCAP. SYS_ADMIN: the kernel wants it for a label of a security module that is
/// switched off, and no other call of the filter uses it. capabilities(7).
const CAPABILITIES: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 28 | 1 << 31 | 1 << 21;

const ALLOWED: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_memfd_create,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchown,
    libc::SYS_fchmod,
    libc::SYS_utimensat,
    libc::SYS_flistxattr,
    libc::SYS_fgetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, MAKE_SYM, REFER. landlock(7).
const RIGHTS: u64 =
    1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13;
const READ_FILE: u64 = 1 << 2;
/// Those of version 2, which is the first that permits a rename between directories.
const HANDLED: u64 = (1 << 14) - 1;

/// Gives up what no commit needs, and returns its limit of descriptors. Called before anything is read.
pub fn prepare() -> Result<usize, String> {
    let cannot = |what: &str, error: &dyn std::fmt::Display| format!("cannot {what}: {error}");
    // A writer that waits for a lease is reported with SIGIO, which would end this process.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGIO);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)
        .map_err(|error| cannot("block SIGIO", &error))?;
    let (_, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| cannot("read its limits", &error))?;
    let descriptors = hard.min(DESCRIPTORS);
    for (resource, most) in [
        (Resource::RLIMIT_NOFILE, descriptors),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, most, most).map_err(|error| cannot("set its limits", &error))?;
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    sys::keep_only_capabilities(CAPABILITIES)
        .map_err(|error| cannot("give up capabilities", &error))?;
    let program = filter().map_err(|error| cannot("make its filter", &error))?;
    apply_filter(&program).map_err(|error| cannot("filter its system calls", &error))?;
    Ok(usize::try_from(descriptors).unwrap_or(usize::MAX))
}

/// Permits files beneath these directories alone, and reading files beneath `read`. Without Landlock, or with its first
/// version, nothing is done: the first version refuses every rename between directories.
pub fn restrict<'a>(
    directories: impl Iterator<Item = BorrowedFd<'a>>,
    read: Option<BorrowedFd<'_>>,
) -> Result<(), String> {
    if sys::landlock_abi().unwrap_or(0) < 2 {
        return Ok(());
    }
    let handled = sys::Handled {
        fs: HANDLED,
        ..sys::Handled::default()
    };
    let cannot = |error: std::io::Error| format!("cannot restrict itself with landlock: {error}");
    let ruleset = sys::landlock_ruleset(&handled).map_err(cannot)?;
    for directory in directories {
        sys::landlock_grant(ruleset.as_fd(), directory, RIGHTS).map_err(cannot)?;
    }
    if let Some(read) = read {
        sys::landlock_grant(ruleset.as_fd(), read, READ_FILE).map_err(cannot)?;
    }
    sys::landlock_restrict(ruleset.as_fd(), 0).map_err(cannot)
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let one =
        |arg: u8, operator: SeccompCmpOp, value: u64| -> Result<_, seccompiler::BackendError> {
            let condition = SeccompCondition::new(arg, SeccompCmpArgLen::Dword, operator, value)?;
            Ok(vec![SeccompRule::new(vec![condition])?])
        };
    // No memory becomes executable.
    let exec = SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs()));
    rules.insert(libc::SYS_mmap, one(2, exec.clone(), 0)?);
    rules.insert(libc::SYS_mprotect, one(2, exec, 0)?);
    let not_followed = u64::from(libc::AT_SYMLINK_NOFOLLOW.unsigned_abs());
    rules.insert(libc::SYS_fchownat, one(4, SeccompCmpOp::Eq, not_followed)?);
    // A panic aborts: a signal to itself.
    let itself = one(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, itself);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, eperm, SeccompAction::Allow, arch)?.try_into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use nix::errno::Errno;
    use nix::fcntl::{AT_FDCWD, AtFlags};
    use nix::unistd::{Gid, Uid, fchownat};

    use super::*;

    /// A filter is that of a thread.
    #[test]
    fn owner_is_set_by_name_only_without_following_a_link() {
        let all = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
        let set = |flags| {
            let (uid, gid) = (Some(Uid::current()), Some(Gid::current()));
            fchownat(AT_FDCWD, c"/no/such/path", uid, gid, flags)
        };
        for (flags, after) in [
            (AtFlags::AT_SYMLINK_NOFOLLOW, Errno::ENOENT),
            (AtFlags::empty(), Errno::EPERM),
            (AtFlags::AT_EMPTY_PATH, Errno::EPERM),
            (all, Errno::EPERM),
        ] {
            let thread = std::thread::spawn(move || {
                let before = set(flags);
                apply_filter(&filter().unwrap()).unwrap();
                (before, set(flags))
            });
            assert_eq!(
                thread.join().unwrap(),
                (Err(Errno::ENOENT), Err(after)),
                "{flags:?}"
            );
        }
    }
}
