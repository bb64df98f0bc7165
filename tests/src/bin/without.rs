//! `without landlock
//! passrights
//! fsync PROGRAM [ARGUMENT...]`: runs a program as on a kernel that lacks a feature. A seccomp filter refuses some
//! calls and allows all others. Children inherit it. It does not set `no_new_privs`: root does not need that for a
//! filter, and the tests below change users.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use libc::sock_filter;

/// `landlock_create_ruleset` and the last of the three calls. All architectures use these numbers, even 32-bit x86.
const LANDLOCK: (u32, u32) = (444, 446);
/// The socket option (Linux 6.16), the same on x86 and arm.
const SO_PASSRIGHTS: u32 = 83;
/// Offsets in struct seccomp_data on little-endian machines: the number, the low halves of arguments two and three.
const NUMBER: u32 = 0;
const SECOND: u32 = 24;
const THIRD: u32 = 32;

const ALLOW: sock_filter = answer(libc::SECCOMP_RET_ALLOW);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let filter = arguments.next().and_then(|what| filter(what.to_str()?));
    let (Some(mut filter), Some(program)) = (filter, arguments.next()) else {
        eprintln!("usage: without landlock|passrights|fsync PROGRAM [ARGUMENT...]");
        return ExitCode::from(64);
    };
    if let Err(error) = install(&mut filter) {
        eprintln!("without: cannot install the filter: {error}");
        return ExitCode::from(71);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("without: cannot run '{}': {error}", program.display());
    ExitCode::from(127)
}

fn filter(name: &str) -> Option<Vec<sock_filter>> {
    Some(match name {
        // A kernel built without Landlock.
        "landlock" => vec![
            load(NUMBER),
            jump(libc::BPF_JGE, LANDLOCK.0, 0, 2),
            jump(libc::BPF_JGT, LANDLOCK.1, 1, 0),
            error(libc::ENOSYS),
            ALLOW,
        ],
        // A kernel before 6.16: every socket accepts descriptors.
        "passrights" => vec![
            load(NUMBER),
            jump(libc::BPF_JEQ, call(libc::SYS_setsockopt), 1, 0),
            jump(libc::BPF_JEQ, call(libc::SYS_getsockopt), 0, 5),
            load(SECOND),
            jump(libc::BPF_JEQ, libc::SOL_SOCKET.unsigned_abs(), 0, 3),
            load(THIRD),
            jump(libc::BPF_JEQ, SO_PASSRIGHTS, 0, 1),
            error(libc::ENOPROTOOPT),
            ALLOW,
        ],
        // A disk that fails on fsync(2).
        "fsync" => vec![
            load(NUMBER),
            jump(libc::BPF_JEQ, call(libc::SYS_fsync), 0, 1),
            error(libc::EIO),
            ALLOW,
        ],
        _ => return None,
    })
}

fn call(number: libc::c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    #[allow(clippy::cast_possible_truncation)] // every code of the language has 16 bits
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

const fn load(offset: u32) -> sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

const fn jump(test: u32, value: u32, jt: u8, jf: u8) -> sock_filter {
    step(libc::BPF_JMP | test | libc::BPF_K, jt, jf, value)
}

const fn answer(value: u32) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, value)
}

const fn error(errno: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | errno.unsigned_abs())
}

/// Installs a filter in this process, see seccomp(2).
fn install(filter: &mut [sock_filter]) -> std::io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap_or_default(),
        filter: filter.as_mut_ptr(),
    };
    let no_flags: libc::c_ulong = 0;
    // SAFETY: seccomp(2) reads `program` and the `len` instructions that it points to. Both live until the call
    // returns, and the kernel keeps no pointer to them.
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
