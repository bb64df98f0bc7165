//! What a job's child does inside the sandbox, with numbers of descriptors that it passes on or keeps until the exec.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use remit_spawn::{Ends, MOST_ARGUMENTS, ResourceLimit};

use crate::spec::compiled::{Base, trusted};
use crate::steps::arguments::{self, Prepared, Thing};
use crate::steps::prepare::Preparing;
use crate::steps::report::{Fault, StepResult, Taken};
use crate::supervise::task_count::{set_limits, tasks_of};
use crate::sys::{self, Pointers};
use crate::{Error, Job, Layer, Measured, Result, Sandbox, Why};

const HOME: &CStr = c"/tmp/home";

pub(crate) struct Entering<'a> {
    pub(crate) env: &'a ChildEnv<'a>,
    pub(crate) prepared: Preparing<'a>,
    pub(crate) steps: BorrowedFd<'a>,
    /// Existing tasks of the job's user, which do not count for its limit.
    pub(crate) other_tasks: u64,
}

/// After the cut from the host's tree. Without `no_new_privs` root may install it, but nothing runs.
pub(crate) fn filter(child: &mut Entering<'_>) -> Taken {
    if !sys::has_no_new_privs() {
        return Err(Fault::because(Why::Unmet));
    }
    child.env.sandbox.filter.install_rest()?;
    Ok(StepResult::Done)
}

pub(crate) fn loginuid(child: &mut Entering<'_>) -> Taken {
    let file = child.prepared.loginuid.take();
    let (Some(uid), Some(file)) = (&child.env.loginuid, file) else {
        return Ok(StepResult::Absent);
    };
    match file {
        Ok(file) => {
            sys::write(file.as_fd(), uid.as_bytes())?;
            Ok(StepResult::Done)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(StepResult::Absent),
        Err(e) => Err(e.into()),
    }
}

/// The last use of the host's `/proc`, through which all of the host can be reached.
pub(crate) fn count_tasks(child: &mut Entering<'_>) -> Taken {
    drop(child.prepared.mount_ns.take());
    if let (Some(proc), Some(user)) = (child.prepared.proc.take(), child.env.others) {
        child.other_tasks = tasks_of(proc.as_fd(), user);
    }
    Ok(StepResult::Done)
}

/// Copies all of them above the numbers in use first, so that none covers one that is still to be moved.
pub(crate) fn descriptors(child: &mut Entering<'_>) -> Taken {
    let env = child.env;
    let steps_at = steps_at(env);
    let above = |fd: BorrowedFd<'_>| sys::copy_above(fd, (steps_at + 1).max(16));
    let stdout = above(env.stdout)?;
    let stderr = above(env.stderr)?;
    let steps = above(env.steps)?;
    // Without a stdin, /dev/null is opened inside. Until then something must hold its number.
    let stdin = above(env.stdin.unwrap_or(env.steps))?;
    let script = env.script.map(above).transpose()?;
    let mut opened = [None; MOST_ARGUMENTS];
    for (copy, argument) in opened.iter_mut().zip(env.arguments) {
        *copy = match (argument.number, &argument.thing) {
            (Some(at), Thing::Secret(fd) | Thing::Path { copy: Some(fd), .. }) => {
                Some((above(*fd)?, at))
            }
            (Some(at), Thing::Path { copy: None, .. }) => Some((above(env.steps)?, at)),
            (None, _) => None,
        };
    }
    sys::renumber(stdin, 0)?;
    sys::renumber(stdout, 1)?;
    sys::renumber(stderr, 2)?;
    if let Some(script) = script {
        sys::renumber(script, 3)?;
    }
    for (copy, at) in opened.into_iter().flatten() {
        sys::renumber(copy, at)?;
    }
    sys::renumber_cloexec(steps, steps_at)?;
    child.steps = sys::borrowed(steps_at);
    if env.sandbox.layers.is_on(Layer::Descriptors) {
        sys::close_from(steps_at + 1)?;
    }
    Ok(StepResult::Done)
}

pub(crate) fn rlimits(child: &mut Entering<'_>) -> Taken {
    let Entering {
        env, other_tasks, ..
    } = child;
    env.sandbox
        .layers
        .take_if(Layer::Rlimits, || set_limits(env.limits, *other_tasks))
}

pub(crate) fn home(child: &mut Entering<'_>) -> Taken {
    let sandbox = child.env.sandbox;
    let layers = sandbox.layers;
    // Such a job makes no directory anywhere.
    if sandbox.class.inspects && layers.is_on(Layer::SeccompRefused) {
        return Ok(StepResult::Absent);
    }
    let is_private = match sandbox.base {
        Base::Strict(_) => layers.is_on(Layer::PrivateTmp) && layers.is_on(Layer::PrivateRoot),
        Base::View(_) => true,
        Base::Read(_) | Base::Host | Base::Extract(_) => layers.is_on(Layer::PrivateTmp),
    };
    if is_private {
        sys::make_dir(HOME, 0o700)?;
    }
    Ok(StepResult::Done)
}

pub(crate) fn cwd(child: &mut Entering<'_>) -> Taken {
    if child.env.stdin.is_none() {
        let null = sys::open(c"/dev/null", libc::O_RDONLY)?;
        sys::renumber(null.as_fd(), 0)?;
    }
    sys::change_dir(child.env.cwd)?;
    Ok(StepResult::Done)
}

pub(crate) fn arguments(child: &mut Entering<'_>) -> Taken {
    let env = child.env;
    arguments::open(env.arguments, trusted(&env.sandbox.credentials, env.uid))
}

/// Gives up the capabilities that only the arguments needed. The program has a descriptor, and no right.
pub(crate) fn powerless(child: &mut Entering<'_>) -> Taken {
    let sandbox = child.env.sandbox;
    if !sandbox.is_powerless() {
        return Ok(StepResult::Absent);
    }
    sandbox
        .layers
        .take_if(Layer::Capabilities, sys::clear_capabilities)?;
    Ok(StepResult::Done)
}

pub(crate) struct ChildEnv<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) loginuid: Option<CString>,
    pub(crate) limits: &'a [ResourceLimit],
    /// The user whose other tasks do not count for the limit.
    pub(crate) others: Option<u32>,
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    /// A script, or the top of a kept view.
    pub(crate) script: Option<BorrowedFd<'a>>,
    /// The user namespace of a kept view.
    pub(crate) users: Option<BorrowedFd<'a>>,
    pub(crate) measured: &'a [Measured],
    pub(crate) arguments: &'a [Prepared<'a>],
    pub(crate) steps: BorrowedFd<'a>,
    pub(crate) cwd: &'a CStr,
    pub(crate) candidates: Vec<CString>,
    pub(crate) path: &'a [CString],
    pub(crate) argv: Pointers<'a>,
    pub(crate) env: Pointers<'a>,
}

