//! Starts one job: makes its pipes, prepares all that its child needs, and forks.

use crate::spawner::{Family, protocol};
use crate::steps::child_env::{ChildEnv, Inherited, arguments_at};
use crate::steps::{arguments, checklist};
use crate::sys::{self, ForkCall, Pointers};
use crate::{Job, Limits, Sandbox};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{Gid, Uid, fchown, pipe2},
};
use remit_sys::{Doing, Error, Result};
use std::{
    cell::Cell,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A child on its way to its exec, or beyond. The descriptors are the read ends, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub steps: OwnedFd,
}

/// A forked child that executes nothing yet. Dropping it ends the child.
#[derive(Debug)]
pub struct Held {
    child: Spawned,
    gate: Gate,
}

#[derive(Debug)]
pub(crate) enum Gate {
    /// Both ends of the pipe that the child reads.
    Pipe {
        ready: OwnedFd,
        go: OwnedFd,
    },
    Socket(OwnedFd),
}

impl Held {
    /// Lets the child go on.
    pub fn start(self) -> Spawned {
        self.gate.open();
        self.child
    }

    /// Gives the child to the process whose it is, and lets it go on. By then this process has no end of its pipes:
    /// whoever closes the last descriptor of an end can wait for one who holds the pipe's lock, and only an executed
    /// program can.
    pub fn hand_over(self, give: impl FnOnce(&Spawned) -> io::Result<()>) -> io::Result<()> {
        let Held { child, gate } = self;
        give(&child)?;
        drop(child);
        gate.open();
        Ok(())
    }
}

impl Gate {
    fn open(self) {
        match self {
            // A killed child does not read it, but `ready` is open here, too: no EPIPE.
            Gate::Pipe { ready: _ready, go } => {
                let _ = sys::write(go.as_fd(), &[1]);
            }
            Gate::Socket(socket) => {
                let _ = protocol::begin(socket.as_fd());
            }
        }
    }
}

const UNHEARD: i32 = 127;
/// The fewest descriptors with which a child can take its own steps.
const LEAST_NOFILE: u64 = 32;

/// Forks the job. Returns when the child exists, which waits until it may go on.
/// Refuses uid or gid 0, an empty argv, a relative cwd, a script or secret that is not sealed, a path argument that is
/// not plain, a hashed file without an absolute name, fewer than 32 descriptors, private directories without a limit,
/// and a profile's user without a cgroup.
pub fn spawn(sandbox: &Sandbox, job: &Job<'_>, family: &Family) -> Result<Held> {
    vet(sandbox, job)?;
    let (pipes, ends) = pipes(sandbox, job)?;
    let call = sandbox.kernel.fork;
    let into = job.cgroup.filter(|_| call == ForkCall::Clone3);
    let (ready, go) = pipe2(OFlag::O_CLOEXEC).doing(|| "cannot make a pipe".into())?;
    let go = Cell::new(Some(go));
    let (pid, pidfd) = with_child_env(sandbox, job, family, &ends, None, |child_env| {
        let child = || {
            // The pipe must end when the parent ends.
            drop(go.take());
            match sys::read(ready.as_fd(), &mut [0]) {
                Ok(1) => checklist::run(child_env),
                _ => UNHEARD,
            }
        };
        family
            .fork(call, into, child)
            .doing(|| "cannot fork".into())
    })?;
    // Before the job can execute anything, so before anyone can hold the locks of these pipes.
    drop(ends);
    let go = go
        .take()
        .ok_or_else(|| Error::refused("cannot fork", "its pipe is gone"))?;
    Ok(pipes.held(pid, pidfd, Gate::Pipe { ready, go }))
}

pub(crate) struct Pipes {
    output: [OwnedFd; 2],
    steps: OwnedFd,
}

/// The job's ends: output, errors, steps. Closing the last descriptor of an end can wait for the holder of the pipe's
/// lock. So every process but the job's child closes them before that child executes anything.
pub(crate) type Ends = [OwnedFd; 3];

