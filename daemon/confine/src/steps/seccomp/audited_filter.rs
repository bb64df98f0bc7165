//! A filter whose refusals go to the kernel's audit, without the answers that nobody needs to know.
//! `SECCOMP_FILTER_FLAG_LOG` counts for all that a program answers with an errno. Half of our answers are not
//! refusals: a flush that succeeds at once, or `clone3`, which libc tries for every thread. Each would be a record. So
//! the program is installed twice, each time without the other's answers: for any call one of the two answers as the
//! whole one does, and the other lets it through.

use std::io;

use super::bpf::Program;
use crate::sys;

#[derive(Clone, Debug)]
pub(crate) struct AuditedFilter {
    refusals: Program,
    others: Program,
}

impl AuditedFilter {
    pub(crate) fn new(whole: &Program) -> AuditedFilter {
        AuditedFilter {
            refusals: whole.without(is_no_refusal),
            others: whole.without(|answer| is_errno(answer) && !is_no_refusal(answer)),
        }
    }

    /// The refusals go first: the other half answers seccomp(2) itself, with success.
    pub(crate) fn install(&self) -> io::Result<()> {
        sys::install_filter_with(self.refusals.instructions(), sys::FILTER_LOG)?;
        sys::install_filter(self.others.instructions())
    }

    #[cfg(test)]
    pub(super) fn halves(&self) -> [&Program; 2] {
        [&self.refusals, &self.others]
    }
}

fn is_errno(answer: u32) -> bool {
    answer & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO
}

/// Success without doing anything, or the answer of a kernel without such a call.
fn is_no_refusal(answer: u32) -> bool {
    is_errno(answer) && [0, libc::ENOSYS as u32].contains(&(answer & libc::SECCOMP_RET_DATA))
}
