//! The self-test: a child takes all set-up steps and then tries each sandbox layer.

pub(crate) mod child;
pub(crate) mod probes;

use crate::self_test::child::{BROKEN, UNTRIED, run_child};
use crate::self_test::probes::{Attempt, NAMESPACES, Outside, Stage, attempts};
use crate::spec::compiled::Base;
use crate::steps::enter::with_child_env;
use crate::steps::prepare::{Preparing, join, private_size};
use crate::steps::private_root::{self, Access, Content, Host, Mount};
use crate::steps::view;
use crate::sys::{self, ForkCall};
use crate::{Finding, Job, Layer, Progress, Sandbox, Step, StepFailure, StepReader};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::pipe2;
use remit_sys::{Doing, Error, Result};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

#[derive(Debug)]
pub struct SelfTest {
    answers: OwnedFd,
    steps: OwnedFd,
    asked: Vec<&'static Attempt>,
    keyrings: bool,
    pid: Option<i32>,
    pidfd: OwnedFd,
}

/// Forks a self-test as `uid`, `gid` (which no job uses meanwhile), with the profile's own limits and groups, in its
/// own cgroup: kill that after the end. It makes nothing outside its own namespaces.
pub fn self_test(
    sandbox: &Sandbox,
    cgroup: BorrowedFd<'_>,
    (uid, gid): (u32, u32),
) -> Result<SelfTest> {
    if uid == 0 || gid == 0 {
        return Err(Error::refused(
            "cannot test the sandbox",
            "a job is never root",
        ));
    }
    if let Base::Host | Base::Extract(_) = sandbox.base {
        return Err(Error::refused(
            "cannot test the sandbox",
            "the profile has no sandbox layers",
        ));
    }
    let (answers, answer_end) = pipe()?;
    let errors = answer_end
        .try_clone()
        .doing(|| "cannot copy a pipe".into())?;
    let (steps, report) = pipe()?;
    let ends = [answer_end, errors, report];
    let job = Job {
        uid,
        gid,
        loginuid: None,
        argv: &[],
        arguments: &[],
        path: &[],
        env: &[],
        cwd: c"/",
        stdin: None,
        script: None,
        staged: None,
        kept: None,
        measured: &[],
        cgroup: Some(cgroup),
        limits: &sandbox.limits,
    };
    let size = private_size(job.limits);
    let mut prepared = Preparing::new(sandbox, (uid, gid), size, job.cgroup, 0)?;
    let mount = Mount::stage();
    prepared.stage = Some(&mount);
    let stat = |path: &CStr| {
        sys::stat(path).doing(|| format!("cannot look at '{}'", path.to_string_lossy()))
    };
    let mut outside = Outside {
        tmp: stat(c"/tmp")?.st_dev,
        root: stat(c"/")?.st_dev,
        namespaces: [0; NAMESPACES.len()],
        services: 0,
    };
    for (inode, path) in outside.namespaces.iter_mut().zip(NAMESPACES) {
        *inode = stat(path)?.st_ino;
    }
    let [writable, devices, executable] = paths(sandbox);
    let asked: Vec<&Attempt> = attempts(sandbox).collect();
    let (pid, pidfd) = with_child_env(sandbox, &job, &ends, |env| {
        let stage = Stage {
            sandbox,
            uid: env.uid,
            gid: env.gid,
            limits: env.limits,
            writable: &writable,
            devices: &devices,
            executable: &executable,
            bystander: 0,
            outside,
        };
        let child = || run_child(env, prepared, stage, &asked);
        let call = sandbox.kernel.fork;
        match call {
            ForkCall::Clone3 => sys::fork(call, Some(cgroup), child),
            ForkCall::Clone => sys::fork(call, None, || match join(cgroup) {
                Ok(()) => child(),
                Err(_) => 1,
            }),
        }
    })?
    .doing(|| "cannot fork".into())?;
    Ok(SelfTest {
        answers,
        steps,
        asked,
        keyrings: sandbox.kernel.keyrings,
        pid: Some(pid),
        pidfd,
    })
}

/// Returns the read end (non-blocking) and the write end.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let doing = || "cannot make a pipe".to_owned();
    let (read, write) = pipe2(OFlag::O_CLOEXEC).doing(doing)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(doing)?;
    Ok((read, write))
}

impl SelfTest {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends it early; `fd` reports when it has ended.
    pub fn kill(&self) {
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
    }

