//! Resources of one job: those that are prepared in advance, and its secrets, in memory files that only the job can
//! open. Secrets are sealed just before the fork: each needs a descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_link::memfd;
use remit_spawn::{Argument, PathIs, What};
use remit_sys::{Cgroup, Error, Result};

use crate::request::{ArgumentSlot, BoundCall, Passed, SlotWhat};
use crate::sandbox::spawner::{PreforkedChild, Sandbox};
use crate::startup::error::chain;

/// The event loop waits no longer for a killed process.
const ENDING: Duration = Duration::from_millis(100);

/// A job's cgroup, maybe with a pre-forked child in it. Dropping it ends the child and removes the cgroup.
#[derive(Debug)]
pub struct PreforkedJob {
    /// Declared before the cgroup, so it is dropped first: only an empty cgroup can be removed.
    waiting: Option<PreforkedChild>,
    cgroup: Option<Cgroup>,
}

impl PreforkedJob {
    pub fn of(cgroup: Cgroup) -> Self {
        Self {
            waiting: None,
            cgroup: Some(cgroup),
        }
    }

    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    pub fn prefork(&mut self, waiting: Option<PreforkedChild>) {
        self.waiting = waiting;
    }

    pub fn serves(&self, sandbox: &Sandbox) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| sandbox.is_served_by(waiting))
    }

    pub fn is_bare(&self) -> bool {
        self.waiting.is_none()
    }

    pub fn end(&self) -> Option<BorrowedFd<'_>> {
        self.waiting.as_ref().map(PreforkedChild::socket)
    }

    pub fn wait_ready(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.wait();
        }
        self.reap();
    }

    pub fn reap(&mut self) {
        self.waiting.take_if(|waiting| waiting.has_ended());
    }

    pub fn bare(mut self) -> Self {
        self.waiting = None;
        self
    }

    /// Prepares it for a job in this sandbox. A child for another sandbox ends first, so it does not count for the job.
    pub fn made_for(self, sandbox: &Sandbox) -> Self {
        if self.is_bare() || self.serves(sandbox) {
            return self;
        }
        let bare = self.bare();
        // No `cgroup.kill` here: Linux 6.18 was seen to kill processes, too, that were forked into the cgroup later.
        bare.cgroup()
            .into_iter()
            .for_each(|cgroup| wait_empty(cgroup, ENDING));
        bare
    }

    pub fn into_parts(mut self) -> (Option<PreforkedChild>, Option<Cgroup>) {
        (self.waiting.take(), self.cgroup.take())
    }
}

impl Drop for PreforkedJob {
    /// Blocks, for callers that cannot check later that a strict child has ended with all its processes.
    fn drop(&mut self) {
        self.waiting = None;
        let Some(cgroup) = self.cgroup.take() else {
            return;
        };
        if !matches!(cgroup.populated(), Ok(false)) {
            empty(&cgroup);
        }
        if let Err(left) = cgroup.remove() {
            say!("{}", chain(&left));
        }
    }
}

/// Kills all processes of the cgroup and waits until it is empty, at most `ENDING`.
pub fn empty(cgroup: &Cgroup) {
    empty_within(cgroup, ENDING);
}

pub fn empty_within(cgroup: &Cgroup, patience: Duration) {
    let _ = cgroup.kill();
    wait_empty(cgroup, patience);
}

fn wait_empty(cgroup: &Cgroup, patience: Duration) {
    let start = Instant::now();
    while cgroup.populated().unwrap_or(false) && start.elapsed() < patience {
        let mut changed = [PollFd::new(cgroup.events(), PollFlags::POLLPRI)];
        let _ = poll(&mut changed, PollTimeout::from(10u8));
    }
}

pub struct Secrets<'a> {
    slots: &'a [ArgumentSlot],
    /// One for each secret slot, in the same order.
    files: Vec<OwnedFd>,
    pub stdin: Option<OwnedFd>,
}

impl<'a> Secrets<'a> {
    /// Seals the secret arguments and standard input. Fails if no descriptor or no memory is left.
    pub fn seal(bound: &'a BoundCall) -> Result<Self> {
        let seal = |bytes: &[u8]| {
            memfd::seal(c"secret", bytes).map_err(|error| Error::Refused {
                doing: "cannot hand a secret to a job".to_owned(),
                why: error.to_string(),
            })
        };
        let values = bound.slots.iter().filter_map(|slot| match &slot.what {
            SlotWhat::Secret(value) => Some(seal(value)),
            SlotWhat::Path { .. } => None,
        });
        Ok(Self {
            files: values.collect::<Result<_>>()?,
            stdin: bound.secret_stdin.as_deref().map(seal).transpose()?,
            slots: &bound.slots,
        })
    }

    pub fn arguments(&self) -> Vec<Argument<'_>> {
        let mut files = self.files.iter();
        let argument = |slot: &'a ArgumentSlot| {
            let what = match &slot.what {
                SlotWhat::Path {
                    under,
                    beneath,
                    is,
                    pass,
                } => What::Path {
                    under,
                    beneath,
                    is: match is {
                        remit_policy::PathIs::File => PathIs::File,
                        remit_policy::PathIs::Directory => PathIs::Directory,
                        remit_policy::PathIs::Either => PathIs::Either,
                    },
                    by_descriptor: !matches!(pass, Passed::Text),
                    copy: match pass {
                        Passed::Copy(file) => Some(file.as_fd()),
                        Passed::Text | Passed::Descriptor => None,
                    },
                },
                SlotWhat::Secret(_) => What::Secret(files.next()?.as_fd()),
            };
            Some(Argument {
                index: slot.index,
                before: &slot.before,
                what,
            })
        };
        self.slots.iter().filter_map(argument).collect()
    }
}
