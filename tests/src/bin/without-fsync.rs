//! `without-fsync PROGRAM [ARGUMENT...]`: runs a program on a machine whose disk fails when it is waited for.
//!
//! A seccomp filter answers EIO to fsync(2) and lets everything else pass; children inherit it.
//! It asks for no `no_new_privs`: root may install a filter without, and the tests below it change users.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: without-fsync PROGRAM [ARGUMENT...]");
        return ExitCode::from(64);
    };
    if let Err(error) = refuse_fsync() {
        eprintln!("without-fsync: cannot install the filter: {error}");
        return ExitCode::from(71);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("without-fsync: cannot run '{}': {error}", program.display());
    ExitCode::from(127)
}

/// Installs the filter in this process, see seccomp(2).
fn refuse_fsync() -> std::io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let call = u32::try_from(libc::SYS_fsync).unwrap_or(u32::MAX);
    let answer = |value| step(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let mut filter = [
        // The call's number is the first field of struct seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call),
        answer(libc::SECCOMP_RET_ERRNO | libc::EIO.unsigned_abs()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
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
