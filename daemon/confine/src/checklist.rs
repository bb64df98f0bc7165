//! The child's way from the fork to the exec: every wall in its order, each step with its name.
//!
//! Everything that allocates was made ready before the fork. The order is forced: what needs
//! root first (mounts), then the identity, then what only takes away. The login uid and the
//! oom score are files of /proc and so come before the tree is read-only.

use crate::fence::Fence;
use crate::floor::{self, Pointers};
use crate::keeper::become_nobody;
use crate::limits::Row;
use crate::places::{MAX_DEVICES, MAX_PRIVATE};
use crate::steps::{FAILED, FAILURE_LEN, Step, Why};
use crate::{Sandbox, Wall};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
};

/// All that the child needs, made by the parent.
pub(crate) struct Way<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) loginuid: Option<CString>,
    pub(crate) limits: &'a [Row],
    /// Set where the fork could not place the child itself.
    pub(crate) join_cgroup: Option<BorrowedFd<'a>>,
    /// The child is in its cgroup, one way or the other.
    pub(crate) has_cgroup: bool,
    pub(crate) tmpfs: CString,
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    pub(crate) script: Option<BorrowedFd<'a>>,
    pub(crate) steps: BorrowedFd<'a>,
    pub(crate) cwd: &'a CStr,
    pub(crate) candidates: Vec<CString>,
    pub(crate) argv: Pointers<'a>,
    pub(crate) env: Pointers<'a>,
}

/// Where a job's home is.
pub(crate) const HOME: &CStr = c"/tmp/home";

/// Where a step ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    step: Step,
    why: Why,
    errno: i32,
}

impl Failure {
    /// Whether the step pipe still has the number that the parent gave it.
    pub(crate) fn is_early(self) -> bool {
        self.step <= Step::Descriptors
    }
}

/// Steps done so far, in memory.
#[derive(Default)]
pub(crate) struct Notes {
    bytes: [u8; 32],
    len: usize,
}

/// What a step that did not fail did.
enum Taken {
    Done,
    /// This kernel or this job has no such thing.
    Absent,
}

impl Notes {
    fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
    }

    fn take(&mut self, step: Step, taken: io::Result<Taken>) -> Result<(), Failure> {
        match taken {
            Ok(Taken::Done) => self.push(step as u8),
            Ok(Taken::Absent) => {}
            Err(e) => {
                let why = if e.raw_os_error().is_some() {
                    Why::Errno
                } else {
                    Why::Unmet
                };
                return Err(Failure {
                    step,
                    why,
                    errno: e.raw_os_error().unwrap_or(0),
                });
            }
        }
        Ok(())
    }

    /// Writes the notes, with the failure if there is one, in one write.
    pub(crate) fn send(&mut self, to: BorrowedFd<'_>, failure: Option<Failure>) -> io::Result<()> {
        if let Some(failure) = failure {
            let [a, b, c, d] = failure.errno.to_le_bytes();
            let record: [u8; FAILURE_LEN] =
                [FAILED, failure.step as u8, failure.why as u8, a, b, c, d];
            record.into_iter().for_each(|byte| self.push(byte));
        }
        let notes = self.bytes.get(..self.len).unwrap_or_default();
        floor::write(to, notes).map(drop)
    }
}

/// The child's body: confines itself, then executes. Returns its exit status when it could not.
pub(crate) fn run(way: &Way<'_>) -> i32 {
    let mut notes = Notes::default();
    let steps = floor::placed(steps_at(way));
    match confine(way, &mut notes) {
        Ok(()) => {
            // The notes go first: nothing can be written after the exec.
            if notes.send(steps, None).is_err() {
                return NOT_STARTED;
            }
            let failure = execute(way);
            let _ = Notes::default().send(steps, Some(failure));
        }
        Err(failure) => {
            let to = if failure.step <= Step::Descriptors {
                way.steps
            } else {
                steps
            };
            let _ = notes.send(to, Some(failure));
        }
    }
    NOT_STARTED
}

/// Exit status of a child that did not become the job. Its step pipe says why.
const NOT_STARTED: i32 = 127;

/// The step pipe's number: the first free one.
pub(crate) fn steps_at(way: &Way<'_>) -> RawFd {
    if way.script.is_some() { 4 } else { 3 }
}

