//! The child's way from the fork to the exec: every sandbox layer in its order, each step by name.
//!
//! Everything that allocates was prepared before the fork. The order is forced: first what needs root (mounts), then
//! the identity, then what only takes rights away. The login uid and the OOM score are files of /proc, so they come
//! before the tree is read-only.
//!
//! In a `strict` sandbox the child becomes the job's monitor half-way, and the job continues as its child (`monitor`).
//! A child of a worker has inherited some of the steps.

use crate::net::{Entered, Net, Relay};
use crate::spec::compiled::{Base, Strict, trusted};
use crate::spec::limits::{self};
use crate::steps::arguments::{self};
use crate::steps::beginning::{begin, is_reported};
use crate::steps::child_env::{ChildEnv, if_enabled, ruleset_at, steps_at};
use crate::steps::landlock::Fence;
use crate::steps::private_root::{self, MountParams};
use crate::steps::report::{Failure, Fault, StepLog, StepResult};
use crate::steps::{identity, mounts};
use crate::supervise::pidns_monitor::{Go, Monitor};
use crate::sys::{self, Propagation};
use crate::{Layer, Sandbox, Step, steps::exec};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

const HOME: &CStr = c"/tmp/home";

const NOT_STARTED: i32 = 127;

pub(crate) fn run(child_env: &ChildEnv<'_>) -> i32 {
    confined(child_env, |steps| {
        let failure = exec::execute(child_env);
        let _ = StepLog::default().send(steps, Some(failure));
        NOT_STARTED
    })
}

/// Takes every step and reports it, then does `then` in the process that is the job. Returns an exit status.
pub(crate) fn confined(child_env: &ChildEnv<'_>, then: impl FnOnce(BorrowedFd<'_>) -> i32) -> i32 {
    let mut step_log = StepLog::default();
    let result = match &child_env.sandbox.base {
        Base::Strict(strict) if child_env.inherited.is_none() => {
            match take_strict_steps(child_env, strict, &mut step_log, then) {
                Err(failure) => Err(failure),
                Ok(never) => match never {},
            }
        }
        // Includes a `strict` job that was pre-forked in its namespaces.
        Base::Read(_) | Base::Strict(_) | Base::Host => {
            take_steps(child_env, &mut step_log).map(|()| then)
        }
    };
    if !is_reported(
        child_env,
        !result.as_ref().is_err_and(|failure| failure.is_early()),
    ) {
        return NOT_STARTED;
    }
    match result {
        Ok(then) => go_on(child_env, &mut step_log, then),
        Err(failure) => fail(child_env, &mut step_log, failure),
    }
}

