//! Says which layers are switched on. Collects in memory what a child has done on the way to its exec, and reports it.

use std::io;
use std::os::fd::BorrowedFd;

use remit_spawn::{DONE, FAILED, FAILURE_LEN, Layer, NOWHERE, Step, Why};
use serde::{Deserialize, Serialize};

use crate::sys;

pub(crate) type Taken = Result<StepResult, Fault>;

pub(crate) enum StepResult {
    Done,
    Absent,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    why: Why,
    errno: i32,
    at: u16,
}

impl Fault {
    pub(crate) fn because(why: Why) -> Fault {
        Fault {
            why,
            errno: 0,
            at: NOWHERE,
        }
    }

    pub(crate) fn into_error(self) -> io::Error {
        io::Error::from_raw_os_error(match self.errno {
            0 => libc::EINVAL,
            errno => errno,
        })
    }

    pub(crate) fn with_errno(self, errno: i32) -> Fault {
        Fault { errno, ..self }
    }

    pub(crate) fn at(self, at: u16) -> Fault {
        Fault { at, ..self }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        let errno = error.raw_os_error();
        Fault {
            why: if errno.is_some() {
                Why::Errno
            } else {
                Why::Unmet
            },
            errno: errno.unwrap_or(0),
            at: NOWHERE,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) fault: Fault,
}

impl Failure {
    pub(crate) fn of_exec(why: Why, errno: i32) -> Failure {
        Failure {
            step: Step::Exec,
            fault: Fault {
                why,
                errno,
                at: NOWHERE,
            },
        }
    }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct StepLog {
    bytes: [u8; 32],
    len: usize,
}

impl StepLog {
    pub(crate) fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
    }

    /// Sends what is noted so far. On failure it stays, for [`StepLog::send`].
    pub(crate) fn flush(&mut self, to: BorrowedFd<'_>) {
        let step_log = self.bytes.get(..self.len).unwrap_or_default();
        if sys::write(to, step_log).is_ok() {
            self.len = 0;
        }
    }

    pub(crate) fn send(&mut self, to: BorrowedFd<'_>, failure: Option<Failure>) -> io::Result<()> {
        match failure {
            None => self.push(DONE),
            Some(Failure { step, fault }) => {
                let [a, b, c, d] = fault.errno.to_le_bytes();
                let [at, at_high] = fault.at.to_le_bytes();
                let record: [u8; FAILURE_LEN] =
                    [FAILED, step as u8, fault.why as u8, a, b, c, d, at, at_high];
                record.into_iter().for_each(|byte| self.push(byte));
            }
        }
        let step_log = self.bytes.get(..self.len).unwrap_or_default();
        sys::write(to, step_log).map(drop)
    }
}

/// The layers that are switched on: all, except in tests with the feature `mutate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnabledLayers {
    #[cfg(feature = "mutate")]
    off: Option<Layer>,
}

impl EnabledLayers {
    pub(crate) const ALL: EnabledLayers = EnabledLayers {
        #[cfg(feature = "mutate")]
        off: None,
    };

    #[cfg(feature = "mutate")]
    pub(crate) fn without(layer: Layer) -> EnabledLayers {
        EnabledLayers { off: Some(layer) }
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn is_on(self, layer: Layer) -> bool {
        self.off != Some(layer)
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn is_on(self, _layer: Layer) -> bool {
        true
    }

    pub(crate) fn take_if(self, layer: Layer, take: impl FnOnce() -> io::Result<()>) -> Taken {
        match self.is_on(layer) {
            true => Ok(take().map(|()| StepResult::Done)?),
            false => Ok(StepResult::Absent),
        }
    }
}
