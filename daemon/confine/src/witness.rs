//! Proof by trying: a child takes the whole checklist and then tries each wall.

use crate::attempts::{Attempt, DEVICE, FIFO, FILE, STAGE, Stage, attempts};
use crate::checklist::{Notes, Way, confine};
use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall, Pointers};
use crate::spawn::{pipe, tmpfs_options};
use crate::{Keeper, Progress, Sandbox, StepReader, Wall};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::stat::{Mode, SFlag, makedev, mknod, umask},
};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
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
    reader: StepReader,
    got: Vec<u8>,
    asked: Vec<&'static Attempt>,
    /// None once reaped.
    pid: Option<i32>,
    pidfd: OwnedFd,
}

/// Not an errno: the attempt itself went wrong.
const BROKEN: u8 = 254;

/// Forks a witness under `uid`, `gid` (which no job uses meanwhile), with the profile's own
/// limits and groups. It makes nothing outside its own namespaces.
pub fn witness(sandbox: &Sandbox, keeper: &Keeper, uid: u32, gid: u32) -> Result<Witness> {
    if uid == 0 || gid == 0 {
        return Err(Error::refused("cannot witness", "a job is never root"));
    }
    let (answers, told) = pipe(None)?;
    let (steps, noted) = pipe(None)?;
    let rows = sandbox.ceilings.apply(&sandbox.limits);
    let stat = |path: &CStr| {
        floor::stat(path).doing(|| format!("cannot look at '{}'", path.to_string_lossy()))
    };
    let (host_tmp, host_pids) = (stat(c"/tmp")?.st_dev, stat(c"/proc/self/ns/pid")?.st_ino);
    let way = Way {
        sandbox,
        uid,
        gid,
        loginuid: None,
        limits: &rows,
        join_cgroup: None,
        has_cgroup: false,
        tmpfs: tmpfs_options(&sandbox.limits, uid, gid)?,
        stdin: None,
        stdout: told.as_fd(),
        stderr: told.as_fd(),
        script: None,
        steps: noted.as_fd(),
        cwd: c"/",
        candidates: Vec::new(),
        argv: Pointers::of(&[]),
        env: Pointers::of(&[]),
    };
    let asked: Vec<&Attempt> = attempts(sandbox).collect();
    let child = || {
        let stage = Stage {
            sandbox,
            uid,
            gid,
            limits: &rows,
            bystander: 0,
            host_tmp,
            host_pids,
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
        reader: StepReader::new(),
        got: Vec::new(),
        asked,
        pid: Some(pid),
        pidfd,
    })
}

impl Witness {
    /// Readable when `read` gets on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }

    /// The findings, one for each attempt that this kernel allows; `None`: read again when
    /// readable. An error when the witness did not get through the checklist: it names the step.
    pub fn read(&mut self) -> Result<Option<Vec<Finding>>> {
        let mut buf = [0; 256];
        loop {
            match floor::read(self.answers.as_fd(), &mut buf) {
                Ok(0) => break,
                Ok(n) => self.got.extend(buf.iter().take(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e).doing(|| "cannot read the witness".into()),
            }
        }
        let doing = "cannot witness the sandbox";
        if let Some(pid) = self.pid.take() {
            // It has closed its answers, so it is ending: its steps are then whole.
            floor::wait(pid, 0).doing(|| "cannot wait for the witness".into())?;
        }
        if let Progress::Failed {
            step, errno, why, ..
        } = self.reader.read(self.steps.as_fd())
        {
            let errno = io::Error::from_raw_os_error(errno);
            return Err(Error::refused(
                doing,
                format!("step '{}' failed ({why:?}): {errno}", step.name()),
            ));
        }
        if self.got.len() != 2 * self.asked.len() {
            return Err(Error::refused(doing, "it died while it tried the walls"));
        }
        let answers = self.got.as_chunks::<2>().0;
        Ok(Some(
            self.asked
                .iter()
                .zip(answers)
                .map(|(a, [control, answer])| find(a, *control, *answer))
                .collect(),
        ))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = floor::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
            // It runs short calls of ours only: this waits for microseconds.
            let _ = floor::wait(pid, 0);
        }
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
            floor::become_user(stage.uid, stage.gid, &stage.sandbox.groups)
        });
    }
    let mut notes = Notes::default();
    let steps = floor::placed(3);
    if let Err(failure) = confine(way, &mut notes) {
        let _ = notes.send(
            if failure.is_early() { way.steps } else { steps },
            Some(failure),
        );
        return 1;
    }
    if notes.send(steps, None).is_err() {
        return 1;
    }
    // Behind the filter clone3 does not exist.
    for (control, attempt) in controls.iter().zip(asked) {
        let answer = try_one(attempt, &stage, ForkCall::Clone, || Ok(()));
        if floor::write(floor::placed(1), &[*control, answer]).is_err() {
            return 1;
        }
    }
    0
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
    let ended = floor::fork(call, None, child).and_then(|(pid, _)| floor::wait(pid, 0));
    let code = ended.ok().flatten().and_then(|(status, _)| status.code());
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(BROKEN)
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
    mknod(DEVICE, SFlag::S_IFCHR, open, makedev(1, 5))?;
    let file = floor::open(FILE, libc::O_RDONLY)?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (uid, gid) = (stage.uid, stage.gid);
    let (pid, _pidfd) = floor::fork(stage.sandbox.kernel.fork, None, || {
        let settled = floor::become_user(uid, gid, &[])
            .and_then(|()| floor::die_with_parent())
            .and_then(|()| floor::write(told.as_fd(), &[1]))
            .and_then(|_| floor::place(lock.as_fd(), 0))
            .and_then(|()| floor::close_from(1));
        match settled {
            Ok(_) => floor::pause_for_ever(),
            Err(_) => 1,
        }
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