/// Sends the notes first, because nothing can be written after an exec.
fn go_on(
    child_env: &ChildEnv<'_>,
    step_log: &mut StepLog,
    then: impl FnOnce(BorrowedFd<'_>) -> i32,
) -> i32 {
    let steps = sys::borrowed(steps_at(child_env));
    match step_log.send(steps, None) {
        Ok(()) => then(steps),
        Err(_) => NOT_STARTED,
    }
}

fn fail(child_env: &ChildEnv<'_>, step_log: &mut StepLog, failure: Failure) -> i32 {
    let to = match failure.is_early() {
        true => child_env.steps,
        false => sys::borrowed(steps_at(child_env)),
    };
    let _ = step_log.send(to, Some(failure));
    NOT_STARTED
}

fn take_steps(child_env: &ChildEnv<'_>, step_log: &mut StepLog) -> Result<(), Failure> {
    begin(child_env, step_log)?;
    if let Base::Strict(strict) = &child_env.sandbox.base
        && own_network(child_env.sandbox, strict).is_some()
    {
        step_log.take(Step::Network, Ok(StepResult::Done))?;
    }
    step_log.take(
        Step::Rlimits,
        if_enabled(child_env, Layer::Rlimits, || rlimits(child_env)),
    )?;
    let mut ruleset = None;
    if let Some(inherited) = child_env.inherited {
        // The worker has done all of this; otherwise it would not have forked.
        step_log.take(Step::Namespaces, Ok(StepResult::Done))?;
        let tree = match child_env.sandbox.base {
            Base::Strict(_) => Step::Root,
            Base::Read(_) | Base::Host => Step::Mounts,
        };
        step_log.take(tree, Ok(StepResult::Done))?;
        ruleset = inherited.ruleset.map(|_| sys::owned(ruleset_at(child_env)));
    } else if let Base::Read(overmounts) = &child_env.sandbox.base {
        step_log.take(Step::Namespaces, namespaces())?;
        let result = new_ruleset(child_env.sandbox)
            .map_err(Fault::from)
            .and_then(|new| {
                ruleset = new;
                let params = MountParams {
                    layers: child_env.sandbox.layers,
                    whole: true,
                    shared: &child_env.tmpfs,
                    own: &child_env.tmpfs,
                    ruleset: granted(child_env.sandbox, &ruleset),
                    stage: None,
                };
                mounts::confine(overmounts, &params, Propagation::Private)?;
                Ok(StepResult::Done)
            });
        step_log.take(Step::Mounts, result)?;
    }
    take_last_steps(child_env, step_log, ruleset)
}

/// Takes every step of a job that has its own namespaces. In the monitor it returns only with a failure.
fn take_strict_steps(
    child_env: &ChildEnv<'_>,
    strict: &Strict,
    step_log: &mut StepLog,
    then: impl FnOnce(BorrowedFd<'_>) -> i32,
) -> Result<std::convert::Infallible, Failure> {
    begin(child_env, step_log)?;
    let mut relay = None;
    step_log.take(Step::Network, network(child_env, strict, &mut relay))?;
    step_log.take(
        Step::Rlimits,
        if_enabled(child_env, Layer::Rlimits, || rlimits(child_env)),
    )?;
    let monitor = Monitor {
        filters: &strict.filters,
        layers: child_env.sandbox.layers,
        call: child_env.sandbox.kernel.fork,
        uid: child_env.own.0,
        gid: child_env.own.1,
        shared_pages: &child_env.shared_pages,
        hello: None,
    };
    let entered = monitor.enter().map(|()| StepResult::Done);
    let before = *step_log;
    step_log.take(Step::Namespaces, entered.map_err(Fault::from))?;
    let mut job = *step_log;
    let watched = monitor.watch(relay, |go| match inside(child_env, strict, &mut job, go) {
        Ok(true) => go_on(child_env, &mut job, then),
        Ok(false) => NOT_STARTED,
        Err(failure) => fail(child_env, &mut job, failure),
    });
    *step_log = before;
    watched.map_err(|fault| Failure {
        step: Step::Namespaces,
        fault,
    })
}

/// Takes the rest of a `strict` job's steps. False: it must not execute, and the monitor has reported why.
fn inside(
    child_env: &ChildEnv<'_>,
    strict: &Strict,
    step_log: &mut StepLog,
    go: Go,
) -> Result<bool, Failure> {
    let mut ruleset = None;
    let private = [child_env.tmpfs.as_c_str(), child_env.scratch.as_c_str()];
    let built = new_root(
        child_env.sandbox,
        strict,
        private,
        child_env.stage,
        Propagation::Private,
    );
    let result = built.map(|new| {
        ruleset = new;
        StepResult::Done
    });
    step_log.take(Step::Root, result)?;
    if !go.wait() {
        return Ok(false);
    }
    take_last_steps(child_env, step_log, ruleset)?;
    Ok(true)
}

/// Builds a `strict` job's root in the process that will live in it, and returns its ruleset. `private`: options of
/// directories that are open to all users, and of those of the job's user.
pub(crate) fn new_root(
    sandbox: &Sandbox,
    strict: &Strict,
    private: [&CStr; 2],
    stage: Option<&private_root::Mount>,
    propagation: Propagation,
) -> Result<Option<OwnedFd>, Fault> {
    // The monitor has blocked signals.
    sys::default_signals()?;
    let ruleset = new_ruleset(sandbox)?;
    let [shared, own] = private;
    let params = MountParams {
        layers: sandbox.layers,
        whole: false,
        shared,
        own,
        ruleset: granted(sandbox, &ruleset),
        stage,
    };
    private_root::build(&strict.root, &params, propagation)?;
    Ok(ruleset)
}

fn take_last_steps(
    child_env: &ChildEnv<'_>,
    step_log: &mut StepLog,
    ruleset: Option<OwnedFd>,
) -> Result<(), Failure> {
    step_log.take(
        Step::Keyring,
        if_enabled(child_env, Layer::Keyring, || keyring(child_env)),
    )?;
    step_log.take(Step::Identity, identity::become_job(child_env))?;
    let trusted = trusted(&child_env.sandbox.credentials, child_env.uid);
    if let Base::Host = child_env.sandbox.base {
        step_log.take(Step::Cwd, cwd(child_env))?;
        return step_log.take(
            Step::Arguments,
            arguments::open(child_env.arguments, trusted),
        );
    }
    step_log.take(
        Step::NoNewPrivs,
        if_enabled(child_env, Layer::NoNewPrivs, no_new_privs),
    )?;
    step_log.take(Step::Cwd, cwd(child_env))?;
    step_log.take(
        Step::Arguments,
        arguments::open(child_env.arguments, trusted),
    )?;
    step_log.take(Step::Landlock, landlock(child_env, ruleset))?;
    step_log.take(Step::Seccomp, seccomp(child_env))
}

fn rlimits(child_env: &ChildEnv<'_>) -> io::Result<StepResult> {
    limits::set(child_env.limits, child_env.others).map(|()| StepResult::Done)
}

fn namespaces() -> Result<StepResult, Fault> {
    sys::own_mounts()?;
    Ok(StepResult::Done)
}

fn network(
    child_env: &ChildEnv<'_>,
    strict: &Strict,
    relay: &mut Option<Relay>,
) -> Result<StepResult, Fault> {
    let Some((net, entered)) = new_network(child_env.sandbox, strict)? else {
        return Ok(StepResult::Absent);
    };
    let (uid, gid) = child_env.own;
    *relay = net.relay(entered, child_env.sandbox.kernel.fork, uid, gid)?;
    Ok(StepResult::Done)
}

fn own_network<'a>(sandbox: &Sandbox, strict: &'a Strict) -> Option<&'a Net> {
    let is_on = sandbox.layers.is_on(Layer::NetworkNamespace);
    strict.net.as_ref().filter(|_| is_on)
}

