//! The steps that every job begins with. They need the host's `/proc` and the warden's descriptors.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::spec::compiled::Base;
use crate::steps::arguments::Thing;
use crate::steps::child_env::{
    ChildEnv, ProcAccess, go_at, if_enabled, own_at, ruleset_at, steps_at,
};
use crate::steps::report::{Failure, Fault, StepLog, StepResult};
use crate::sys;
use remit_spawn::{Layer, MOST_ARGUMENTS, Step, UNREPORTED, UNREPORTED_LEN};

pub(crate) fn begin(child_env: &ChildEnv<'_>, step_log: &mut StepLog) -> Result<(), Failure> {
    step_log.take(Step::Session, session(child_env))?;
    step_log.take(Step::Cgroup, cgroup(child_env))?;
    step_log.take(Step::Descriptors, descriptors(child_env))?;
    step_log.take(Step::Loginuid, loginuid(child_env))?;
    step_log.take(
        Step::Scheduling,
        if_enabled(child_env, Layer::Scheduling, || scheduling(child_env)),
    )?;
    if child_env.inherited.is_some() {
        // Through it all of the host can be reached.
        sys::close_one(own_at(child_env));
    }
    Ok(())
}

fn session(child_env: &ChildEnv<'_>) -> Result<StepResult, Fault> {
    if !child_env
        .inherited
        .is_some_and(|inherited| inherited.is_early())
    {
        sys::new_session()?;
    }
    if child_env.inherited.is_some() {
        return Ok(StepResult::Done);
    }
    sys::default_signals()?;
    sys::reset_umask_and_personality()?;
    Ok(StepResult::Done)
}

pub(crate) fn join(dir: BorrowedFd<'_>) -> io::Result<()> {
    let procs = sys::open_at(Some(dir), c"cgroup.procs", libc::O_WRONLY)?;
    sys::write(procs.as_fd(), b"0").map(drop)
}

fn cgroup(child_env: &ChildEnv<'_>) -> Result<StepResult, Fault> {
    if let Some(dir) = child_env.join_cgroup {
        join(dir)?;
        // A process that ends all jobs when the parent dies may have done so before this one was in the cgroup.
        if sys::parent() != child_env.parent {
            return Err(Fault::because(crate::Why::Died));
        }
    }
    Ok(if child_env.has_cgroup {
        StepResult::Done
    } else {
        StepResult::Absent
    })
}

