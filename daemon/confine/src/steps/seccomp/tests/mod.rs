//! Interprets the compiled programs number by number, for the other architecture too. Other tests ask the kernel.

mod halves;

use super::rule::{Check, Instead, SyscallRow, Want};
use super::*;
use std::collections::BTreeMap;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

fn errno(e: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | e as u32
}

fn run(program: &Program, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let code = program.instructions();
    let (mut pc, mut acc) = (0usize, 0u32);
    loop {
        let i = code[pc];
        pc += 1;
        match i.code {
            bpf::LOAD if i.k == bpf::NUMBER => acc = number,
            bpf::LOAD if i.k == bpf::ARCH => acc = arch,
            bpf::LOAD => {
                let word = (i.k - bpf::ARGS) / 4;
                acc = (args[(word / 2) as usize] >> (32 * (word % 2))) as u32;
            }
            bpf::AND => acc &= i.k,
            bpf::JEQ => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
            bpf::JGE => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
            bpf::JA => pc += i.k as usize,
            bpf::RET => return i.k,
            other => panic!("instruction {other:#x} at {pc}"),
        }
    }
}

impl Check {
    /// Returns an argument and a value of it with which the check applies.
    fn condition(&self) -> Option<(usize, u32)> {
        match self.want {
            Want::OneOf(_) | Want::NoneOf(_) | Want::OneOfKind { .. } => None,
            Want::OneOfIf { arg, is, .. } | Want::NoneOfIf { arg, is, .. } => {
                Some((usize::from(arg), is))
            }
            // If such a call were let through, it would fault.
            Want::NoneOfIfSet { pointer, .. } => Some((usize::from(pointer), 1)),
        }
    }

    fn applies(&self, args: &[u64; 6]) -> bool {
        match self.want {
            Want::OneOf(_) | Want::NoneOf(_) | Want::OneOfKind { .. } => true,
            Want::OneOfIf { arg, is, .. } | Want::NoneOfIf { arg, is, .. } => {
                args[usize::from(arg)] as u32 == is
            }
            Want::NoneOfIfSet { pointer, .. } => args[usize::from(pointer)] != 0,
        }
    }

    fn values(&self) -> &'static [u32] {
        match self.want {
            Want::OneOf(values) | Want::OneOfIf { values, .. } | Want::OneOfKind { values, .. } => {
                values
            }
            Want::NoneOf(values)
            | Want::NoneOfIf { values, .. }
            | Want::NoneOfIfSet { values, .. } => values,
        }
    }

    fn accepts(&self, value: u32) -> bool {
        let listed = self.values().contains(&value);
        match self.want {
            Want::OneOf(_) | Want::OneOfIf { .. } => listed,
            Want::OneOfKind { mask, kinds, .. } => listed || !kinds.contains(&(value & mask)),
            Want::NoneOf(_) | Want::NoneOfIf { .. } | Want::NoneOfIfSet { .. } => !listed,
        }
    }

    fn refused(&self) -> Vec<u32> {
        match self.want {
            Want::NoneOf(values)
            | Want::NoneOfIf { values, .. }
            | Want::NoneOfIfSet { values, .. } => values.to_vec(),
            Want::OneOfKind { mask, kinds, .. } => {
                kinds.iter().map(|kind| kind | 0xff & !mask).collect()
            }
            Want::OneOf(_) | Want::OneOfIf { .. } if self.mask != !0 => vec![self.mask],
            Want::OneOf(_) | Want::OneOfIf { .. } => vec![0x7fff_000e],
        }
    }
}

fn known(arch: Arch) -> BTreeMap<u32, (&'static str, Rule)> {
    let mut all = BTreeMap::new();
    for group in table::GROUPS {
        assert!(!group.why.is_empty());
        for row in group.rows {
            if let Some(n) = arch.number(row) {
                let before = all.insert(n, (row.0, group.rule));
                assert!(before.is_none(), "{} and {before:?} share {n}", row.0);
            }
        }
    }
    all
}

#[test]
fn every_number_has_its_verdict_on_both_architectures() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let program = compile_for(arch, EnabledLayers::ALL, Class::default());
        let rules = known(arch);
        // The kernel compiles it for each job that no worker forks: about 0.2 µs per instruction.
        let length = program.instructions().len();
        assert!(length < 365, "{length}");
        let far = [
            0x4000_0000,
            0x4000_0001,
            0x4000_0000 | 41,
            u32::MAX,
            u32::MAX - 1,
        ];
        for n in (0..1200).chain(far) {
            let zeros = run(&program, arch.audit(), n, [0; 6]);
            match rules.get(&n) {
                None => assert_eq!(zeros, errno(libc::ENOSYS), "{n}"),
                Some((name, Rule::Allow)) => assert_eq!(zeros, ALLOW, "{name}"),
                Some((name, Rule::Answer(e))) => assert_eq!(zeros, errno(i32::from(*e)), "{name}"),
                Some((name, Rule::Checked(checks))) => each_check(&program, arch, n, name, checks),
                Some((name, Rule::Notify(..))) => panic!("{name}: only `bus` notifies"),
            }
            assert_eq!(run(&program, 0x4000_0003, n, [0; 6]), KILL);
        }
    }
}

