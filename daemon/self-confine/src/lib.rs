//! The sandbox of a program that only computes, entered by itself before its first byte: nothing is opened, started or
//! signaled; time and memory are bounded.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use libc::c_long;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What the program may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Seconds of processor time.
    pub cpu_s: u64,
    /// Bytes of address space.
    pub memory: u64,
}

/// Calls on memory, on its standard descriptors, and those by which a process ends. Others kill it.
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

/// Calls that read files besides. What may be read, and that nothing is written, is for the caller to restrict before.
const READING: [c_long; 9] = [
    libc::SYS_lseek,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fgetxattr,
    libc::SYS_fcntl,
    libc::SYS_clock_gettime,
];

/// Confines this process for good. An error says what could not be restricted.
pub fn confine(limits: Limits) -> Result<(), String> {
    confine_with(limits, &[])
}

/// As [`confine`], for a process that reads files.
pub fn confine_reader(limits: Limits) -> Result<(), String> {
    confine_with(limits, &READING)
}

fn confine_with(limits: Limits, more: &[c_long]) -> Result<(), String> {
    // No other process of this uid can trace it. The exec has reset this, unless the program's file is unreadable.
    prctl::set_dumpable(false).map_err(|error| format!("cannot become undumpable: {error}"))?;
    for (resource, most) in [
        (Resource::RLIMIT_CPU, limits.cpu_s),
        (Resource::RLIMIT_AS, limits.memory),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
    ] {
        // Without CAP_SYS_RESOURCE a limit that is lower already stays.
        getrlimit(resource)
            .map(|(_, hard)| most.min(hard))
            .and_then(|most| setrlimit(resource, most, most))
            .map_err(|error| format!("cannot limit itself: {error}"))?;
    }
    let cannot =
        |error: &dyn std::fmt::Display| format!("cannot restrict itself with seccomp: {error}");
    let program = filter(more).map_err(|error| cannot(&error))?;
    apply_filter(&program).map_err(|error| cannot(&error))
}

fn filter(more: &[c_long]) -> Result<BpfProgram, seccompiler::BackendError> {
    let allowed = ALLOWED.iter().chain(more);
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        allowed.map(|call| (*call, Vec::new())).collect();
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