pub(crate) fn new_network<'a>(
    sandbox: &Sandbox,
    strict: &'a Strict,
) -> io::Result<Option<(&'a Net, Entered)>> {
    let net = own_network(sandbox, strict);
    net.map(|net| Ok((net, net.enter()?))).transpose()
}

fn new_ruleset(sandbox: &Sandbox) -> io::Result<Option<OwnedFd>> {
    let fence = sandbox.fence.as_ref();
    fence
        .map(|fence| sys::landlock_ruleset(&fence.handled))
        .transpose()
}

fn granted<'a>(
    sandbox: &'a Sandbox,
    ruleset: &'a Option<OwnedFd>,
) -> Option<(BorrowedFd<'a>, &'a Fence)> {
    Some((ruleset.as_ref()?.as_fd(), sandbox.fence.as_ref()?))
}

fn keyring(child_env: &ChildEnv<'_>) -> io::Result<StepResult> {
    match child_env.inherited {
        Some(inherited) if inherited.is_early() && child_env.sandbox.kernel.keyrings => {
            Ok(StepResult::Done)
        }
        _ => new_keyring(child_env.sandbox),
    }
}

pub(crate) fn new_keyring(sandbox: &Sandbox) -> io::Result<StepResult> {
    if !sandbox.kernel.keyrings {
        return Ok(StepResult::Absent);
    }
    sys::new_session_keyring()?;
    Ok(StepResult::Done)
}

fn no_new_privs() -> io::Result<StepResult> {
    sys::no_new_privs()?;
    Ok(StepResult::Done)
}

fn cwd(child_env: &ChildEnv<'_>) -> Result<StepResult, Fault> {
    let layers = child_env.sandbox.layers;
    let private = match child_env.sandbox.base {
        Base::Read(_) => layers.is_on(Layer::PrivateTmp),
        Base::Strict(_) => layers.is_on(Layer::PrivateTmp) && layers.is_on(Layer::PrivateRoot),
        Base::Host => false,
    };
    if private {
        sys::make_dir(HOME, 0o700)?;
    }
    if child_env.stdin.is_none() {
        let null = sys::open(c"/dev/null", libc::O_RDONLY)?;
        sys::renumber(null.as_fd(), 0)?;
    }
    sys::change_dir(child_env.cwd)?;
    Ok(StepResult::Done)
}

fn landlock(child_env: &ChildEnv<'_>, ruleset: Option<OwnedFd>) -> Result<StepResult, Fault> {
    let is_in_force = child_env
        .inherited
        .is_some_and(|inherited| inherited.closing.is_none());
    if is_in_force && child_env.sandbox.fence.is_some() {
        return Ok(StepResult::Done);
    }
    let Some(ruleset) = ruleset else {
        return Ok(StepResult::Absent);
    };
    sys::landlock_restrict(ruleset.as_fd(), child_env.sandbox.landlock_flags())?;
    Ok(StepResult::Done)
}

fn seccomp(child_env: &ChildEnv<'_>) -> Result<StepResult, Fault> {
    let sandbox = child_env.sandbox;
    if let Some(inherited) = child_env.inherited {
        if let Some(closing) = inherited.closing {
            sys::install_filter(closing.instructions())?;
        }
        return Ok(StepResult::Done);
    }
    match (&sandbox.reported, &sandbox.program) {
        (Some(reported), _) => reported.install()?,
        (None, Some(program)) => sys::install_filter(program.instructions())?,
        (None, None) => return Err(Fault::because(crate::Why::Unmet)),
    }
    Ok(StepResult::Done)
}
