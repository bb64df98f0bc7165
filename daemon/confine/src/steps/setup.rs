//! What a worker does once, and all its children have from their birth.

use crate::steps::report::{StepResult, Taken};
use crate::steps::seccomp;
use crate::{Layer, Sandbox, sys};
use std::io;
use std::os::fd::OwnedFd;

/// A worker that sets itself up.
pub(crate) struct SettingUp<'a> {
    pub(crate) sandbox: &'a Sandbox,
    /// Gets its jobs' connect(2), if they have a bus.
    pub(crate) listener: Option<OwnedFd>,
}

pub(crate) fn not_dumpable(_: &mut SettingUp<'_>) -> Taken {
    sys::set_dumpable(false)?;
    Ok(StepResult::Done)
}

pub(crate) fn signals(_: &mut SettingUp<'_>) -> Taken {
    sys::default_signals()?;
    Ok(StepResult::Done)
}

pub(crate) fn umask(_: &mut SettingUp<'_>) -> Taken {
    sys::reset_umask_and_personality()?;
    Ok(StepResult::Done)
}

pub(crate) fn scheduling(SettingUp { sandbox, .. }: &mut SettingUp<'_>) -> Taken {
    sandbox
        .layers
        .take_if(Layer::Scheduling, sys::reset_scheduling)
}

/// A bounding set never grows, so a job gets no more capabilities than its profile has. capabilities(7).
pub(crate) fn bounding_set(SettingUp { sandbox, .. }: &mut SettingUp<'_>) -> Taken {
    let kept = sandbox.credentials.capabilities;
    match sandbox.layers.is_on(Layer::Identity) {
        true => sandbox
            .layers
            .take_if(Layer::Capabilities, || sys::drop_bounding_but(kept)),
        false => Ok(StepResult::Absent),
    }
}

/// Before the filter that refuses seccomp(2).
pub(crate) fn bus(own: &mut SettingUp<'_>) -> Taken {
    if !own.sandbox.class.bus {
        return Ok(StepResult::Absent);
    }
    let program = seccomp::bus().map_err(io::Error::other)?;
    match sys::install_filter_with_listener(program.instructions()) {
        Ok(listener) => own.listener = Some(listener),
        // Whoever supervises this machine, as managers of containers can, has the only listener that the kernel permits.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let program = seccomp::no_bus().map_err(io::Error::other)?;
            sys::install_filter(program.instructions())?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(StepResult::Done)
}

pub(crate) fn filter(SettingUp { sandbox, .. }: &mut SettingUp<'_>) -> Taken {
    sandbox.filter.install_first()?;
    Ok(StepResult::Done)
}