    /// Returns one finding for each attempt that this kernel allows; `None`: it still runs. Never waits. Fails with the
    /// step that failed. Its bystander, of the same uid, may be ending: reuse the uid when the cgroup is empty.
    pub fn read(&mut self) -> Result<Option<Vec<Finding>>> {
        if let Some(pid) = self.pid {
            let ended = sys::wait(pid, libc::WNOHANG);
            if ended
                .doing(|| "cannot wait for the self-test".into())?
                .is_none()
            {
                return Ok(None);
            }
            self.pid = None;
        }
        let done = executed_steps(self.steps.as_fd())?;
        let keyring = self.keyrings.then(|| done.contains(&Step::Keyring));
        // Two bytes for each attempt are far less than a pipe takes.
        let mut answers = [0; 512];
        let length =
            sys::read(self.answers.as_fd(), &mut answers).doing(|| "cannot read it".into())?;
        let answers = answers.get(..length).unwrap_or_default();
        let many = self.asked.len();
        if length != 2 * many {
            return Err(Error::refused(DOING, "it died while it tested the layers"));
        }
        let (controls, behind) = answers.split_at(many);
        let mut findings = Vec::with_capacity(many + 1);
        for ((attempt, control), answer) in self.asked.iter().zip(controls).zip(behind) {
            if [control, answer].contains(&&UNTRIED) {
                let why = format!("'{}' could not be tested: no process for it", attempt.what);
                return Err(Error::refused(DOING, why));
            }
            findings.push(find(attempt, *control, *answer));
        }
        findings.extend(keyring.map(own_keyring));
        Ok(Some(findings))
    }
}

impl Drop for SelfTest {
    /// One that hangs in the kernel is left as it is: a zombie later is better than waiting now.
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            self.kill();
            let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut ended, 100u8);
            let _ = sys::reap(pid);
        }
    }
}

const DOING: &str = "cannot test the sandbox";

fn executed_steps(steps: BorrowedFd<'_>) -> Result<Vec<Step>> {
    match StepReader::new().read(steps) {
        Progress::Executed(done) => Ok(done),
        Progress::More => Err(Error::refused(DOING, "its steps have no end")),
        Progress::Failed(
            StepFailure {
                step, errno, why, ..
            },
            _,
        ) => {
            let why = match errno {
                0 => format!("{why:?}"),
                errno => io::Error::from_raw_os_error(errno).to_string(),
            };
            let why = format!("step '{}' failed: {why}", step.name());
            Err(Error::refused(DOING, why))
        }
    }
}

/// Under the filter no call shows whose keyring it is, so the step counts instead.
fn own_keyring(held: bool) -> Finding {
    let was = if held { "was" } else { "was not" };
    Finding {
        layer: Layer::Keyring,
        held,
        detail: format!("a session keyring of its own {was} made"),
    }
}

fn find(attempt: &Attempt, control: u8, answer: u8) -> Finding {
    let say = |code: u8| match code {
        0 => "allowed".to_owned(),
        255 => "as it must be".to_owned(),
        BROKEN => "could not be tested".to_owned(),
        errno => io::Error::from_raw_os_error(errno.into()).to_string(),
    };
    let controlled = attempt
        .control
        .is_none_or(|want| want == i32::from(control));
    let answered = i32::from(answer) == attempt.held;
    let mut detail = format!("{}: {}", attempt.what, say(answer));
    if attempt.control.is_some() {
        detail = format!("{detail}; without the sandbox: {}", say(control));
    }
    Finding {
        layer: attempt.layer,
        held: controlled && answered,
        detail,
    }
}

fn paths(sandbox: &Sandbox) -> [Vec<CString>; 3] {
    let access = |what: &Content| match what {
        Content::Host(Host { access, .. }) => Some(*access),
        Content::Private(_) => None,
    };
    let by_access = |mounts: &[Mount]| {
        let written = |what: &Content| {
            let access = access(what);
            access.is_none() || matches!(access, Some(Access::Files { write: true, .. }))
        };
        let device = |what: &Content| access(what) == Some(Access::Device);
        let executed =
            |what: &Content| matches!(access(what), Some(Access::Files { exec: true, .. }));
        [
            private_root::paths(mounts, written),
            private_root::paths(mounts, device),
            private_root::paths(mounts, executed),
        ]
    };
    match &sandbox.base {
        Base::Read(paths) => {
            let [mut written, mut devices, executed] = by_access(&paths.listed);
            let private = paths.private.iter();
            written.extend(private.map(|path| private_root::escaped(path.to_bytes())));
            devices.extend(paths.devices.iter().cloned());
            [written, devices, executed]
        }
        Base::Strict(strict) => by_access(&strict.root.mounts),
        Base::View(_) => [Vec::new(), view::devices(), Vec::new()],
        Base::Host | Base::Extract(_) => [Vec::new(), Vec::new(), Vec::new()],
    }
}
