//! The sandbox of the verifier, before the first byte: nothing is opened, started or signaled; time and memory are bounded.

use std::collections::BTreeMap;

use libc::c_long;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Seconds of processor time. The largest question takes some milliseconds.
const CPU_S: u64 = 1;
/// Bytes of address space. The largest question needs a few MiB.
const MEMORY: u64 = 256 << 20;

/// Calls on memory, on its input and output, and those by which a process ends. Others kill it.
const ALLOWED: [c_long; 21] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_close,
];

pub fn confine() -> Result<(), String> {
    // No other process of this uid can trace it. The exec has reset this, unless the program's file is unreadable.
    prctl::set_dumpable(false).map_err(|error| format!("cannot become undumpable: {error}"))?;
    for (resource, most) in [
        (Resource::RLIMIT_CPU, CPU_S),
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
    ] {
        setrlimit(resource, most, most).map_err(|error| format!("cannot limit itself: {error}"))?;
    }
    let cannot =
        |error: &dyn std::fmt::Display| format!("cannot restrict itself with seccomp: {error}");
    let program = filter().map_err(|error| cannot(&error))?;
    apply_filter(&program).map_err(|error| cannot(&error))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // No memory becomes executable, and nothing but memory is mapped.
    let not_executable = || -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let exec = u64::from(libc::PROT_EXEC.unsigned_abs());
        let equal = SeccompCmpOp::MaskedEq(exec);
        let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, equal, 0)?;
        Ok(vec![SeccompRule::new(vec![condition])?])
    };
    rules.insert(libc::SYS_mmap, not_executable()?);
    rules.insert(libc::SYS_mprotect, not_executable()?);
    let own = u64::from(std::process::id());
    let itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![itself])?]);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let (others, allowed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    SeccompFilter::new(rules, others, allowed, arch)?.try_into()
}
