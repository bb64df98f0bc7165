//! What a job's child does with its job, inside the sandbox.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::spec::compiled::{Base, trusted};
use crate::steps::arguments::{self, Thing};
use crate::steps::child_env::{ChildEnv, steps_at};
use crate::steps::prepare::Preparing;
use crate::steps::report::{Fault, StepResult, Taken};
use crate::supervise::task_count::tasks_of;
use crate::sys;
use crate::{Layer, Why};
use remit_spawn::{MOST_ARGUMENTS, ResourceLimit};

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
        Base::Read(_) | Base::Host => layers.is_on(Layer::PrivateTmp),
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

/// Sets the limits of this process. So many tasks of its user do not count. setrlimit(2).
fn set_limits(rows: &[ResourceLimit], others: u64) -> io::Result<()> {
    let set = |row: &ResourceLimit| sys::set_limit(row.resource, row.soft, row.hard);
    // If the raised value is above the own hard limit, the stricter one holds.
    rows.iter()
        .try_for_each(|row| set(&row.beside(others)).or_else(|_| set(row)))
}
