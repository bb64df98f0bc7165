//! One job: its pipes, everything made ready for its child, and the fork.

use crate::arguments;
use crate::beginning::arguments_at;
use crate::checklist::{self, Way};
use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall, Pointers};
use crate::inherited::Inherited;
use crate::{Argument, Limits, Measured, Sandbox};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{Gid, Uid, fchown, pipe2},
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// What to run.
#[derive(Debug)]
pub struct Job<'a> {
    /// The job's own uid, never 0. Where the profile has another user, that of the processes that
    /// serve this job alone.
    pub uid: u32,
    /// The job's own gid, never 0.
    pub gid: u32,
    /// Audit login uid of the requester; `None` leaves the warden's.
    pub loginuid: Option<u32>,
    /// At least the program's name.
    pub argv: &'a [CString],
    /// Elements of `argv` that stand for a path or a secret.
    pub places: &'a [Argument<'a>],
    /// Absolute directories searched when `argv[0]` has no `/`.
    pub path: &'a [CString],
    /// The whole environment, `NAME=value`.
    pub env: &'a [CString],
    /// Absolute; opened inside, under the job's identity.
    pub cwd: &'a CStr,
    /// `None`: /dev/null. Else something that leads nowhere: a sealed memfd or a pipe.
    pub stdin: Option<BorrowedFd<'a>>,
    /// A sealed memfd that becomes descriptor 3; `argv` names `/proc/self/fd/3`.
    pub script: Option<BorrowedFd<'a>>,
    /// Must be found so inside, just before the exec. The first, if any, is the program: it is
    /// executed, whatever `argv` and `path` name.
    pub measured: &'a [Measured],
    /// The directory of its own, where there is one: [`Cgroup::fd`](crate::Cgroup::fd).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// This job's limits.
    pub limits: &'a Limits,
}

/// A child on its way to its exec, or beyond. The descriptors are the read ends, non-blocking
/// and close-on-exec.
#[derive(Debug)]
pub struct Spawned {
    /// As the warden sees it; to be reaped by the warden.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
    /// Its output.
    pub stdout: OwnedFd,
    /// Its errors.
    pub stderr: OwnedFd,
    /// For `StepReader`.
    pub steps: OwnedFd,
}

/// The fewest descriptors a child gets through its own steps with.
const LEAST_NOFILE: u64 = 32;

/// Forks the job. Returns when the child exists, not when it executes: read `steps`.
///
/// Refused are uid or gid 0, an empty argv, a relative cwd, a script or secret that is not sealed,
/// a path argument that is not a plain one, a measured file without an absolute name, fewer than 32 descriptors, private directories without a
/// limit, and a profile's user without a cgroup.
pub fn spawn(sandbox: &Sandbox, job: &Job<'_>) -> Result<Spawned> {
    vet(sandbox, job)?;
    let (pipes, ends) = pipes(sandbox, job)?;
    let call = sandbox.kernel.fork;
    let into = job.cgroup.filter(|_| call == ForkCall::Clone3);
    let (pid, pidfd) = with_way(sandbox, job, &ends, None, |way| {
        floor::fork(call, into, || checklist::run(way)).doing(|| "cannot fork".into())
    })?;
    Ok(pipes.of(pid, pidfd))
}

/// The ends of a job's pipes that stay here.
pub(crate) struct Pipes([OwnedFd; 3]);

/// The ends that the job has: output, errors, steps.
pub(crate) type Ends = [OwnedFd; 3];

impl Pipes {
    /// The one that a child says by how far it has come.
    pub(crate) fn steps(&self) -> BorrowedFd<'_> {
        let [_, _, steps] = &self.0;
        steps.as_fd()
    }

    pub(crate) fn of(self, pid: i32, pidfd: OwnedFd) -> Spawned {
        let [stdout, stderr, steps] = self.0;
        Spawned {
            pid,
            pidfd,
            stdout,
            stderr,
            steps,
        }
    }
}

/// A job's pipes.
pub(crate) fn pipes(sandbox: &Sandbox, job: &Job<'_>) -> Result<(Pipes, Ends)> {
    let (uid, gid) = sandbox.who.user.unwrap_or((job.uid, job.gid));
    let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
    let (stdout, out) = pipe(Some(owner))?;
    let (stderr, err) = pipe(Some(owner))?;
    let (steps, told) = pipe(None)?;
    Ok((Pipes([stdout, stderr, steps]), [out, err, told]))
}

