//! Proof by trying: a child takes the whole checklist and then tries each wall.

use crate::attempts::{
    Attempt, DEVICE, FIFO, FILE, NAMESPACES, Outside, PROGRAM, STAGE, Stage, attempts,
};
use crate::checklist::{Way, confined};
use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall, Pointers};
use crate::root::{self, Access, Content, Host, Mount};
use crate::sandbox::Base;
use crate::spawn::{pipe, shared_pages, tmpfs_options};
use crate::{Keeper, Progress, Sandbox, Step, StepReader, Wall};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{Mode, SFlag, makedev, mknod, umask},
};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
};

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
    steps: OwnedFd,
    asked: Vec<&'static Attempt>,
    /// Whether the kernel has keyrings, so that there must be an own one.
    keyrings: bool,
    /// None once reaped.
    pid: Option<i32>,
    pidfd: OwnedFd,
}

/// Not an errno: the attempt itself went wrong.
const BROKEN: u8 = 254;
/// Not an errno: there was no process for the attempt, or somebody killed it. No wall does that,
/// a machine short of memory or pids does: nothing was seen of the wall.
const UNTRIED: u8 = 253;

/// Forks a witness under `uid`, `gid` (which no job uses meanwhile), with the profile's own
/// limits and groups. It makes nothing outside its own namespaces.
pub fn witness(sandbox: &Sandbox, keeper: &Keeper, uid: u32, gid: u32) -> Result<Witness> {
    if uid == 0 || gid == 0 {
        return Err(Error::refused("cannot witness", "a job is never root"));
    }
    let (answers, told) = pipe(None)?;
    let (steps, noted) = pipe(None)?;
    if let Base::Host = sandbox.base {
        return Err(Error::refused("cannot witness", "the profile has no walls"));
    }
    let own = (uid, gid);
    let (uid, gid) = sandbox.who.user.unwrap_or(own);
    let rows = sandbox.ceilings.apply(&sandbox.processes(&sandbox.limits));
    let stat = |path: &CStr| {
        floor::stat(path).doing(|| format!("cannot look at '{}'", path.to_string_lossy()))
    };
    let jobs = floor::stat_of(keeper.namespace()).doing(|| "cannot look at the keeper".into())?;
    let mut outside = Outside {
        tmp: stat(c"/tmp")?.st_dev,
        root: stat(c"/")?.st_dev,
        namespaces: [0; NAMESPACES.len()],
        jobs: jobs.st_ino,
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
        has_cgroup: false,
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
        argv: Pointers::of(&[]),
        env: Pointers::of(&[]),
        stage: Some(&mount),
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
        testify(&way, stage, &asked)
    };
    let call = sandbox.kernel.fork;
    let (pid, pidfd) = if sandbox.walls.up(Wall::PidNamespace) {
        keeper.fork(call, None, child)?
    } else {
        floor::fork(call, None, child).doing(|| "cannot fork".into())?
    };
    drop(way);
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
    /// Its bystander, of the same uid, may still be ending: kill by uid before the uid is used
    /// again.
    pub fn read(&mut self) -> Result<Option<Vec<Finding>>> {
        let doing = "cannot witness the sandbox";
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
        let done = match StepReader::new().read(self.steps.as_fd()) {
            Progress::Executed(done) => done,
            Progress::More => return Err(Error::refused(doing, "its steps have no end")),
            Progress::Failed {
                step, errno, why, ..
            } => {
                let errno = io::Error::from_raw_os_error(errno);
                let why = format!("step '{}' failed ({why:?}): {errno}", step.name());
                return Err(Error::refused(doing, why));
            }
        };
        // Two bytes for each attempt are far less than a pipe takes.
        let mut answers = [0; 256];
        let length =
            floor::read(self.answers.as_fd(), &mut answers).doing(|| "cannot read it".into())?;
        let answers = answers.get(..length).unwrap_or_default();
        if length != 2 * self.asked.len() {
            return Err(Error::refused(doing, "it died while it tried the walls"));
        }
        let tried = self.asked.iter().zip(answers.as_chunks::<2>().0);
        if let Some((attempt, _)) = tried.clone().find(|(_, seen)| seen.contains(&UNTRIED)) {
            let why = format!("'{}' could not be tried: no process for it", attempt.what);
            return Err(Error::refused(doing, why));
        }
        let mut findings: Vec<Finding> = tried
            .map(|(attempt, [control, answer])| find(attempt, *control, *answer))
            .collect();
        findings.extend(self.keyrings.then(|| keyring(&done)));
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

/// Behind the filter no call tells whose keyring it is, so the step stands for it.
fn keyring(done: &[Step]) -> Finding {
    let held = done.contains(&Step::Keyring);
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

/// The child's body. Answers two bytes an attempt: the control's and the one behind the walls.
fn testify(way: &Way<'_>, mut stage: Stage<'_>, asked: &[&Attempt]) -> i32 {
    let mut controls = [BROKEN; 64];
    if controls.len() < asked.len() || set_stage(&mut stage).is_err() {
        return 1;
    }
    for (control, attempt) in controls.iter_mut().zip(asked) {
        *control = try_one(attempt, &stage, way.sandbox.kernel.fork, || {
            floor::become_user(stage.uid, stage.gid, &stage.sandbox.who.groups)?;
            floor::clear_capabilities()
        });
    }
    confined(way, |_| {
        // Behind the filter clone3 does not exist.
        for (control, attempt) in controls.iter().zip(asked) {
            let answer = try_one(attempt, &stage, ForkCall::Clone, || Ok(()));
            if floor::write(floor::placed(1), &[*control, answer]).is_err() {
                return 1;
            }
        }
        0
    })
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

/// One attempt in a process of its own, after `before`; its exit status is the answer.
fn try_one(
    attempt: &Attempt,
    stage: &Stage<'_>,
    call: ForkCall,
    before: impl FnOnce() -> io::Result<()>,
) -> u8 {
    let child = || match before() {
        Ok(()) => (attempt.run)(stage),
        Err(_) => BROKEN.into(),
    };
    let Ok((pid, _)) = floor::fork(call, None, child) else {
        return UNTRIED;
    };
    let ended = floor::wait(pid, 0).ok().flatten();
    judge(ended.map(|(status, _)| status))
}

fn judge(ended: Option<ExitStatus>) -> u8 {
    let Some(status) = ended else {
        return BROKEN;
    };
    if status.signal() == Some(libc::SIGKILL) {
        return UNTRIED;
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(BROKEN)
}

/// A private copy of the mounts with a tmpfs over `/sys` that holds what is open to everyone,
/// and a bystander of the job's uid that holds a lock on one of the files.
fn set_stage(stage: &mut Stage<'_>) -> io::Result<()> {
    floor::own_mounts()?;
    floor::set_whole_tree(0, true)?;
    let none: Option<&CStr> = None;
    mount(
        Some(c"tmpfs"),
        STAGE,
        Some(c"tmpfs"),
        MsFlags::empty(),
        none,
    )?;
    umask(Mode::empty());
    let open = Mode::from_bits_truncate(0o666);
    mknod(FILE, SFlag::S_IFREG, open, 0)?;
    mknod(FIFO, SFlag::S_IFIFO, open, 0)?;
    mknod(PROGRAM, SFlag::S_IFREG, Mode::from_bits_truncate(0o755), 0)?;
    mknod(DEVICE, SFlag::S_IFCHR, open, makedev(1, 5))?;
    let file = floor::open(FILE, libc::O_RDONLY)?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (uid, gid) = (stage.uid, stage.gid);
    let witness = floor::pidfd_open(i32::try_from(std::process::id()).unwrap_or_default())?;
    let (pid, _pidfd) = floor::fork(stage.sandbox.kernel.fork, None, || {
        let settled = floor::become_user(uid, gid, &[])
            .and_then(|()| floor::clear_capabilities())
            .and_then(|()| floor::die_with_parent())
            .and_then(|()| floor::write(told.as_fd(), &[1]))
            .and_then(|_| floor::place(lock.as_fd(), 0))
            .and_then(|()| floor::place(witness.as_fd(), 1))
            .and_then(|()| floor::close_from(2));
        // The death signal may not come through the witness's walls.
        let mut ended = [PollFd::new(floor::placed(1), PollFlags::POLLIN)];
        i32::from(settled.is_err() || poll(&mut ended, PollTimeout::NONE).is_err())
    })?;
    stage.bystander = pid;
    drop(told);
    let mut byte = [0];
    if floor::read(ready.as_fd(), &mut byte)? != 1 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // The bystander keeps it; unlocking here would end it for both.
    std::mem::forget(lock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw as wait(2) gives them: a status in the second byte, a signal in the first.
    #[test]
    fn only_what_was_tried_is_judged() {
        for (raw, want) in [
            (Some(0), 0),
            (Some(13 << 8), 13),
            (Some(255 << 8), 255),
            (Some(libc::SIGKILL), UNTRIED),
            // What a wall can do to it, and a bug.
            (Some(libc::SIGSYS), BROKEN),
            (Some(libc::SIGSEGV), BROKEN),
            (None, BROKEN),
        ] {
            assert_eq!(judge(raw.map(ExitStatus::from_raw)), want, "{raw:?}");
        }
    }
}
