use crate::spec::compiled::trusted;
use crate::steps::child_env::ChildEnv;
use crate::steps::file_hash::{self, Checked};
use crate::steps::report::Failure;
use crate::steps::trust;
use crate::sys;
use crate::{Layer, Measured};
use crate::{Step, Why};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// Executes the hashed program if there is one, otherwise what the name means.
pub(crate) fn execute(child_env: &ChildEnv<'_>) -> Failure {
    match child_env.measured {
        [program, ..] if child_env.sandbox.layers.is_on(Layer::Measured) => {
            as_measured(child_env, program)
        }
        _ => by_name(child_env),
    }
}

/// Executes the approved program if it and the other hashed files are unchanged.
///
/// An ELF file is executed by the same descriptor that was read: nothing can come between, whatever happens to its
/// name. Its loader and libraries are not hashed, as for any program of the host. `argv[0]` and `/proc/self/exe`, from
/// which the loader makes `$ORIGIN`, are as usual. Only the process's name (`comm`) is the descriptor's number before
/// Linux 6.14, as ps(1) shows; later it is the file's name. An approval is worth that. Programs that it starts have
/// their usual names.
///
/// A script is executed by its name. By a descriptor it would be called `/dev/fd/3` and not find files next to it, and
/// its interpreter would still read it by a name. The kernel opens both again, but only root can change them and the
/// way to them (`trust`), which was checked.
fn as_measured(child_env: &ChildEnv<'_>, program: &Measured) -> Failure {
    let step = Step::Exec;
    let refused = match file_hash::check(child_env.measured) {
        Ok(Some(Checked { file, is_elf: true })) => {
            sys::execve_open(file.as_fd(), &child_env.argv, &child_env.env)
        }
        Ok(_) => sys::execve(&program.path, &child_env.argv, &child_env.env),
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

/// Tries each candidate. Like execvp(3) it continues after one that may not be executed, but it never gives a file to
/// a shell. A user that is not the job's own executes nothing that others could have changed, nor its interpreter.
fn by_name(child_env: &ChildEnv<'_>) -> Failure {
    let exec = Failure::of_exec;
    let mut refused = None;
    let credentials = &child_env.sandbox.credentials;
    for program in &child_env.candidates {
        if credentials.user.is_some()
            && !trust::of_whole_program(
                program,
                child_env.path,
                trusted(credentials, child_env.uid),
            )
        {
            return exec(Why::Untrusted, 0);
        }
        let errno = sys::execve(program, &child_env.argv, &child_env.env)
            .raw_os_error()
            .unwrap_or(0);
        match errno {
            libc::ENOENT if sys::mode_of(program).is_ok() => {
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

fn classify(program: &CStr) -> Why {
    match sys::mode_of(program) {
        Err(_) => Why::PermissionDenied,
        Ok(mode) => match mode & libc::S_IFMT {
            libc::S_IFDIR => Why::IsDirectory,
            libc::S_IFREG if mode & 0o111 == 0 => Why::NotExecutable,
            libc::S_IFREG => Why::PermissionDenied,
            _ => Why::NotRegular,
        },
    }
}
