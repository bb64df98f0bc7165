//! The program, looked up inside and executed.

use crate::checklist::Way;
use crate::floor;
use crate::notes::Failure;
use crate::steps::Why;
use crate::trust;
use std::ffi::CStr;

/// Tries each candidate; like execvp(3) it goes on after one that may not be executed, but
/// never hands a file to a shell. A user that is not the job's own executes nothing that others
/// could have changed.
pub(crate) fn execute(way: &Way<'_>) -> Failure {
    let exec = Failure::of_exec;
    let mut refused = None;
    let who = &way.sandbox.who;
    for program in &way.candidates {
        if who.user.is_some() && !trust::of_program(program, who.trusted(way.uid)) {
            return exec(Why::Untrusted, 0);
        }
        let errno = floor::execve(program, &way.argv, &way.env)
            .raw_os_error()
            .unwrap_or(0);
        match errno {
            libc::ENOENT if floor::mode_of(program).is_ok() => {
                return exec(Why::BadInterpreter, errno);
            }
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => {
                refused.get_or_insert(exec(classify(program), errno));
            }
            libc::ENOEXEC => return exec(Why::NotExecutable, errno),
            _ => return exec(Why::Errno, errno),
        }
    }
    refused.unwrap_or(exec(Why::NotFound, libc::ENOENT))
}

/// Why execve(2) said EACCES.
fn classify(program: &CStr) -> Why {
    match floor::mode_of(program) {
        Err(_) => Why::PermissionDenied,
        Ok(mode) => match mode & libc::S_IFMT {
            libc::S_IFDIR => Why::IsDirectory,
            libc::S_IFREG if mode & 0o111 == 0 => Why::NotExecutable,
            libc::S_IFREG => Why::PermissionDenied,
            _ => Why::NotRegular,
        },
    }
}