/// Copies all of them above the numbers in use first, so that none covers one that is still to be moved.
fn descriptors(child_env: &ChildEnv<'_>) -> Result<StepResult, Fault> {
    let steps_at = steps_at(child_env);
    let above = |fd: BorrowedFd<'_>| sys::copy_above(fd, (own_at(child_env) + 1).max(16));
    let stdout = above(child_env.stdout)?;
    let stderr = above(child_env.stderr)?;
    let steps = above(child_env.steps)?;
    // Without a stdin, /dev/null is opened inside. Until then something must hold its number.
    let stdin = above(child_env.stdin.unwrap_or(child_env.steps))?;
    let script = child_env.script.map(above).transpose()?;
    let mut opened = [None; MOST_ARGUMENTS];
    for (copy, argument) in opened.iter_mut().zip(child_env.arguments) {
        *copy = match (argument.number, &argument.thing) {
            (Some(at), Thing::Secret(fd) | Thing::Path { copy: Some(fd), .. }) => {
                Some((above(*fd)?, at))
            }
            (Some(at), Thing::Path { copy: None, .. }) => Some((above(child_env.steps)?, at)),
            (None, _) => None,
        };
    }
    let (mut ruleset, mut go, mut own) = (None, None, None);
    if let Some(inherited) = child_env.inherited {
        ruleset = inherited.ruleset.map(above).transpose()?;
        go = inherited.go.map(above).transpose()?;
        own = inherited.own().map(above).transpose()?;
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
    let further = [
        (ruleset, ruleset_at(child_env)),
        (go, go_at(child_env)),
        (own, own_at(child_env)),
    ];
    for (copy, at) in further {
        if let Some(copy) = copy {
            sys::renumber_cloexec(copy, at)?;
        }
    }
    if child_env.sandbox.layers.is_on(Layer::Descriptors) {
        let last = child_env.inherited.map_or(steps_at, |_| own_at(child_env));
        // The number of an absent descriptor must be closed, too.
        for (_, at) in further.iter().filter(|(copy, _)| copy.is_none()) {
            if *at <= last {
                sys::close_one(*at);
            }
        }
        sys::close_from(last + 1)?;
    }
    Ok(StepResult::Done)
}

/// Opens a file of this process in the host's `/proc` for writing; `path` if nothing was inherited.
fn own_file(child_env: &ChildEnv<'_>, name: &CStr, path: &CStr) -> io::Result<OwnedFd> {
    match child_env.inherited.map(|inherited| inherited.own) {
        Some(ProcAccess::Proc(_)) => {
            sys::open_at(Some(sys::borrowed(own_at(child_env))), name, libc::O_WRONLY)
        }
        Some(ProcAccess::Loginuid(Some(_))) => Ok(sys::owned(own_at(child_env))),
        Some(ProcAccess::Loginuid(None)) => Err(io::ErrorKind::NotFound.into()),
        None => sys::open(path, libc::O_WRONLY),
    }
}

fn loginuid(child_env: &ChildEnv<'_>) -> Result<StepResult, Fault> {
    let Some(uid) = &child_env.loginuid else {
        return Ok(StepResult::Absent);
    };
    match own_file(child_env, c"self/loginuid", c"/proc/self/loginuid") {
        Ok(file) => {
            sys::write(file.as_fd(), uid.as_bytes())?;
            Ok(StepResult::Done)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(StepResult::Absent),
        Err(e) => Err(e.into()),
    }
}

fn scheduling(child_env: &ChildEnv<'_>) -> io::Result<StepResult> {
    match child_env.inherited {
        None => sys::reset_scheduling()?,
        Some(inherited) if inherited.is_early() => return Ok(StepResult::Done),
        Some(_) => {}
    }
    let file = own_file(
        child_env,
        c"self/oom_score_adj",
        c"/proc/self/oom_score_adj",
    )?;
    let score = match child_env.sandbox.base {
        // A job that changes the host must not be killed first, half-way.
        Base::Host => &b"0"[..],
        Base::Read(_) | Base::Strict(_) => FIRST_TO_GO,
    };
    sys::write(file.as_fd(), score)?;
    Ok(StepResult::Done)
}

/// The maximum: memory in pipes and sockets counts for no process, so with less a large program of the host would go.
pub(crate) const FIRST_TO_GO: &[u8] = b"1000";

/// Returns true if the warden knows of this child. Otherwise its worker was killed before it could report the child,
/// and it must not become the job: it only reports its pid, to be reaped. `moved`: descriptors have their final
/// numbers.
pub(crate) fn is_reported(child_env: &ChildEnv<'_>, moved: bool) -> bool {
    let Some(go) = child_env.inherited.and_then(|inherited| inherited.go) else {
        return true;
    };
    let [go, steps] = match moved {
        false => [go, child_env.steps],
        true => [go_at(child_env), steps_at(child_env)].map(sys::borrowed),
    };
    let reported = matches!(sys::read(go, &mut [0]), Ok(1));
    if moved {
        sys::close_one(go_at(child_env));
    }
    let mut said = [UNREPORTED; UNREPORTED_LEN];
    // The tree is the host's, and so are the pids in its /proc.
    if !reported
        && let Some(pid) = said.get_mut(1..)
        && let Ok(length) = sys::read_link(c"/proc/self", pid)
    {
        let _ = sys::write(steps, said.get(..=length).unwrap_or_default());
    }
    reported
}
