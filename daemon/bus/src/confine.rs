//! The sandbox layers of `remit-bus`, entered before it serves: no privilege, Landlock, an allow list of system calls.
//! Landlock refuses all files, TCP ports, abstract sockets and signals. It does not know the paths of Unix sockets
//! (kernel 6.18): the filter bounds connect(2) to the length of the bus's address.

use std::collections::BTreeMap;
use std::path::Path;

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use libc::c_long;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{SockaddrLike, UnixAddr};
use nix::unistd::getresuid;
use remit_link::sys::SO_PASSRIGHTS;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// Three for each of 128 connections, two for each of 128 lookups, 256 listeners, and some more.
const DESCRIPTORS: u64 = 960;

const VERSIONS: [ABI; 6] = [ABI::V6, ABI::V5, ABI::V4, ABI::V3, ABI::V2, ABI::V1];

/// Calls on memory, on what is open, and those by which a process ends.
const ALLOWED: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_ppoll,
    libc::SYS_close,
    libc::SYS_fcntl,      // Debug builds look at a descriptor before they close it.
    libc::SYS_newfstatat, // The uid of a job.
    libc::SYS_geteuid,
    libc::SYS_clock_gettime,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // Threads.
    libc::SYS_clone3, // Another filter refuses it: libc then uses clone.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity, // pthread_getattr_np(3), at the start of each thread.
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

const REQUESTS: [libc::Ioctl; 4] = [
    libc::SECCOMP_IOCTL_NOTIF_RECV,
    libc::SECCOMP_IOCTL_NOTIF_SEND,
    libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
    libc::SECCOMP_IOCTL_NOTIF_ADDFD,
];

/// Refuses an id of root, drops all capabilities and limits the process.
pub fn drop_rights() -> Result<(), String> {
    let uid = getresuid().map_err(|error| format!("cannot read own uids: {error}"))?;
    if [uid.real, uid.effective, uid.saved]
        .iter()
        .any(|uid| uid.is_root())
    {
        return Err("refusing to run as root: remitd starts it as its own user".to_owned());
    }
    prctl::set_no_new_privs().map_err(|error| format!("cannot set no_new_privs: {error}"))?;
    for set in [
        CapSet::Ambient,
        CapSet::Effective,
        CapSet::Inheritable,
        CapSet::Permitted,
    ] {
        caps::clear(None, set)
            .map_err(|error| format!("cannot drop {set:?} capabilities: {error}"))?;
    }
    // Other processes of this uid can neither trace nor dump it.
    prctl::set_dumpable(false).map_err(|error| format!("cannot become undumpable: {error}"))?;
    for (resource, most) in [
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, most, most).map_err(|error| format!("cannot limit itself: {error}"))?;
    }
    Ok(())
}

/// Restricts the calling thread. `bus` is the socket of the bus. Returns false without Landlock.
pub fn restrict(bus: &Path) -> Result<bool, String> {
    let has_landlock = restrict_objects()?;
    restrict_calls(bus)?;
    Ok(has_landlock)
}

/// Permits the calls of this program alone; others fail with EPERM.
pub fn restrict_calls(bus: &Path) -> Result<(), String> {
    let cannot =
        |error: &dyn std::fmt::Display| format!("cannot restrict itself with seccomp: {error}");
    let address = UnixAddr::new(bus).map_err(|error| cannot(&error))?;
    for program in [no_clone3(), filter(address.len().into())] {
        let program = program.map_err(|error| cannot(&error))?;
        apply_filter(&program).map_err(|error| cannot(&error))?;
    }
    Ok(())
}

/// Permits no file, TCP port, abstract socket or signal. Returns false without Landlock.
pub fn restrict_objects() -> Result<bool, String> {
    for abi in VERSIONS {
        // An error here means only that the kernel does not support all of this version.
        let Ok(ruleset) = handled(abi) else { continue };
        let cannot = |error| format!("cannot restrict itself with landlock: {error}");
        let created = ruleset.create().map_err(cannot)?;
        return match created.restrict_self().map_err(cannot)?.ruleset {
            RulesetStatus::FullyEnforced => Ok(true),
            RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
                Err("cannot restrict itself with landlock: not fully enforced".to_owned())
            }
        };
    }
    Ok(false)
}

fn handled(abi: ABI) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    Ok(ruleset)
}

/// Its flags are in memory, where no filter sees them.
fn no_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = [(libc::SYS_clone3, Vec::new())].into();
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, enosys, arch)?.try_into()
}

fn filter(connect_length: u64) -> Result<BpfProgram, seccompiler::BackendError> {
    let is = |arg: u8, op: Op, value: u64| SeccompCondition::new(arg, Len::Dword, op, value);
    let flags = |value: i32| u64::from(value.unsigned_abs());
    let all_calls = ALLOWED.iter().chain(ALLOWED_HERE);
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        all_calls.map(|call| (*call, Vec::new())).collect();
    // Stream sockets of this machine; the type comes with flags.
    let kind = Op::MaskedEq(0xf);
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let unix = is(0, Op::Eq, flags(libc::AF_UNIX))?;
        let stream = is(1, kind.clone(), flags(libc::SOCK_STREAM))?;
        rules.insert(call, vec![SeccompRule::new(vec![unix, stream])?]);
    }
    let address = is(2, Op::Eq, connect_length)?;
    rules.insert(libc::SYS_connect, vec![SeccompRule::new(vec![address])?]);
    let requests: Result<Vec<_>, _> = REQUESTS
        .iter()
        .map(|request| SeccompRule::new(vec![is(1, Op::Eq, u64::from(*request as u32))?]))
        .collect();
    rules.insert(libc::SYS_ioctl, requests?);
    // Threads, no processes.
    let thread = flags(libc::CLONE_THREAD);
    let is_thread = is(0, Op::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![is_thread])?]);
    for (call, options) in [
        (
            libc::SYS_setsockopt,
            &[SO_PASSRIGHTS, libc::SO_OOBINLINE][..],
        ),
        (libc::SYS_getsockopt, &[SO_PASSRIGHTS]),
    ] {
        let of_socket = |option: &i32| {
            let level = is(1, Op::Eq, flags(libc::SOL_SOCKET))?;
            SeccompRule::new(vec![level, is(2, Op::Eq, flags(*option))?])
        };
        let options: Result<Vec<_>, _> = options.iter().map(of_socket).collect();
        rules.insert(call, options?);
    }
    // No memory becomes executable.
    let exec = flags(libc::PROT_EXEC);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let not_executable = is(2, Op::MaskedEq(exec), 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![not_executable])?]);
    }
    // A panic aborts: a signal to itself.
    let itself = is(0, Op::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![itself])?]);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, eperm, SeccompAction::Allow, arch)?.try_into()
}