/// Makes all that the child needs, and does `then` with it. The job was vetted.
pub(crate) fn with_way<T>(
    sandbox: &Sandbox,
    job: &Job<'_>,
    [out, err, told]: &Ends,
    inherited: Option<Inherited<'_>>,
    then: impl FnOnce(&Way<'_>) -> Result<T>,
) -> Result<T> {
    let (uid, gid) = sandbox.who.user.unwrap_or((job.uid, job.gid));
    let rows = sandbox.ceilings.apply(&sandbox.processes(job.limits));
    let first = arguments_at(job.script.is_some());
    let (argv, arguments) = arguments::prepare(job.argv, job.places, first)?;
    then(&Way {
        sandbox,
        own: (job.uid, job.gid),
        uid,
        gid,
        loginuid: job.loginuid.map(|uid| text(uid.to_string())).transpose()?,
        limits: &rows,
        join_cgroup: job
            .cgroup
            .filter(|_| sandbox.kernel.fork == ForkCall::Clone),
        parent: std::process::id(),
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
        steps: told.as_fd(),
        cwd: job.cwd,
        candidates: candidates(job)?,
        path: job.path,
        argv: Pointers::of(&argv),
        env: Pointers::of(job.env),
        stage: None,
        inherited,
    })
}

pub(crate) fn vet(sandbox: &Sandbox, job: &Job<'_>) -> Result<()> {
    let why = if job.uid == 0 || job.gid == 0 {
        "a job is never root"
    } else if sandbox.who.user.is_some() && job.cgroup.is_none() {
        // Its processes cannot be told by their uid, nor counted by it.
        "its user is not its own: that needs a cgroup"
    } else if job.argv.first().is_none_or(|name| name.is_empty()) {
        "no program is named"
    } else if !is_absolute(job.cwd) {
        "its working directory is not absolute"
    } else if job.script.is_some_and(|script| !floor::is_sealed(script)) {
        "its script is not a sealed memfd"
    } else if job.measured.iter().any(|file| !is_absolute(&file.path)) {
        "a measured file has no absolute name"
    } else if job.limits.nofile < LEAST_NOFILE + job.places.len() as u64 {
        "it needs at least 32 descriptors, and one for each path or secret"
    } else if job.limits.tmp_bytes == 0 || job.limits.tmp_inodes == 0 {
        // To a tmpfs, 0 means none.
        "its private directories need a limit"
    } else {
        return Ok(());
    };
    Err(Error::refused("cannot spawn a job", why))
}

fn is_absolute(path: &CStr) -> bool {
    path.to_bytes().first() == Some(&b'/')
}

/// Read end (non-blocking) and write end. The owner of the pipe may open it anew, as
/// `/dev/stderr` does.
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

/// As many bytes as a private directory takes.
pub(crate) fn shared_pages(limits: &Limits) -> Result<CString> {
    const PAGE: u64 = 4096;
    text(limits.tmp_bytes.div_ceil(PAGE).to_string())
}

fn text(text: String) -> Result<CString> {
    CString::new(text).map_err(|_| Error::refused("cannot spawn a job", "a NUL in a number"))
}

/// Every file that the name may mean, in order. Of a measured program that one alone.
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
    use crate::{Cgroups, Kernel, Progress, ReadProfile, Step, StepReader, StrictProfile};

    /// Where clone3 is refused, the child joins its cgroup itself.
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
            ..Kernel::probe().unwrap()
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
        // In a cgroup namespace of its own a job sees itself at the top.
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
                places: &[],
                path: &[c"/usr/bin".to_owned(), c"/bin".to_owned()],
                env: &[],
                cwd: c"/",
                stdin: None,
                script: None,
                measured: &[],
                cgroup: Some(cgroup.fd()),
                limits: &limits,
            };
            let spawned = spawn(&sandbox, &job).unwrap();
            floor::wait(spawned.pid, 0).unwrap();
            let Progress::Executed(done) = StepReader::new().read(spawned.steps.as_fd()) else {
                panic!()
            };
            assert!(done.contains(&Step::Cgroup));
            let mut text = [0; 4096];
            let n = floor::read(spawned.stdout.as_fd(), &mut text).unwrap();
            let text = String::from_utf8_lossy(&text[..n]).into_owned();
            let own = |line: &str| line.starts_with("0::") && line.ends_with(seen);
            assert!(text.lines().any(own), "{text}");
            assert!(!cgroup.populated().unwrap());
            cgroup.remove().unwrap();
        }
    }
}