/// And of each other number of the headers it is known that it has none.
#[test]
fn call_that_answers_as_unknown_has_no_rule() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let rules = known(arch);
        let numbers = table::AS_UNKNOWN.iter().filter_map(|row| arch.number(row));
        let found: Vec<u32> = numbers.filter(|n| rules.contains_key(n)).collect();
        assert_eq!(found, [0; 0]);
    }
}

/// Arguments that pass all checks are allowed, with any upper half; each refused value gets its check's errno.
fn each_check(program: &Program, arch: Arch, n: u32, name: &str, checks: &[Check]) {
    let mut good = [0u64; 6];
    for check in checks {
        if let Want::OneOf([first, ..]) = check.want {
            good[usize::from(check.arg)] = u64::from(*first);
        }
    }
    let upper = good.map(|a| a | 0xdead_beef_0000_0000);
    for args in [good, upper] {
        assert_eq!(
            run(program, arch.audit(), n, args),
            ALLOW,
            "{name} {args:x?}"
        );
    }
    for check in checks {
        if_set(program, arch, n, name, check);
        let kinds = match check.want {
            Want::OneOfKind { kinds, .. } => kinds,
            _ => &[],
        };
        let probes = (0..2048u32)
            .chain(kinds.iter().flat_map(|kind| [*kind, kind | 0x8008_0099]))
            .chain(check.values().iter().copied())
            .chain((0..32).map(|b| 1 << b))
            .chain((0..32).map(|b| !(1 << b)));
        for v in probes {
            let mut args = upper;
            if let Some((arg, is)) = check.condition() {
                args[arg] = 0xffff_ffff_0000_0000 | u64::from(is);
            }
            args[usize::from(check.arg)] = 0xffff_ffff_0000_0000 | u64::from(v);
            let holds = |c: &Check| {
                let v = args[usize::from(c.arg)] as u32 & c.mask;
                !c.applies(&args) || c.accepts(v)
            };
            let want = checks
                .iter()
                .find(|c| !holds(c))
                .map_or(ALLOW, |c| errno(i32::from(c.errno)));
            assert_eq!(
                run(program, arch.audit(), n, args),
                want,
                "{name} arg {} = {v:#x}",
                check.arg
            );
        }
    }
}

/// With a null pointer the call is allowed. Half a pointer is not null.
fn if_set(program: &Program, arch: Arch, n: u32, name: &str, check: &Check) {
    let Want::NoneOfIfSet { pointer, values } = check.want else {
        return;
    };
    for value in values {
        let mut args = [0u64; 6];
        args[usize::from(check.arg)] = u64::from(*value);
        assert_eq!(run(program, arch.audit(), n, args), ALLOW, "{name} asks");
        for set in [1, 1 << 31, 1 << 32, 1 << 63] {
            args[usize::from(pointer)] = set;
            let want = errno(i32::from(check.errno));
            assert_eq!(run(program, arch.audit(), n, args), want, "{name} {set:#x}");
        }
    }
}

#[test]
fn design_examples() {
    let arch = Arch::here().unwrap();
    let p = compile_for(arch, EnabledLayers::ALL, Class::default());
    let at = |n: libc::c_long, args: [u64; 6]| run(&p, arch.audit(), n as u32, args);
    for (n, args, want) in [
        (libc::SYS_clone3, [0; 6], errno(libc::ENOSYS)),
        (libc::SYS_openat2, [0; 6], errno(libc::ENOSYS)),
        (
            libc::SYS_socket,
            [2, 1, 0, 0, 0, 0],
            errno(libc::EAFNOSUPPORT),
        ),
        (
            libc::SYS_socket,
            [16, 3, 9, 0, 0, 0],
            errno(libc::EAFNOSUPPORT),
        ),
        (libc::SYS_socket, [16, 3, 16, 0, 0, 0], ALLOW),
        (libc::SYS_socketpair, [1, 2, 0, 0, 0, 0], errno(libc::EPERM)),
        (libc::SYS_socketpair, [1, 0x80805, 0, 0, 0, 0], ALLOW),
        (
            libc::SYS_clone,
            [0x1000_0011, 0, 0, 0, 0, 0],
            errno(libc::EPERM),
        ),
        (libc::SYS_clone, [0x8011, 0, 0, 0, 0, 0], errno(libc::EPERM)),
        (libc::SYS_clone, [0x003d_0f00, 0, 0, 0, 0, 0], ALLOW),
        (libc::SYS_flock, [3, 2, 0, 0, 0, 0], errno(0)),
        (libc::SYS_futex, [1, 4, 0, 0, 1, 0], errno(libc::ENOSYS)),
        (libc::SYS_futex, [1, 0x84, 0, 0, 1, 0], ALLOW),
        (libc::SYS_prlimit64, [0, 4, 0, 1, 0, 0], ALLOW),
        (libc::SYS_prlimit64, [0, 4, 1, 0, 0, 0], errno(0)),
        (libc::SYS_prlimit64, [0, 7, 1, 0, 0, 0], ALLOW),
        (libc::SYS_prctl, [62, 1, 0, 0, 0, 0], errno(libc::EINVAL)),
        (libc::SYS_prctl, [22, 2, 0, 0, 0, 0], ALLOW),
        (libc::SYS_prctl, [22, 2, 1 << 32, 0, 0, 0], errno(0)),
        (libc::SYS_seccomp, [2, 0, 1, 0, 0, 0], ALLOW),
        (libc::SYS_seccomp, [1, 1, 1, 0, 0, 0], errno(0)),
        (libc::SYS_seccomp, [1, 1, 0, 0, 0, 0], ALLOW),
        (libc::SYS_seccomp, [1, 8, 1, 0, 0, 0], errno(libc::EPERM)),
        (libc::SYS_semctl, [0, 0, 16, 1, 0, 0], errno(libc::EPERM)),
        (
            libc::SYS_ioctl,
            [0, 0xffff_ffff_0000_5412, 0, 0, 0, 0],
            errno(libc::EPERM),
        ),
    ] {
        assert_eq!(at(n, args), want, "{n} {args:x?}");
    }
}