/// Every step before the exec.
pub(crate) fn confine(way: &Way<'_>, notes: &mut Notes) -> Result<(), Failure> {
    let sandbox = way.sandbox;
    let only = |wall, take: &dyn Fn() -> io::Result<Taken>| match sandbox.walls.up(wall) {
        true => take(),
        false => Ok(Taken::Absent),
    };
    notes.take(Step::Session, session())?;
    notes.take(Step::Cgroup, cgroup(way))?;
    notes.take(Step::Descriptors, descriptors(way))?;
    notes.take(Step::Loginuid, loginuid(way))?;
    notes.take(Step::Scheduling, only(Wall::Scheduling, &|| scheduling()))?;
    notes.take(Step::Rlimits, only(Wall::Rlimits, &|| rlimits(way)))?;
    notes.take(Step::Namespaces, namespaces())?;
    let mut ruleset = None;
    notes.take(Step::Mounts, mounts(way, &mut ruleset))?;
    notes.take(Step::Keyring, only(Wall::Keyring, &|| keyring(sandbox)))?;
    notes.take(Step::Identity, identity(way))?;
    notes.take(Step::NoNewPrivs, only(Wall::NoNewPrivs, &|| no_new_privs()))?;
    notes.take(Step::Cwd, cwd(way))?;
    notes.take(Step::Landlock, landlock(ruleset))?;
    notes.take(Step::Seccomp, seccomp(sandbox))
}

fn session() -> io::Result<Taken> {
    floor::new_session()?;
    floor::default_signals()?;
    floor::plain_manners()?;
    Ok(Taken::Done)
}

fn cgroup(way: &Way<'_>) -> io::Result<Taken> {
    if let Some(dir) = way.join_cgroup {
        let procs = floor::open_at(Some(dir), c"cgroup.procs", libc::O_WRONLY)?;
        floor::write(procs.as_fd(), b"0")?;
    }
    Ok(if way.has_cgroup {
        Taken::Done
    } else {
        Taken::Absent
    })
}

/// Copies out of the way first, so that no copy covers what is still to be placed.
fn descriptors(way: &Way<'_>) -> io::Result<Taken> {
    const ABOVE: RawFd = 16;
    let above = |fd: BorrowedFd<'_>| floor::copy_above(fd, ABOVE);
    let stdout = above(way.stdout)?;
    let stderr = above(way.stderr)?;
    let steps = above(way.steps)?;
    // Without a stdin, /dev/null is opened inside; until then something must hold its number.
    let stdin = above(way.stdin.unwrap_or(way.steps))?;
    let script = way.script.map(above).transpose()?;
    let steps_at = steps_at(way);
    floor::place(stdin, 0)?;
    floor::place(stdout, 1)?;
    floor::place(stderr, 2)?;
    if let Some(script) = script {
        floor::place(script, 3)?;
    }
    floor::place_closing(steps, steps_at)?;
    if way.sandbox.walls.up(Wall::Descriptors) {
        floor::close_from(steps_at + 1)?;
    }
    Ok(Taken::Done)
}

fn loginuid(way: &Way<'_>) -> io::Result<Taken> {
    let Some(uid) = &way.loginuid else {
        return Ok(Taken::Absent);
    };
    match floor::open(c"/proc/self/loginuid", libc::O_WRONLY) {
        Ok(file) => floor::write(file.as_fd(), uid.as_bytes()).map(|_| Taken::Done),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Taken::Absent),
        Err(e) => Err(e),
    }
}

fn scheduling() -> io::Result<Taken> {
    floor::plain_scheduling()?;
    let file = floor::open(c"/proc/self/oom_score_adj", libc::O_WRONLY)?;
    // The most: what a job holds in pipes and sockets counts for no process, so that with less
    // a large program of the host would be the worse one.
    floor::write(file.as_fd(), b"1000")?;
    Ok(Taken::Done)
}

fn rlimits(way: &Way<'_>) -> io::Result<Taken> {
    for row in way.limits {
        floor::set_limit(row.resource, row.soft, row.hard)?;
    }
    Ok(Taken::Done)
}

fn namespaces() -> io::Result<Taken> {
    floor::own_mounts()?;
    Ok(Taken::Done)
}

