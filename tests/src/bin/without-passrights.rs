//! `without-passrights PROGRAM [ARGUMENT...]`: runs a program on a kernel that seems to be older than 6.16.
//!
//! A seccomp filter answers ENOPROTOOPT to getsockopt(2) and setsockopt(2) of SO_PASSRIGHTS and lets everything else
//! pass; children inherit it. So descriptors can be sent to each socket, as on those kernels.
//! It asks for no `no_new_privs`: root may install a filter without, and the tests below it change users.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The option (Linux 6.16), x86 and arm alike.
const SO_PASSRIGHTS: u32 = 83;
/// Where struct seccomp_data has the low halves of the second and third argument, on little-endian machines.
const LEVEL: u32 = 24;
const NAME: u32 = 32;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: without-passrights PROGRAM [ARGUMENT...]");
        return ExitCode::from(64);
    };
    if let Err(error) = refuse_option() {
        eprintln!("without-passrights: cannot install the filter: {error}");
        return ExitCode::from(71);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!(
        "without-passrights: cannot run '{}': {error}",
        program.display()
    );
    ExitCode::from(127)
}

/// Installs the filter in this process, see seccomp(2).
fn refuse_option() -> std::io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equals = |value, jt, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, value);
    let answer = |value| step(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let mut filter = [
        // The call's number is the first field of struct seccomp_data.
        load(0),
        equals(number(libc::SYS_setsockopt), 1, 0),
        equals(number(libc::SYS_getsockopt), 0, 5),
        load(LEVEL),
        equals(libc::SOL_SOCKET.unsigned_abs(), 0, 3),
        load(NAME),
        equals(SO_PASSRIGHTS, 0, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOPROTOOPT.unsigned_abs()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 9,
        filter: filter.as_mut_ptr(),
    };
    let no_flags: libc::c_ulong = 0;
    // SAFETY: seccomp(2) reads `program` and the `len` instructions that it points to, all of which live until the
    // call returns, and keeps neither.
    #[allow(unsafe_code)]
    let status = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            no_flags,
            &raw const program,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