#[test]
fn the_relay_makes_tcp_sockets_and_little_else() {
    let program = relay(RelayKind::Listed).unwrap();
    let arch = Arch::here().unwrap().audit();
    let at = |n: libc::c_long, args: [u64; 6]| run(&program, arch, n as u32, args);
    let socket = |family: i32, kind: i32, protocol: u64| {
        at(
            libc::SYS_socket,
            [family as u64, kind as u64, protocol, 0, 0, 0],
        )
    };
    let plain = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    for family in [libc::AF_INET, libc::AF_INET6] {
        assert_eq!(socket(family, plain, 0), ALLOW);
        // UDP, raw, multipath.
        assert_eq!(socket(family, libc::SOCK_DGRAM, 0), errno(libc::EPERM));
        assert_eq!(socket(family, libc::SOCK_RAW, 1), errno(libc::EPERM));
        assert_eq!(socket(family, plain, 262), errno(libc::EPERM));
    }
    for family in [
        libc::AF_UNIX,
        libc::AF_NETLINK,
        libc::AF_PACKET,
        libc::AF_VSOCK,
    ] {
        assert_eq!(socket(family, plain, 0), errno(libc::EPERM));
    }
    let mut allowed = Vec::new();
    for n in 0..600 {
        match at(n, [0; 6]) {
            ALLOW => allowed.push(n),
            other => assert_eq!(other, errno(libc::EPERM)),
        }
    }
    assert!(allowed.len() < 20, "{allowed:?}");
    // For the host's own addresses: two calls more.
    let binding = relay(RelayKind::ThisHost).unwrap();
    let more =
        (0..600).filter(|n| run(&binding, arch, *n, [0; 6]) != at(libc::c_long::from(*n), [0; 6]));
    let mut expect = [libc::SYS_bind as u32, libc::SYS_getsockname as u32];
    expect.sort_unstable();
    assert!(more.eq(expect));
    for n in [
        libc::SYS_openat,
        libc::SYS_execve,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_kill,
        libc::SYS_mmap,
        libc::SYS_setns,
        libc::SYS_sendmsg,
        libc::SYS_recvmsg,
        libc::SYS_ptrace,
        libc::SYS_clone,
    ] {
        assert!(!allowed.contains(&n), "{n}");
    }
}

#[test]
fn a_proxy_also_asks_by_udp_and_maps_no_code() {
    let relay = relay(RelayKind::Listed).unwrap();
    let proxy = super::relay(RelayKind::Proxy).unwrap();
    let arch = Arch::here().unwrap().audit();
    let more: Vec<u32> = (0..600)
        .filter(|n| run(&proxy, arch, *n, [0; 6]) != run(&relay, arch, *n, [0; 6]))
        .collect();
    let mut expect = [
        libc::SYS_brk,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mremap,
        libc::SYS_munmap,
    ]
    .map(|n| n as u32);
    expect.sort_unstable();
    assert_eq!(more, expect);
    let at = |n: libc::c_long, args: [u64; 6]| run(&proxy, arch, n as u32, args);
    let inet = libc::AF_INET as u64;
    for (args, want) in [
        ([inet, libc::SOCK_STREAM as u64, 0, 0, 0, 0], ALLOW),
        ([inet, libc::SOCK_DGRAM as u64, 0, 0, 0, 0], ALLOW),
        (
            [inet, libc::SOCK_RAW as u64, 0, 0, 0, 0],
            errno(libc::EPERM),
        ),
        (
            [inet, libc::SOCK_DGRAM as u64, 1, 0, 0, 0],
            errno(libc::EPERM),
        ),
        ([libc::AF_UNIX as u64, 2, 0, 0, 0, 0], errno(libc::EPERM)),
        ([libc::AF_NETLINK as u64, 2, 0, 0, 0, 0], errno(libc::EPERM)),
    ] {
        assert_eq!(at(libc::SYS_socket, args), want, "{args:?}");
    }
    let map = |protection: i32| at(libc::SYS_mmap, [0, 4096, protection as u64, 34, 0, 0]);
    assert_eq!(map(libc::PROT_READ | libc::PROT_WRITE), ALLOW);
    assert_eq!(map(libc::PROT_READ | libc::PROT_EXEC), errno(libc::EPERM));
}

