//! Proof by trying: a child takes the whole checklist and then tries each wall.

mod testimony;

use crate::attempts::{Attempt, NAMESPACES, Outside, Stage, attempts};
use crate::beginning::join;
use crate::checklist::Way;
use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall, Pointers};
use crate::root::{self, Access, Content, Host, Mount};
use crate::sandbox::Base;
use crate::spawn::{pipe, shared_pages, tmpfs_options};
use crate::zygote::Forker;
use crate::{Cgroup, Progress, Sandbox, Step, StepReader, Wall};
use nix::poll::{PollFd, PollFlags, poll};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use testimony::{BROKEN, UNTRIED, testify};

/// What was seen of one wall, one attempt each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub wall: Wall,
    /// It was tried, and it held.
    pub held: bool,
    /// What was tried and what the kernel answered.
    pub detail: String,
}

/// A witness at work. It is killed when this is dropped.
#[derive(Debug)]
pub struct Witness {
    answers: OwnedFd,
    /// Of each way that jobs come behind the walls.
    steps: Vec<OwnedFd>,
    asked: Vec<&'static Attempt>,
    /// Whether the kernel has keyrings, so that there must be an own one.
    keyrings: bool,
    /// None once reaped.
    pid: Option<i32>,
    pidfd: OwnedFd,
}

/// Forks a witness under `uid`, `gid` (which no job uses meanwhile), with the profile's own
/// limits and groups, in a cgroup of its own: kill that when it has ended. It makes nothing outside its
/// own namespaces.
pub fn witness(sandbox: &Sandbox, cgroup: &Cgroup, uid: u32, gid: u32) -> Result<Witness> {
    if uid == 0 || gid == 0 {
        return Err(Error::refused("cannot witness", "a job is never root"));
    }
    let (answers, told) = pipe(None)?;
    let (steps, noted) = pipe(None)?;
    let forker = match &sandbox.recipe {
        Some(_) => Some(Forker::of(sandbox)?),
        None => None,
    };
    let ways = forker.as_ref().map_or(0, testimony::ways);
    let further: Vec<_> = (0..ways).map(|_| pipe(None)).collect::<Result<_>>()?;
    if let Base::Host = sandbox.base {
        return Err(Error::refused("cannot witness", "the profile has no walls"));
    }
    let own = (uid, gid);
    let (uid, gid) = sandbox.who.user.unwrap_or(own);
    let rows = sandbox.ceilings.apply(&sandbox.processes(&sandbox.limits));
    let stat = |path: &CStr| {
        floor::stat(path).doing(|| format!("cannot look at '{}'", path.to_string_lossy()))
    };
    let mut outside = Outside {
        tmp: stat(c"/tmp")?.st_dev,
        root: stat(c"/")?.st_dev,
        namespaces: [0; NAMESPACES.len()],
    };
    for (inode, path) in outside.namespaces.iter_mut().zip(NAMESPACES) {
        *inode = stat(path)?.st_ino;
    }
    let [writable, devices, executable] = places(sandbox);
    let mount = Mount::stage();
    let way = Way {
        sandbox,
        own,
        uid,
        gid,
        loginuid: None,
        limits: &rows,
        join_cgroup: None,
        parent: std::process::id(),
        has_cgroup: true,
        tmpfs: tmpfs_options(&sandbox.limits, 0o1777, uid, gid)?,
        scratch: tmpfs_options(&sandbox.limits, 0o755, uid, gid)?,
        shared_pages: shared_pages(&sandbox.limits)?,
        stdin: None,
        stdout: told.as_fd(),
        stderr: told.as_fd(),
        script: None,
        measured: &[],
        arguments: &[],
        steps: noted.as_fd(),
        cwd: c"/",
        candidates: Vec::new(),
        path: &[],
        argv: Pointers::of(&[]),
        env: Pointers::of(&[]),
        stage: Some(&mount),
        inherited: None,
    };
    let asked: Vec<&Attempt> = attempts(sandbox).collect();
    let child = || {
        let stage = Stage {
            sandbox,
            uid,
            gid,
            limits: &rows,
            writable: &writable,
            devices: &devices,
            executable: &executable,
            bystander: 0,
            outside,
        };
        let noted = further.iter().map(|(_, noted)| noted.as_fd()).collect();
        testify(
            way,
            stage,
            &asked,
            forker.as_ref().map(|forker| (forker, noted)),
        )
    };
    let call = sandbox.kernel.fork;
    let into = Some(cgroup.fd());
    let (pid, pidfd) = match call {
        ForkCall::Clone3 => floor::fork(call, into, child),
        ForkCall::Clone => floor::fork(call, None, || match join(cgroup.fd()) {
            Ok(()) => child(),
            Err(_) => 1,
        }),
    }
    .doing(|| "cannot fork".into())?;
    let mut steps = vec![steps];
    steps.extend(further.into_iter().map(|(steps, _)| steps));
    Ok(Witness {
        answers,
        steps,
        asked,
        keyrings: sandbox.kernel.keyrings,
        pid: Some(pid),
        pidfd,
    })
}

