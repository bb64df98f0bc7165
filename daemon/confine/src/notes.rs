//! What a child on its way to its exec has done so far, in memory, and how it says so.

use crate::floor;
use crate::steps::{DONE, FAILED, FAILURE_LEN, NOWHERE, Step, Why};
use std::{io, os::fd::BorrowedFd};

/// What a step that did not fail did.
pub(crate) enum Taken {
    Done,
    /// This kernel or this job has no such thing.
    Absent,
}

/// Why a step failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    why: Why,
    errno: i32,
    at: u16,
}

impl Fault {
    /// Not an errno but a thing that is not as it must be.
    pub(crate) fn because(why: Why) -> Fault {
        Fault {
            why,
            errno: 0,
            at: NOWHERE,
        }
    }

    /// For who has no pipe to say it by.
    pub(crate) fn into_error(self) -> io::Error {
        io::Error::from_raw_os_error(match self.errno {
            0 => libc::EINVAL,
            errno => errno,
        })
    }

    /// The same, with what a system call said.
    pub(crate) fn with_errno(self, errno: i32) -> Fault {
        Fault { errno, ..self }
    }

    /// The same, of the path or argument of this number.
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

/// Where a child's way ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) fault: Fault,
}

impl Failure {
    /// Exec failed.
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

    /// Whether the step pipe still has the number that the parent gave it.
    pub(crate) fn is_early(self) -> bool {
        self.step <= Step::Descriptors
    }
}

/// Steps done so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Notes {
    bytes: [u8; 32],
    len: usize,
}

impl Notes {
    fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
    }

    pub(crate) fn take(&mut self, step: Step, taken: Result<Taken, Fault>) -> Result<(), Failure> {
        match taken {
            Ok(Taken::Done) => self.push(step as u8),
            Ok(Taken::Absent) => {}
            Err(fault) => return Err(Failure { step, fault }),
        }
        Ok(())
    }

    /// Writes the notes with their end, a failure or that there was none, in one write.
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
        let notes = self.bytes.get(..self.len).unwrap_or_default();
        floor::write(to, notes).map(drop)
    }
}