#[test]
fn numbers_are_libcs() {
    let arch = Arch::here().unwrap();
    let known: BTreeMap<&str, u32> = table::GROUPS
        .iter()
        .flat_map(|g| g.rows)
        .filter_map(|row| Some((row.0, arch.number(row)?)))
        .collect();
    macro_rules! check {
        ($($name:ident: $number:path),* $(,)?) => {
            $(assert_eq!(known.get(stringify!($name)), Some(&($number as u32)), stringify!($name));)*
        };
    }
    check!(
        read: libc::SYS_read, write: libc::SYS_write, close: libc::SYS_close, mmap: libc::SYS_mmap,
        ioctl: libc::SYS_ioctl, socket: libc::SYS_socket, socketpair: libc::SYS_socketpair,
        bind: libc::SYS_bind, connect: libc::SYS_connect, clone: libc::SYS_clone,
        fcntl: libc::SYS_fcntl, flock: libc::SYS_flock, ptrace: libc::SYS_ptrace,
        shmget: libc::SYS_shmget, shmat: libc::SYS_shmat, shmctl: libc::SYS_shmctl,
        semget: libc::SYS_semget, semop: libc::SYS_semop, semctl: libc::SYS_semctl,
        msgget: libc::SYS_msgget, msgsnd: libc::SYS_msgsnd, msgctl: libc::SYS_msgctl,
        mq_open: libc::SYS_mq_open, mq_unlink: libc::SYS_mq_unlink, personality: libc::SYS_personality,
        syslog: libc::SYS_syslog, mount: libc::SYS_mount, umount2: libc::SYS_umount2,
        pivot_root: libc::SYS_pivot_root, chroot: libc::SYS_chroot, unshare: libc::SYS_unshare,
        setns: libc::SYS_setns, keyctl: libc::SYS_keyctl, add_key: libc::SYS_add_key,
        bpf: libc::SYS_bpf, perf_event_open: libc::SYS_perf_event_open, kcmp: libc::SYS_kcmp,
        userfaultfd: libc::SYS_userfaultfd, io_uring_setup: libc::SYS_io_uring_setup,
        process_vm_readv: libc::SYS_process_vm_readv, pidfd_getfd: libc::SYS_pidfd_getfd,
        open_by_handle_at: libc::SYS_open_by_handle_at, memfd_create: libc::SYS_memfd_create,
        fanotify_init: libc::SYS_fanotify_init, reboot: libc::SYS_reboot, swapon: libc::SYS_swapon,
        execve: libc::SYS_execve, execveat: libc::SYS_execveat, openat2: libc::SYS_openat2,
        clock_settime: libc::SYS_clock_settime, io_setup: libc::SYS_io_setup,
        mount_setattr: libc::SYS_mount_setattr, landlock_restrict_self: libc::SYS_landlock_restrict_self,
    );
    assert_eq!(known.get("clone3"), None);
    let _: libc::c_long = libc::SYS_clone3;
}

type Call = (u32, [libc::c_long; 6], i32);

fn refusals(arch: Arch) -> Vec<Call> {
    let rules = known(arch);
    let mut calls: Vec<Call> = Vec::new();
    for n in 0..1100 {
        match rules.get(&n) {
            None => calls.push((n, [0; 6], libc::ENOSYS)),
            Some((_, Rule::Allow | Rule::Notify(..))) => {}
            Some((_, Rule::Answer(e))) => calls.push((n, [0; 6], i32::from(*e))),
            Some((_, Rule::Checked(checks))) => {
                let mut good = [0; 6];
                for check in *checks {
                    if let Want::OneOf([first, ..]) = check.want {
                        good[usize::from(check.arg)] = libc::c_long::from(*first);
                    }
                }
                for check in *checks {
                    for value in check.refused() {
                        let mut args = good;
                        if let Some((arg, is)) = check.condition() {
                            args[arg] = libc::c_long::from(is);
                        }
                        args[usize::from(check.arg)] = libc::c_long::from(value);
                        calls.push((n, args, i32::from(check.errno)));
                    }
                }
            }
        }
    }
    assert!(calls.len() > 700, "{}", calls.len());
    calls
}

fn answers(calls: &[Call]) -> i32 {
    for (n, args, errno) in calls {
        if crate::sys::attempt(libc::c_long::from(*n), *args) != -errno {
            for part in [&b"wrong answer to "[..], &decimal(*n), b"\n"] {
                let _ = crate::sys::write(crate::sys::borrowed(2), part);
            }
            return 1;
        }
    }
    0
}

/// Makes every refused call under the filter, without rights: a wrong number in the table would do something else.
#[test]
fn the_kernel_answers_as_the_table_says() {
    let arch = Arch::here().unwrap();
    let program = compile_for(arch, EnabledLayers::ALL, Class::default());
    let calls = refusals(arch);
    let child = || {
        let stripped = remit_sys::rights::drop_all_rights(1_879_099_999, 1_879_099_999, &[]);
        let ready = stripped.and_then(|()| crate::sys::no_new_privs());
        if ready
            .and_then(|()| crate::sys::install_filter(program.instructions()))
            .is_err()
        {
            return 101;
        }
        answers(&calls)
    };
    let call = crate::spec::kernel::fork_call().unwrap();
    let (pid, _pidfd) = crate::sys::fork(call, None, child).unwrap();
    let (status, _) = crate::sys::wait(pid, 0).unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// No allocation: for the child of a process with threads.
fn decimal(mut n: u32) -> [u8; 10] {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit += (n % 10) as u8;
        n /= 10;
    }
    digits
}