/// Prepares a vetted job for its child, and does `then` with it.
pub(crate) fn with_child_env<T>(
    sandbox: &Sandbox,
    job: &Job<'_>,
    [out, err, report]: &Ends,
    then: impl FnOnce(&ChildEnv<'_>) -> T,
) -> Result<T> {
    let (uid, gid) = sandbox.credentials.user.unwrap_or((job.uid, job.gid));
    let rows = sandbox.ceilings.apply(&sandbox.processes(job.limits));
    let script = job.script.or(job.kept.map(|kept| kept.tree));
    let first = arguments_at(script.is_some());
    let (argv, arguments) = arguments::prepare(job.argv, job.arguments, first)?;
    Ok(then(&ChildEnv {
        sandbox,
        uid,
        gid,
        loginuid: job.loginuid.map(|uid| text(uid.to_string())).transpose()?,
        limits: &rows,
        others: sandbox.credentials.user.and(job.limits.others),
        stdin: job.stdin,
        stdout: out.as_fd(),
        stderr: err.as_fd(),
        script,
        users: job.kept.map(|kept| kept.users),
        measured: job.measured,
        arguments: &arguments,
        steps: report.as_fd(),
        cwd: job.cwd,
        candidates: candidates(job)?,
        path: job.path,
        argv: Pointers::new(&argv),
        env: Pointers::new(job.env),
    }))
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

fn arguments_at(script: bool) -> RawFd {
    if script { 4 } else { 3 }
}

pub(crate) fn steps_at(child_env: &ChildEnv<'_>) -> RawFd {
    let last = child_env.arguments.iter().filter_map(|a| a.number).max();
    last.map_or(arguments_at(child_env.script.is_some()), |last| last + 1)
}
