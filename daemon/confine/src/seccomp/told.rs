//! A filter whose refusals the kernel's audit is told, but not each that nobody need know.
//!
//! `SECCOMP_FILTER_FLAG_LOG` counts for all that a program answers with an errno. Half of what ours
//! answers is no refusal: a flush that succeeds at once, `clone3` that libc asks for whenever it makes
//! a thread. Each would be a record. So the program is installed twice, each time without the other's
//! answers: for any call one of the two answers as the whole one does, and the other lets it through.

use std::io;

use super::Program;
use crate::floor;

/// Both halves.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    refusals: Program,
    others: Program,
}

impl Told {
    pub(crate) fn of(whole: &Program) -> Told {
        Told {
            refusals: whole.without(is_no_refusal),
            others: whole.without(|answer| is_errno(answer) && !is_no_refusal(answer)),
        }
    }

    /// The refusals first: the other half answers seccomp(2) itself, with success.
    pub(crate) fn install(&self) -> io::Result<()> {
        floor::install_filter_with(self.refusals.instructions(), floor::FILTER_LOG)?;
        floor::install_filter(self.others.instructions())
    }

    #[cfg(test)]
    pub(super) fn halves(&self) -> [&Program; 2] {
        [&self.refusals, &self.others]
    }
}

fn is_errno(answer: u32) -> bool {
    answer & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO
}

/// Success without doing it, and the answer of a kernel that has no such call.
fn is_no_refusal(answer: u32) -> bool {
    is_errno(answer) && [0, libc::ENOSYS as u32].contains(&(answer & libc::SECCOMP_RET_DATA))
}