/// The 32-bit entry works in 64-bit code; its numbers mean other calls.
#[cfg(target_arch = "x86_64")]
#[test]
#[allow(unsafe_code)]
fn the_other_architecture_is_killed() {
    use std::os::unix::process::ExitStatusExt;
    let program = compile_for(Arch::X86_64, EnabledLayers::ALL, Class::default());
    let signal = |filtered: bool| {
        let child = || {
            if filtered {
                let ready = crate::sys::no_new_privs();
                if ready
                    .and_then(|()| crate::sys::install_filter(program.instructions()))
                    .is_err()
                {
                    return 101;
                }
            }
            // SAFETY: getpid(2) by the 32-bit entry; it takes nothing and changes one register.
            unsafe { std::arch::asm!("int 0x80", inout("eax") 20 => _) };
            0
        };
        let call = crate::spec::kernel::fork_call().unwrap();
        let (pid, _pidfd) = crate::sys::fork(call, None, child).unwrap();
        crate::sys::wait(pid, 0).unwrap().unwrap().0.signal()
    };
    assert_eq!(signal(true), Some(libc::SIGSYS));
    // Kernels without CONFIG_IA32_EMULATION kill it anyway.
    assert!(matches!(signal(false), None | Some(libc::SIGSEGV)));
}

#[test]
fn each_class_of_profile_has_its_own_verdicts() {
    let none = Class::default();
    let locks = Class {
        locks: true,
        ..none
    };
    let internet = Class {
        internet: true,
        ..none
    };
    let unix = Class { unix: true, ..none };
    let both = Class {
        unix: true,
        ..internet
    };
    let ipc = Class { ipc: true, ..none };
    let no_set_id = Class {
        no_set_id: true,
        ..none
    };
    let shared_uid = Class {
        shared_uid: true,
        ..none
    };
    let one_session = Class {
        one_session: true,
        ..none
    };
    let own_network = Class {
        own_network: true,
        ..internet
    };
    let view = Class {
        changes_root: true,
        ..locks
    };
    let view_network = Class {
        changes_root: true,
        unix: true,
        ..own_network
    };
    // Of x86-64 and of aarch64.
    let direct = 0o240_000;
    let bus = Class { bus: true, ..none };
    let inspects = Class {
        inspects: true,
        ..none
    };
    let (stream, datagram, raw, seqpacket) = (1, 2, 3, 5);
    let unsupported = errno(libc::EAFNOSUPPORT);
    let eperm = errno(libc::EPERM);
    type SyscallRow<'a> = (&'a str, &'a [Class], [u64; 4], u32);
    #[rustfmt::skip]
    let rows: &[SyscallRow<'_>] = &[
        ("socket", &[none], [2, stream, 0, 0], unsupported),
        ("socket", &[none], [1, stream, 0, 0], unsupported),
        ("socket", &[internet, both], [2, stream | 0o2_000_000, 6, 0], ALLOW),
        ("socket", &[internet, both], [10, datagram, 0, 0], ALLOW),
        ("socket", &[internet, both], [2, raw, 1, 0], ALLOW),
        ("socket", &[internet], [2, seqpacket, 0, 0], unsupported),
        ("socket", &[internet, both], [2, stream, 132, 0], unsupported),
        ("socket", &[internet, both], [2, stream, 262, 0], unsupported),
        ("socket", &[internet, both, unix, none], [16, raw, 0, 0], ALLOW),
        ("socket", &[internet, both, unix, none], [16, raw, 9, 0], unsupported),
        ("socket", &[internet, both, unix, none], [17, raw, 0, 0], unsupported),
        ("socket", &[internet, both, unix, none], [40, stream, 0, 0], unsupported),
        ("socket", &[internet], [1, stream, 0, 0], unsupported),
        ("socket", &[unix, both], [1, seqpacket, 0, 0], ALLOW),
        ("socket", &[unix], [2, stream, 0, 0], unsupported),
        ("connect", &[none], [3, 0, 16, 0], eperm),
        ("connect", &[internet], [3, 0, 16, 0], ALLOW),
        ("bind", &[internet], [3, 0, 28, 0], ALLOW),
        ("bind", &[internet], [3, 0, 110, 0], eperm),
        ("connect", &[unix, both], [3, 0, 110, 0], ALLOW),
        ("socketpair", &[none, internet], [1, datagram, 0, 0], eperm),
        ("socketpair", &[unix, both], [1, datagram, 0, 0], ALLOW),
        ("socketpair", &[unix, both], [2, stream, 0, 0], unsupported),
        ("socket", &[bus], [1, stream | 0o2_004_000, 0, 0], ALLOW),
        ("socket", &[bus], [1, datagram, 0, 0], unsupported),
        ("socket", &[bus], [1, seqpacket, 0, 0], unsupported),
        ("socket", &[bus], [1, stream, 6, 0], unsupported),
        ("socket", &[bus], [2, stream, 0, 0], unsupported),
        ("socket", &[bus], [16, raw, 4, 0], ALLOW),
        ("socket", &[bus], [16, raw, 9, 0], unsupported),
        ("connect", &[bus], [3, 0, 29, 0], ALLOW),
        ("connect", &[bus], [3, 0, 34, 0], ALLOW),
        ("connect", &[bus], [3, 0, 12, 0], eperm),
        ("connect", &[bus], [3, 0, 31, 0], eperm),
        ("connect", &[bus], [3, 0, 110, 0], eperm),
        ("connect", &[bus], [3, 0, 1 << 32 | 29, 0], ALLOW),
        ("bind", &[bus], [3, 0, 110, 0], errno(0)),
        ("bind", &[bus], [3, 0, 12, 0], ALLOW),
        ("bind", &[bus], [3, 0, 16, 0], eperm),
        ("listen", &[bus], [3, 1, 0, 0], eperm),
        ("listen", &[none, unix, internet], [3, 1, 0, 0], ALLOW),
        ("socketpair", &[bus], [1, datagram, 0, 0], eperm),
        ("flock", &[none, internet, ipc], [3, 2, 0, 0], errno(0)),
        ("flock", &[locks], [3, 2, 0, 0], ALLOW),
        ("fsync", &[locks], [3, 0, 0, 0], ALLOW),
        ("fcntl", &[locks, view], [3, 6, 0, 0], ALLOW),
        ("fcntl", &[locks], [3, 4, direct, 0], ALLOW),
        ("fcntl", &[none, view], [3, 4, direct, 0], errno(libc::EINVAL)),
        ("fcntl", &[none, locks, view], [3, 4, 0o24_000, 0], errno(libc::EINVAL)),
        ("fcntl", &[none, locks, view], [3, 4, 0o4000, 0], ALLOW),
        ("fcntl", &[none], [3, 6, 0, 0], errno(0)),
        ("fcntl", &[none, locks, view], [3, 1024, 0, 0], eperm),
        ("fcntl", &[none, locks, view], [3, 1026, 0, 0], eperm),
        ("fcntl", &[none, locks, view], [3, 1031, 0, 0], eperm),
        ("fcntl", &[none, locks, view], [3, 1040, 0, 0], eperm),
        ("fcntl", &[none, locks, view], [3, 1041, 0, 0], eperm),
        ("fcntl", &[none, locks, view], [3, 1030, 0, 0], ALLOW),
        ("fcntl", &[none, locks, view], [3, 1033, 0, 0], ALLOW),
        ("sync", &[none, locks], [0; 4], errno(0)),
        ("ioctl", &[none, locks, ipc], [3, 0xc020_662a, 0, 0], errno(libc::EOPNOTSUPP)),
        ("ioctl", &[none, both], [3, 0x6610, 0, 0], errno(libc::EOPNOTSUPP)),
        ("ioctl", &[locks], [3, 0x6610, 0, 0], ALLOW),
        ("ioctl", &[none, locks], [3, 0x8008_6601, 0, 0], ALLOW),
        ("ioctl", &[none, locks], [3, 0x5413, 0, 0], ALLOW),
        ("ioctl", &[none, locks], [3, 0x5412, 0, 0], eperm),
        ("ioctl", &[none, locks, both, view], [3, 0x5423, 0, 0], eperm),
        ("ioctl", &[none, locks, both, view], [3, 0x5000_9401, 0, 0], eperm),
        ("ioctl", &[none, locks, both, view], [3, 0x5000_9417, 0, 0], eperm),
        ("ioctl", &[none, locks, both, view], [3, 0x5000_940f, 0, 0], eperm),
        ("ioctl", &[none, locks, both, view], [3, 0x5000_943f, 0, 0], eperm),
        ("ioctl", &[locks], [3, 0x5000_940e, 0, 0], ALLOW),
        ("ioctl", &[none, locks, both, view], [3, 0x5452, 0, 0], errno(0)),
        ("fsetxattr", &[none, locks, view, no_set_id], [3, 1, 1, 1023], ALLOW),
        ("fsetxattr", &[none, locks, view, no_set_id], [3, 1, 1, 1024], errno(libc::E2BIG)),
        ("setxattr", &[none, view], [1, 1, 1, 65_536], errno(libc::E2BIG)),
        ("lsetxattr", &[none, view], [1, 1, 1, 65_535], errno(libc::E2BIG)),
        ("setxattrat", &[none, locks, view], [3, 1, 0, 1], errno(libc::ENOSYS)),
        ("lsm_set_self_attr", &[none, locks, view], [100, 1, 32, 0], errno(libc::ENOSYS)),
        ("ioprio_set", &[none, locks, view], [1, 0, 0x4000, 0], errno(0)),
        ("ioprio_set", &[none, locks, view], [1, 0, 0x4003, 0], errno(0)),
        ("ioprio_set", &[none, locks, view], [1, 0, 0x1_400b, 0], errno(0)),
        ("ioprio_set", &[none, locks, view], [1, 0, 0x4004, 0], ALLOW),
        ("ioprio_set", &[none, locks, view], [1, 0, 0x6000, 0], ALLOW),
        ("ioprio_set", &[none, locks, view], [1, 0, 0, 0], ALLOW),
        ("mbind", &[none, locks, both, view, own_network], [1, 4096, 2, 1], errno(0)),
        ("prctl", &[none, locks, view], [62, 1, 5, 0], errno(libc::EINVAL)),
        ("prctl", &[none, locks, view], [78, 1, 1 << 22, 0], errno(libc::EINVAL)),
        ("prctl", &[none, locks, view], [77, 0, 0, 0], ALLOW),
        ("timer_create", &[none, locks, view], [0, 0, 0, 0], ALLOW),
        ("timer_create", &[none, locks, view], [2, 0, 0, 0], ALLOW),
        ("timer_create", &[none, locks, view], [11, 0, 0, 0], ALLOW),
        ("timer_create", &[none, locks, view], [0xffff_fffa, 0, 0, 0], ALLOW),
        ("timer_create", &[none, locks, view], [0xffff_fffe, 0, 0, 0], ALLOW),
        ("timer_create", &[none, locks, view], [0xffff_cff6, 0, 0, 0], ALLOW),
        ("timer_create", &[none, locks, view], [0xffff_cff2, 0, 0, 0], errno(libc::EINVAL)),
        ("timer_create", &[none, locks, view], [0xffff_fff2, 0, 0, 0], errno(libc::EINVAL)),
        ("clock_nanosleep", &[none, locks, view], [0, 0, 0, 0], ALLOW),
        ("clock_nanosleep", &[none, locks, view], [2, 0, 0, 0], ALLOW),
        ("clock_nanosleep", &[none, locks, view], [11, 0, 0, 0], ALLOW),
        ("clock_nanosleep", &[none, locks, view], [0xffff_fffa, 0, 0, 0], ALLOW),
        ("clock_nanosleep", &[none, locks, view], [0xffff_fffe, 0, 0, 0], ALLOW),
        ("clock_nanosleep", &[none, locks, view], [0xffff_cff6, 0, 0, 0], ALLOW),
        ("clock_nanosleep", &[none, locks, view], [0xffff_cff2, 0, 0, 0], errno(libc::EINVAL)),
        ("clock_nanosleep", &[none, locks, view], [0xffff_fff2, 0, 0, 0], errno(libc::EINVAL)),
        ("shmget", &[none, locks], [0; 4], eperm),
        ("shmget", &[ipc], [0; 4], ALLOW),
        ("semctl", &[ipc], [0, 0, 16, 0], ALLOW),
        ("mq_open", &[ipc], [0; 4], eperm),
        ("fchmod", &[none], [3, 0o4755, 0, 0], ALLOW),
        ("fchmod", &[no_set_id], [3, 0o755, 0, 0], ALLOW),
        ("fchmod", &[no_set_id], [3, 0o4755, 0, 0], eperm),
        ("fchmodat", &[no_set_id], [3, 0, 0o2755, 0], eperm),
        ("fchmodat2", &[no_set_id], [3, 0, 0o6755, 0], eperm),
        ("openat", &[no_set_id], [3, 0, 0o100, 0o4755], eperm),
        ("openat", &[no_set_id], [3, 0, 0o6000, 0o644], ALLOW),
        ("mknodat", &[no_set_id], [3, 0, 0o104_755, 0], eperm),
        ("openat2", &[none, locks, unix, both, no_set_id], [0; 4], errno(libc::ENOSYS)),
        ("setsid", &[none, shared_uid], [0; 4], ALLOW),
        ("setsid", &[one_session], [0; 4], errno(0)),
        ("setsockopt", &[none, both, own_network], [3, 1, 26, 0], eperm),
        ("setsockopt", &[none, both, own_network], [3, 1, 51, 0], eperm),
        ("setsockopt", &[none, both, own_network], [3, 41, 26, 0], ALLOW),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 41, 32, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 41, 33, 0], ALLOW),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 6, 13, 0], ALLOW),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 6, 14, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 6, 32, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 6, 38, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 6, 41, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 6, 42, 0], ALLOW),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 17, 100, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 17, 103, 0], ALLOW),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 17, 104, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 136, 100, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 136, 103, 0], ALLOW),
        ("setsockopt", &[internet, both, own_network, view_network], [3, 136, 104, 0], errno(libc::ENOPROTOOPT)),
        ("setsockopt", &[none, internet, bus], [3, 1, 16, 0], errno(0)),
        ("setsockopt", &[none, internet, bus], [3, 1, 76, 0], errno(0)),
        ("setsockopt", &[none, internet, bus], [3, 6, 16, 0], ALLOW),
        ("setsockopt", &[unix, both, own_network], [3, 1, 16, 0], ALLOW),
        ("setsockopt", &[unix, both, own_network], [3, 1, 76, 0], ALLOW),
        ("setsockopt", &[none, both], [3, 1, 8, 0], ALLOW),
        ("setsockopt", &[own_network], [3, 1, 8, 0], errno(0)),
        ("setsockopt", &[own_network], [3, 1, 73, 0], errno(0)),
        ("shmget", &[ipc], [0, 1, 0o4600, 0], errno(libc::ENOMEM)),
        ("socket", &[internet, both], [16, raw, 6, 0], unsupported),
        ("socket", &[internet, both], [2, raw, 16, 0], unsupported),
        ("socket", &[unix, both], [1, stream, 6, 0], unsupported),
        ("madvise", &[none, locks], [0, 1, 21, 0], errno(0)),
        ("madvise", &[none, locks], [0, 1, 4, 0], ALLOW),
        ("inotify_init1", &[none, no_set_id], [0; 4], ALLOW),
        ("inotify_init1", &[shared_uid], [0; 4], errno(libc::EMFILE)),
        ("inotify_init1", &[inspects], [0; 4], eperm),
        ("openat", &[inspects], [3, 1, 0o2000000, 0], ALLOW),
        ("openat", &[inspects], [3, 1, 0o1, 0], eperm),
        ("openat", &[inspects], [3, 1, 0o2, 0], eperm),
        ("openat", &[inspects], [3, 1, 0o100, 0], eperm),
        ("openat", &[inspects], [3, 1, 0o1000, 0], eperm),
        ("mkdirat", &[inspects], [3, 1, 0o700, 0], eperm),
        ("unlinkat", &[inspects], [3, 1, 0, 0], eperm),
        ("fchmodat", &[inspects], [3, 1, 0, 0], eperm),
        ("utimensat", &[inspects], [3, 1, 0, 0], eperm),
        ("setxattr", &[inspects], [1, 1, 1, 1], eperm),
        ("getxattr", &[inspects], [1, 1, 1, 1], eperm),
        ("truncate", &[inspects], [1, 0, 0, 0], eperm),
        ("kill", &[inspects], [1, 9, 0, 0], eperm),
        ("clone", &[inspects], [0; 4], eperm),
        ("socket", &[inspects], [16, raw, 0, 0], eperm),
        ("ptrace", &[inspects], [16, 1, 0, 0], eperm),
        ("process_vm_readv", &[inspects], [1, 1, 1, 1], eperm),
        ("pidfd_getfd", &[inspects], [3, 1, 0, 0], eperm),
        ("newfstatat", &[inspects], [3, 1, 1, 0], ALLOW),
        ("readlinkat", &[inspects], [3, 1, 1, 1], ALLOW),
        ("seccomp", &[inspects], [1, 0, 1, 0], ALLOW),
        ("seccomp", &[inspects], [1, 8, 1, 0], eperm),
        ("seccomp", &[none], [1, 0, 1, 0], errno(0)),
    ];
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for (name, classes, [a, b, c, d], want) in rows {
            let all = table::GROUPS.iter().flat_map(|group| group.rows);
            let mut rows = all.into_iter().filter(|row| row.0 == *name);
            let number = rows.find_map(|row| arch.number(row)).unwrap();
            for class in *classes {
                let program = compile_for(arch, EnabledLayers::ALL, *class);
                let got = run(&program, arch.audit(), number, [*a, *b, *c, *d, 0, 0]);
                assert_eq!(got, *want, "{name} {a} {b} {c} {d} of {class:?}");
            }
        }
    }
}