impl Pipes {
    pub(crate) fn steps(&self) -> BorrowedFd<'_> {
        self.steps.as_fd()
    }

    pub(crate) fn held(self, pid: i32, pidfd: OwnedFd, gate: Gate) -> Held {
        let Pipes {
            output: [stdout, stderr],
            steps,
        } = self;
        let child = Spawned {
            pid,
            pidfd,
            stdout,
            stderr,
            steps,
        };
        Held { child, gate }
    }
}

pub(crate) fn pipes(sandbox: &Sandbox, job: &Job<'_>) -> Result<(Pipes, Ends)> {
    let (uid, gid) = sandbox.credentials.user.unwrap_or((job.uid, job.gid));
    let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
    let (stdout, out) = pipe(Some(owner))?;
    let (stderr, err) = pipe(Some(owner))?;
    let (steps, report) = pipe(None)?;
    let output = [stdout, stderr];
    Ok((Pipes { output, steps }, [out, err, report]))
}

/// Prepares all that the child needs, and does `then` with it. The job was vetted.
pub(crate) fn with_child_env<T>(
    sandbox: &Sandbox,
    job: &Job<'_>,
    family: &Family,
    [out, err, report]: &Ends,
    inherited: Option<Inherited<'_>>,
    then: impl FnOnce(&ChildEnv<'_>) -> Result<T>,
) -> Result<T> {
    let (uid, gid) = sandbox.credentials.user.unwrap_or((job.uid, job.gid));
    let rows = sandbox.ceilings.apply(&sandbox.processes(job.limits));
    let first = arguments_at(job.script.is_some());
    let (argv, arguments) = arguments::prepare(job.argv, job.arguments, first)?;
    then(&ChildEnv {
        sandbox,
        own: (job.uid, job.gid),
        uid,
        gid,
        loginuid: job.loginuid.map(|uid| text(uid.to_string())).transpose()?,
        limits: &rows,
        others: sandbox.credentials.user.and(job.limits.others),
        join_cgroup: job
            .cgroup
            .filter(|_| sandbox.kernel.fork == ForkCall::Clone),
        parent: family.pid(),
        has_cgroup: job.cgroup.is_some(),
        tmpfs: tmpfs_options(job.limits, 0o1777, uid, gid)?,
        scratch: tmpfs_options(job.limits, 0o755, uid, gid)?,
        shared_pages: shared_pages(job.limits)?,
        stdin: job.stdin,
        stdout: out.as_fd(),
        stderr: err.as_fd(),
        script: job.script,
        measured: job.measured,
        arguments: &arguments,
        steps: report.as_fd(),
        cwd: job.cwd,
        candidates: candidates(job)?,
        path: job.path,
        argv: Pointers::new(&argv),
        env: Pointers::new(job.env),
        stage: None,
        inherited,
    })
}

pub(crate) fn vet(sandbox: &Sandbox, job: &Job<'_>) -> Result<()> {
    let why = if job.uid == 0 || job.gid == 0 {
        "a job is never root"
    } else if sandbox.credentials.user.is_some() && job.cgroup.is_none() {
        // Its processes can be neither found nor counted by their uid.
        "a user shared with other processes needs a cgroup"
    } else if job.argv.first().is_none_or(|name| name.is_empty()) {
        "no program is named"
    } else if !is_absolute(job.cwd) {
        "its working directory is not absolute"
    } else if job.script.is_some_and(|script| !sys::is_sealed(script)) {
        "its script is not a sealed memfd"
    } else if job.measured.iter().any(|file| !is_absolute(&file.path)) {
        "a measured file has no absolute name"
    } else if job.limits.nofile < LEAST_NOFILE + job.arguments.len() as u64 {
        "it needs at least 32 descriptors, and one for each path or secret"
    } else if job.limits.tmp_bytes == 0 || job.limits.tmp_inodes == 0 {
        // A tmpfs takes 0 for no limit.
        "its private directories need a limit"
    } else {
        return Ok(());
    };
    Err(Error::refused("cannot spawn a job", why))
}

fn is_absolute(path: &CStr) -> bool {
    path.to_bytes().first() == Some(&b'/')
}

/// Returns the read end (non-blocking) and the write end. The owner may open the pipe again, as `/dev/stderr` does.
pub(crate) fn pipe(owner: Option<(Uid, Gid)>) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).doing(|| "cannot make a pipe".into())?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(|| "cannot make a pipe".into())?;
    if let Some((uid, gid)) = owner {
        fchown(&write, Some(uid), Some(gid)).doing(|| "cannot hand a pipe to the job".into())?;
    }
    Ok((read, write))
}

