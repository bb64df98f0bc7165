//! What a worker does once, and all its children have from their birth.

use crate::steps::report::{StepResult, Taken};
use crate::{Layer, Sandbox, sys};

pub(crate) fn not_dumpable(_: &Sandbox) -> Taken {
    sys::set_dumpable(false)?;
    Ok(StepResult::Done)
}

pub(crate) fn signals(_: &Sandbox) -> Taken {
    sys::default_signals()?;
    Ok(StepResult::Done)
}

pub(crate) fn umask(_: &Sandbox) -> Taken {
    sys::reset_umask_and_personality()?;
    Ok(StepResult::Done)
}

pub(crate) fn scheduling(sandbox: &Sandbox) -> Taken {
    sandbox
        .layers
        .take_if(Layer::Scheduling, sys::reset_scheduling)
}

/// A bounding set never grows, so a job gets no more capabilities than its profile has. capabilities(7).
pub(crate) fn bounding_set(sandbox: &Sandbox) -> Taken {
    let kept = sandbox.credentials.capabilities;
    match sandbox.layers.is_on(Layer::Identity) {
        true => sandbox
            .layers
            .take_if(Layer::Capabilities, || sys::drop_bounding_but(kept)),
        false => Ok(StepResult::Absent),
    }
}

pub(crate) fn filter(sandbox: &Sandbox) -> Taken {
    sandbox.filter.install_first()?;
    Ok(StepResult::Done)
}