#[test]
fn only_connections_of_the_bus_are_notifications_or_refused() {
    let (program, without) = (bus().unwrap(), no_bus().unwrap());
    let arch = Arch::here().unwrap();
    let connect = arch.number(&("connect", 42, 203)).unwrap();
    for number in 0..600 {
        for length in 0..200 {
            let want = match number == connect && [29, 30, 33, 34, 44, 45].contains(&length) {
                true => (libc::SECCOMP_RET_USER_NOTIF, errno(libc::ENOSYS)),
                false => (ALLOW, ALLOW),
            };
            let args = [3, 0, length, 0, 0, 0];
            let answers =
                [&program, &without].map(|filter| run(filter, arch.audit(), number, args));
            assert_eq!(answers, [want.0, want.1], "{number} {length}");
        }
    }
    assert_eq!(run(&program, 0x4000_0003, connect, [0; 6]), KILL);
}

/// A row of a class must be a call that the table has, under the same number.
#[test]
fn classes_change_only_calls_of_the_table() {
    let known: Vec<&SyscallRow> = table::GROUPS.iter().flat_map(|g| g.rows).collect();
    for Instead { group, .. } in table::INSTEAD {
        assert!(!group.why.is_empty() && group.layer.is_some());
        for row in group.rows {
            assert!(known.contains(&row), "{row:?}");
        }
    }
}