pub(crate) fn tmpfs_options(limits: &Limits, mode: u32, uid: u32, gid: u32) -> Result<CString> {
    let Limits {
        tmp_bytes,
        tmp_inodes,
        ..
    } = limits;
    text(format!(
        "size={tmp_bytes},nr_inodes={tmp_inodes},mode={mode:o},uid={uid},gid={gid}"
    ))
}

pub(crate) fn shared_pages(limits: &Limits) -> Result<CString> {
    const PAGE: u64 = 4096;
    text(limits.tmp_bytes.div_ceil(PAGE).to_string())
}

fn text(text: String) -> Result<CString> {
    CString::new(text).map_err(|_| Error::refused("cannot spawn a job", "a NUL in a number"))
}

/// Returns every file that the name may mean, in order; for a hashed program only that one.
fn candidates(job: &Job<'_>) -> Result<Vec<CString>> {
    if let Some(program) = job.measured.first() {
        return Ok(vec![program.path.clone()]);
    }
    let Some(name) = job.argv.first() else {
        return Ok(Vec::new());
    };
    if name.to_bytes().contains(&b'/') {
        return Ok(vec![name.clone()]);
    }
    let join = |dir: &CString| {
        let bytes = [dir.to_bytes(), b"/", name.to_bytes()].concat();
        CString::new(bytes).map_err(|_| Error::refused("cannot spawn a job", "a NUL in a path"))
    };
    job.path.iter().map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cgroups, Kernel, Progress, ReadProfile, Step, StepReader, StrictProfile, probe};

    #[test]
    fn without_clone3_a_job_joins_its_cgroup() {
        let limits = Limits {
            nofile: 64,
            nproc: 16,
            others: None,
            data: 1 << 28,
            cpu_s: 10,
            fsize: 1 << 21,
            tmp_bytes: 1 << 20,
            tmp_inodes: 16,
            memory: None,
            tasks: None,
            cpu_percent: None,
        };
        let kernel = Kernel {
            fork: ForkCall::Clone,
            ..probe().unwrap()
        };
        let read = ReadProfile {
            limits,
            ..ReadProfile::default()
        };
        let strict = StrictProfile {
            limits,
            ..StrictProfile::default()
        };
        let name = format!("remit-unit-{}", std::process::id());
        let cgroups = Cgroups::open(&name).unwrap();
        // In its own cgroup namespace a job sees itself at the top.
        for (sandbox, seen) in [
            (Sandbox::read(&read, &kernel).unwrap(), "-job"),
            (Sandbox::strict(&strict, &kernel).unwrap(), "/"),
        ] {
            let cgroup = cgroups.create("job", &limits).unwrap();
            let argv = [c"cat".to_owned(), c"/proc/self/cgroup".to_owned()];
            let job = Job {
                uid: 1_879_099_998,
                gid: 1_879_099_998,
                loginuid: None,
                argv: &argv,
                arguments: &[],
                path: &[c"/usr/bin".to_owned(), c"/bin".to_owned()],
                env: &[],
                cwd: c"/",
                stdin: None,
                script: None,
                measured: &[],
                cgroup: Some(cgroup.fd()),
                limits: &limits,
            };
            let spawned = spawn(&sandbox, &job, &Family::own().unwrap()).unwrap();
            let spawned = spawned.start();
            sys::wait(spawned.pid, 0).unwrap();
            let Progress::Executed(done) = StepReader::new().read(spawned.steps.as_fd()) else {
                panic!()
            };
            assert!(done.contains(&Step::Cgroup));
            let mut text = [0; 4096];
            let n = sys::read(spawned.stdout.as_fd(), &mut text).unwrap();
            let text = String::from_utf8_lossy(&text[..n]).into_owned();
            let own = |line: &str| line.starts_with("0::") && line.ends_with(seen);
            assert!(text.lines().any(own), "{text}");
            assert!(!cgroup.populated().unwrap());
            cgroup.remove().unwrap();
        }
    }
}
