//! The sandbox of `remit-broker --sink`: no file and no socket but its own, and of the system calls only those by which it
//! receives descriptors, closes them on threads, and ends. All others are refused with EPERM. Without Landlock the filter
//! alone confines it: it opens nothing.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::{restrict_to_no_path, seccomp};

const ALLOWED: [c_long; 24] = [
    libc::SYS_recvmsg,
    libc::SYS_close,
    // Why it ends, on standard error.
    libc::SYS_write,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    // The filter for unknown calls refuses it: libc then uses clone.
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    // pthread_getattr_np(3), at the start of each thread.
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
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

/// Restricts the calling thread and those that it starts. Fails if the filter or a rule of Landlock cannot be enforced.
pub fn restrict() -> Result<(), String> {
    let _ = restrict_to_no_path()?;
    let allowed = allowed().map_err(|error| format!("cannot make the seccomp program: {error}"))?;
    for program in [seccomp::unknown(), allowed] {
        apply_filter(&program)
            .map_err(|error| format!("cannot restrict itself with seccomp: {error}"))?;
    }
    Ok(())
}

fn allowed() -> Result<BpfProgram, BackendError> {
    let only = |arg: u8, op: Op, value: u64| -> Result<_, BackendError> {
        let condition = SeccompCondition::new(arg, Len::Dword, op, value)?;
        Ok(vec![SeccompRule::new(vec![condition])?])
    };
    let flags = |value: i32| u64::from(value.unsigned_abs());
    let (thread, code) = (flags(libc::CLONE_THREAD), flags(libc::PROT_EXEC));
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    rules.extend([
        (libc::SYS_clone, only(0, Op::MaskedEq(thread), thread)?),
        (libc::SYS_mmap, only(2, Op::MaskedEq(code), 0)?),
        (libc::SYS_mprotect, only(2, Op::MaskedEq(code), 0)?),
        // Builds with assertions ask for each descriptor before its close.
        (libc::SYS_fcntl, only(1, Op::Eq, flags(libc::F_GETFD))?),
        // abort(3)
        (
            libc::SYS_tgkill,
            only(0, Op::Eq, u64::from(std::process::id()))?,
        ),
    ]);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, eperm, SeccompAction::Allow, arch)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, IoSlice, Read};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
    };
    use remit_link::closer;

    use super::*;

    /// On a thread of its own, because the layers restrict the calling thread.
    fn confined<T: Send>(inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    #[test]
    fn landlock_alone_closes_all_files() {
        let reads = || (fs::read("/etc/passwd"), fs::read_dir("/proc"));
        assert!(matches!(reads(), (Ok(_), Ok(_))));
        let version = confined(|| {
            let version = restrict_to_no_path().unwrap();
            if version > 0 {
                let (file, directory) = reads();
                let kinds = [file.unwrap_err().kind(), directory.unwrap_err().kind()];
                assert_eq!(kinds, [ErrorKind::PermissionDenied; 2]);
            }
            version
        });
        assert!(
            version > 0 || std::env::var_os("REMIT_TESTS_MUST_RUN").is_none(),
            "this kernel has no Landlock"
        );
    }

    /// Each attempt, and the error of it.
    fn attempts() -> [(&'static str, Option<i32>); 5] {
        let error = |result: std::io::Result<()>| result.err().and_then(|one| one.raw_os_error());
        let own = nix::unistd::getpid();
        [
            ("open", error(fs::File::open("/dev/null").map(drop))),
            ("socket", error(UnixDatagram::unbound().map(drop))),
            ("pipe", error(std::io::pipe().map(drop))),
            (
                "kill",
                nix::sys::signal::kill(own, None)
                    .err()
                    .map(|errno| errno as i32),
            ),
            ("exec", error(Command::new("/bin/true").status().map(drop))),
        ]
    }

    #[test]
    fn filter_lets_it_close_and_nothing_else() {
        for (what, found) in attempts() {
            assert_eq!(found, None, "{what}");
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let (own, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let mut readers = Vec::new();
        for what in [closer::HOLD, closer::CLOSE] {
            let (reader, writer) = std::io::pipe().unwrap();
            readers.push(reader);
            let (byte, raw) = ([what], [writer.as_raw_fd()]);
            let (slices, rights) = ([IoSlice::new(&byte)], [ControlMessage::ScmRights(&raw)]);
            sendmsg::<()>(own.as_raw_fd(), &slices, &rights, MsgFlags::empty(), None).unwrap();
        }
        drop(own);
        let found = confined(|| {
            restrict().unwrap();
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            remit_closer::sink(&other).unwrap();
            attempts()
        });
        for (what, found) in found {
            assert_eq!(found, Some(libc::EPERM), "{what}");
        }
        for mut reader in readers {
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "it is closed");
        }
    }
}
