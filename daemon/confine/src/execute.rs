//! The program, looked up inside and executed.

use crate::checklist::Way;
use crate::floor;
use crate::measure::{self, Checked};
use crate::notes::Failure;
use crate::steps::{Step, Why};
use crate::trust;
use crate::{Measured, Wall};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// Executes what was measured, where something was; else what the name means.
pub(crate) fn execute(way: &Way<'_>) -> Failure {
    match way.measured {
        [program, ..] if way.sandbox.walls.up(Wall::Measured) => as_measured(way, program),
        _ => by_name(way),
    }
}

/// Executes the program that was approved, if it is still that, and so is what else was measured.
///
/// An ELF file is executed by the very descriptor that was read: whatever happens to its name,
/// nothing can come between. Its loader and libraries are not measured, as nobody measures those of any
/// program of the host. What it sees of itself stays as it was: `argv[0]`, and by `/proc/self/exe` its
/// path, from which the loader makes `$ORIGIN`. Only the name of its process (`comm`) is before Linux
/// 6.14 the descriptor's number, as ps(1) shows; later the file's own name. That is less than an approval
/// is worth; what it starts itself has its usual name.
///
/// A script is executed by its name. By a descriptor it would be called `/dev/fd/3` and not find what lies
/// beside it, and its interpreter would still read it by a name. The kernel opens both anew, but only root
/// can change them and the way to them (`trust`), which was looked at.
fn as_measured(way: &Way<'_>, program: &Measured) -> Failure {
    let step = Step::Exec;
    let refused = match measure::check(way.measured) {
        Ok(Some(Checked { file, is_elf: true })) => {
            floor::execve_open(file.as_fd(), &way.argv, &way.env)
        }
        Ok(_) => floor::execve(&program.path, &way.argv, &way.env),
        Err(fault) => return Failure { step, fault },
    };
    let errno = refused.raw_os_error().unwrap_or(0);
    let why = match errno {
        libc::ENOENT => Why::BadInterpreter,
        libc::EACCES => classify(&program.path),
        libc::ENOEXEC => Why::NotExecutable,
        _ => Why::Errno,
    };
    Failure::of_exec(why, errno)
}

/// Tries each candidate; like execvp(3) it goes on after one that may not be executed, but
/// never hands a file to a shell. A user that is not the job's own executes nothing that others
/// could have changed, nor does it have a script interpreted by such a program.
fn by_name(way: &Way<'_>) -> Failure {
    let exec = Failure::of_exec;
    let mut refused = None;
    let who = &way.sandbox.who;
    for program in &way.candidates {
        if who.user.is_some() && !trust::of_whole_program(program, way.path, who.trusted(way.uid)) {
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