impl Witness {
    /// Readable when it has ended, which is when `read` gets on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends it before its time. It has ended when `fd` says so.
    pub fn kill(&self) {
        // One that has ended needs no signal.
        let _ = floor::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
    }

    /// The findings, one for each attempt that this kernel allows; `None`: it is still at work.
    /// Never waits. An error when the witness did not get through the checklist: it names the
    /// step.
    ///
    /// Its bystander, of the same uid, may still be ending: see the cgroup empty before the uid is
    /// used again.
    pub fn read(&mut self) -> Result<Option<Vec<Finding>>> {
        if let Some(pid) = self.pid {
            let ended = floor::wait(pid, libc::WNOHANG);
            if ended
                .doing(|| "cannot wait for the witness".into())?
                .is_none()
            {
                return Ok(None);
            }
            self.pid = None;
        }
        let mut keyring = self.keyrings.then_some(true);
        for steps in &self.steps {
            let done = taken(steps.as_fd())?;
            keyring = keyring.map(|had| had && done.contains(&Step::Keyring));
        }
        // Four bytes for each attempt are far less than a pipe takes.
        let mut answers = [0; 512];
        let length =
            floor::read(self.answers.as_fd(), &mut answers).doing(|| "cannot read it".into())?;
        let answers = answers.get(..length).unwrap_or_default();
        let many = self.asked.len();
        if length != many * (1 + self.steps.len()) {
            return Err(Error::refused(DOING, "it died while it tried the walls"));
        }
        let (controls, behind) = answers.split_at(many);
        let mut findings = Vec::with_capacity(many + 1);
        for ((at, attempt), control) in self.asked.iter().enumerate().zip(controls) {
            let answers = || behind.iter().skip(at).step_by(many);
            if answers().chain([control]).any(|seen| *seen == UNTRIED) {
                let why = format!("'{}' could not be tried: no process for it", attempt.what);
                return Err(Error::refused(DOING, why));
            }
            // The wall has to hold whichever way a job came behind it.
            let found = answers().map(|answer| find(attempt, *control, *answer));
            findings.extend(found.min_by_key(|finding| finding.held));
        }
        findings.extend(keyring.map(own_keyring));
        Ok(Some(findings))
    }
}

impl Drop for Witness {
    /// One that hangs in the kernel is left as it is: better a zombie later than waiting now.
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            self.kill();
            let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut ended, 100u8);
            let _ = floor::reap(pid);
        }
    }
}

const DOING: &str = "cannot witness the sandbox";

/// The steps that one of its processes took.
fn taken(steps: BorrowedFd<'_>) -> Result<Vec<Step>> {
    match StepReader::new().read(steps) {
        Progress::Executed(done) => Ok(done),
        Progress::More => Err(Error::refused(DOING, "its steps have no end")),
        Progress::Failed {
            step, errno, why, ..
        } => {
            let errno = io::Error::from_raw_os_error(errno);
            let why = format!("step '{}' failed ({why:?}): {errno}", step.name());
            Err(Error::refused(DOING, why))
        }
    }
}

/// Behind the filter no call tells whose keyring it is, so the step stands for it.
fn own_keyring(held: bool) -> Finding {
    let was = if held { "was" } else { "was not" };
    Finding {
        wall: Wall::Keyring,
        held,
        detail: format!("a session keyring of its own {was} made"),
    }
}

fn find(attempt: &Attempt, control: u8, answer: u8) -> Finding {
    let say = |code: u8| match code {
        0 => "allowed".to_owned(),
        255 => "as it must be".to_owned(),
        BROKEN => "could not be tried".to_owned(),
        errno => io::Error::from_raw_os_error(errno.into()).to_string(),
    };
    let controlled = attempt
        .control
        .is_none_or(|want| want == i32::from(control));
    let answered = i32::from(answer) == attempt.held;
    let mut detail = format!("{}: {}", attempt.what, say(answer));
    if attempt.control.is_some() {
        detail = format!("{detail}; without the walls: {}", say(control));
    }
    Finding {
        wall: attempt.wall,
        held: controlled && answered,
        detail,
    }
}

/// Where mounts may be written, devices used, and files executed.
fn places(sandbox: &Sandbox) -> [Vec<CString>; 3] {
    let access = |what: &Content| match what {
        Content::Host(Host { access, .. }) => Some(*access),
        Content::Private(_) => None,
    };
    let of = |mounts: &[Mount]| {
        let written = |what: &Content| {
            let access = access(what);
            access.is_none() || matches!(access, Some(Access::Files { write: true, .. }))
        };
        let device = |what: &Content| access(what) == Some(Access::Device);
        let executed =
            |what: &Content| matches!(access(what), Some(Access::Files { exec: true, .. }));
        [
            root::places(mounts, written),
            root::places(mounts, device),
            root::places(mounts, executed),
        ]
    };
    match &sandbox.base {
        Base::Read(places) => {
            let [mut written, mut devices, executed] = of(&places.listed);
            written.extend(places.private.iter().cloned());
            devices.extend(places.devices.iter().cloned());
            [written, devices, executed]
        }
        Base::Strict(strict) => of(&strict.root.mounts),
        Base::Host => [Vec::new(), Vec::new(), Vec::new()],
    }
}