#[test]
fn audited_filter_equals_whole_and_logs_only_refusals() {
    let all = Class {
        locks: true,
        internet: true,
        unix: true,
        ipc: true,
        bus: false,
        no_set_id: true,
        shared_uid: true,
        one_session: true,
        own_network: true,
        changes_root: true,
        inspects: false,
    };
    let inspects = Class {
        inspects: true,
        ..Class::default()
    };
    let mut values: Vec<u64> = (0..=64).chain([0x80, 0x40000, 0x20000, u64::MAX]).collect();
    let groups = table::GROUPS
        .iter()
        .chain(table::INSTEAD.iter().map(|i| &i.group));
    for group in groups {
        if let Rule::Checked(checks) = group.rule {
            for check in checks {
                values.extend(check.values().iter().map(|value| u64::from(*value)));
            }
        }
    }
    values.sort_unstable();
    values.dedup();
    for (arch, class) in [
        (Arch::X86_64, Class::default()),
        (Arch::X86_64, all),
        (Arch::X86_64, inspects),
        (Arch::Aarch64, Class::default()),
        (Arch::Aarch64, all),
        (Arch::Aarch64, inspects),
    ] {
        let whole = compile_for(arch, EnabledLayers::ALL, class);
        let audited = AuditedFilter::new(&whole);
        let [refusals, others] = audited.halves();
        let mut refusal_count = 0;
        for number in (0..500).chain([0x4000_0000, u32::MAX]) {
            for at in 0..4 {
                for value in &values {
                    let mut args = [0; 6];
                    args[at] = *value;
                    let ask = |program| run(program, arch.audit(), number, args);
                    let (want, one, other) = (ask(&whole), ask(refusals), ask(others));
                    let silent = [errno(0), errno(libc::ENOSYS)].contains(&want);
                    let expected = if silent { (ALLOW, want) } else { (want, ALLOW) };
                    let expected = if want == ALLOW {
                        (ALLOW, ALLOW)
                    } else {
                        expected
                    };
                    assert_eq!((one, other), expected, "{number} {args:?}");
                    refusal_count += u32::from(one != ALLOW);
                }
            }
        }
        assert!(refusal_count > 1000, "{refusal_count}");
        for half in [refusals, others] {
            assert_eq!(run(half, 7, 0, [0; 6]), KILL, "another architecture");
        }
    }
}
