//! Numbers of the descriptors that a child gives its program, and of those that it keeps until the exec.

use crate::steps::child_env::ChildEnv;
use std::os::fd::RawFd;

pub(crate) fn arguments_at(script: bool) -> RawFd {
    if script { 4 } else { 3 }
}

pub(crate) fn steps_at(child_env: &ChildEnv<'_>) -> RawFd {
    let last = child_env.arguments.iter().filter_map(|a| a.number).max();
    last.map_or(arguments_at(child_env.script.is_some()), |last| last + 1)
}

/// A worker's child has three more descriptors after the step pipe: ruleset, go pipe and the host's `/proc`.
pub(crate) fn ruleset_at(child_env: &ChildEnv<'_>) -> RawFd {
    steps_at(child_env) + 1
}

pub(crate) fn go_at(child_env: &ChildEnv<'_>) -> RawFd {
    steps_at(child_env) + 2
}

pub(crate) fn own_at(child_env: &ChildEnv<'_>) -> RawFd {
    steps_at(child_env) + 3
}