/// One call cuts the whole tree off from the host's and makes it read-only. After it the
/// private directories and the minimal `/dev` are put in place, and granted in the ruleset
/// while their descriptors are at hand.
fn mounts(way: &Way<'_>, ruleset: &mut Option<(OwnedFd, Fence)>) -> io::Result<Taken> {
    let sandbox = way.sandbox;
    let flag = |wall, flag| if sandbox.walls.up(wall) { flag } else { 0 };
    let attributes = flag(Wall::ReadOnlyMounts, floor::RDONLY)
        | flag(Wall::NoSuid, floor::NOSUID)
        | flag(Wall::NoDev, floor::NODEV);
    floor::set_whole_tree(attributes, true)?;
    if let Some(fence) = sandbox.fence {
        *ruleset = Some((floor::landlock_ruleset(&fence.handled)?, fence));
    }
    let grant = |place: BorrowedFd<'_>, rights: fn(&Fence) -> u64| match &*ruleset {
        Some((ruleset, fence)) => floor::landlock_grant(ruleset.as_fd(), place, rights(fence)),
        None => Ok(()),
    };
    for path in sandbox.places.private.iter().take(MAX_PRIVATE) {
        if sandbox.walls.up(Wall::PrivateTmp) {
            floor::mount_tmpfs(path, &way.tmpfs)?;
        }
        grant(floor::open(path, libc::O_PATH)?.as_fd(), |f| {
            f.in_private_dirs
        })?;
    }
    for path in sandbox.places.devices.iter().take(MAX_DEVICES) {
        let mount = floor::copy_mount(path)?;
        floor::attach_mount(mount.as_fd(), path)?;
        floor::allow_devices(mount.as_fd())?;
        grant(mount.as_fd(), |f| f.on_devices)?;
    }
    if way.stdin.is_none() {
        let null = floor::open(c"/dev/null", libc::O_RDONLY)?;
        floor::place(null.as_fd(), 0)?;
    }
    Ok(Taken::Done)
}

fn keyring(sandbox: &Sandbox) -> io::Result<Taken> {
    if !sandbox.kernel.keyrings {
        return Ok(Taken::Absent);
    }
    floor::new_session_keyring()?;
    Ok(Taken::Done)
}

fn identity(way: &Way<'_>) -> io::Result<Taken> {
    let walls = way.sandbox.walls;
    match (walls.up(Wall::Identity), walls.up(Wall::Capabilities)) {
        (true, true) => become_nobody(way.uid, way.gid, &way.sandbox.groups)?,
        // For tests of the witness alone.
        (true, false) => {
            floor::keep_capabilities()?;
            floor::become_user(way.uid, way.gid, &way.sandbox.groups)?;
        }
        (false, _) => {
            floor::drop_bounding()?;
            floor::lock_securebits()?;
            floor::clear_capabilities()?;
        }
    }
    Ok(Taken::Done)
}

fn no_new_privs() -> io::Result<Taken> {
    floor::no_new_privs()?;
    Ok(Taken::Done)
}

/// The home is made and the directory opened by the job's own identity, inside.
fn cwd(way: &Way<'_>) -> io::Result<Taken> {
    if way.sandbox.walls.up(Wall::PrivateTmp) {
        floor::make_dir(HOME, 0o700)?;
    }
    floor::change_dir(way.cwd)?;
    Ok(Taken::Done)
}

fn landlock(ruleset: Option<(OwnedFd, Fence)>) -> io::Result<Taken> {
    let Some((ruleset, _)) = ruleset else {
        return Ok(Taken::Absent);
    };
    floor::landlock_restrict(ruleset.as_fd())?;
    Ok(Taken::Done)
}

fn seccomp(sandbox: &Sandbox) -> io::Result<Taken> {
    floor::install_filter(sandbox.program.instructions())?;
    Ok(Taken::Done)
}

/// Tries each candidate; like execvp(3) it goes on after one that may not be executed, but
/// never hands a file to a shell.
fn execute(way: &Way<'_>) -> Failure {
    let exec = |why, errno| Failure {
        step: Step::Exec,
        why,
        errno,
    };
    let mut refused = None;
    for program in &way.candidates {
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
