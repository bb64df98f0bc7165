//! A program of the package for one question: it has a uid that no account has, or gives up root's rights itself, and no
//! descriptor but two pipes. It confines itself. Whoever starts it may wait, so never the loop. Dropping it kills it.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use remit_sys::{spawn_root, spawn_service, sys};

use super::program::{self, c_string, environment, wait_for_exit};
use crate::startup::error::{Fatal, chain};

#[derive(Debug)]
pub struct Helper {
    pid: i32,
    pidfd: OwnedFd,
    pub to: Pipe,
    pub from: Pipe,
}

impl Helper {
    /// Starts it as this uid and gid. Both pipes fail once `patience` is over.
    pub fn start(name: &str, id: u32, patience: Duration) -> Result<Self, Fatal> {
        Self::start_as(name, Some(id), patience)
    }

    /// Starts it as root: it gives up its rights itself.
    pub fn start_as_root(name: &str, patience: Duration) -> Result<Self, Fatal> {
        Self::start_as(name, None, patience)
    }

    fn start_as(name: &str, id: Option<u32>, patience: Duration) -> Result<Self, Fatal> {
        let program = program::find(name)?;
        let program = c_string(program.as_os_str().as_encoded_bytes())?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
        let (its_input, to) = pipe().map_err(Fatal::call("cannot make a pipe"))?;
        let (from, its_output) = pipe().map_err(Fatal::call("cannot make a pipe"))?;
        let (pid, pidfd) = spawn(&program, id, its_input, its_output)?;
        let until = Instant::now() + patience;
        let end = |pipe, ready| Pipe::new(pipe, ready, until);
        Ok(Self {
            pid,
            pidfd,
            to: end(to, PollFlags::POLLOUT)?,
            from: end(from, PollFlags::POLLIN)?,
        })
    }

    /// Gives it more time, without what its parent took.
    pub fn extend(&mut self, by: Duration) {
        self.to.until += by;
        self.from.until = self.to.until;
    }

    /// Says why it does not answer. `patience`: the time that it had.
    pub fn fault(&self, error: &io::Error, patience: Duration) -> String {
        match error.kind() {
            ErrorKind::TimedOut => format!("did not answer in {} s", patience.as_secs()),
            ErrorKind::InvalidData => format!("sent nonsense: {error}"),
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => self.end(),
            _ => format!("does not answer: {error}"),
        }
    }

    fn end(&self) -> String {
        wait_for_exit(self.pidfd.as_fd(), Duration::from_secs(1));
        match sys::reap(self.pid) {
            Some((status, _)) => format!("ended without an answer ({status})"),
            None => "closed its output without an answer".to_owned(),
        }
    }
}

fn spawn(
    program: &CStr,
    id: Option<u32>,
    input: OwnedFd,
    output: OwnedFd,
) -> Result<(i32, OwnedFd), Fatal> {
    if !nix::unistd::geteuid().is_root() {
        // `--check` by somebody who has no right to give up.
        let mut command = Command::new(OsStr::from_bytes(program.to_bytes()));
        let child = command.env_clear().stdin(input).stdout(output).spawn();
        let child = child.map_err(Fatal::call("cannot start it"))?;
        let pid = child.id().cast_signed();
        let pidfd = sys::pidfd_open(pid).map_err(Fatal::call("cannot start it"))?;
        return Ok((pid, pidfd));
    }
    let argv = [program.to_owned()];
    let ends = [(input.as_fd(), 0), (output.as_fd(), 1)];
    let env = environment()?;
    let spawned = match id {
        Some(id) => spawn_service(program, &argv, &env, id, id, &[], &ends),
        None => spawn_root(program, &argv, &env, &ends),
    };
    spawned.map_err(|error| Fatal::System(chain(&error)))
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        wait_for_exit(self.pidfd.as_fd(), Duration::from_secs(1));
        let _ = sys::reap(self.pid);
    }
}

#[derive(Debug)]
pub struct Pipe {
    file: File,
    ready: PollFlags,
    until: Instant,
}

impl Pipe {
    fn new(end: OwnedFd, ready: PollFlags, until: Instant) -> Result<Self, Fatal> {
        fcntl(&end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| Fatal::call("cannot set up a pipe")(errno.into()))?;
        Ok(Self {
            file: end.into(),
            ready,
            until,
        })
    }

    fn wait(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.file.as_fd(), self.ready)], left)? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.file.read(bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
