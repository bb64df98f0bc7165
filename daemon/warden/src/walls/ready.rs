//! What one job needs and can be made before it comes.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_confine::{Cgroup, Sandbox, Waiting};

use crate::error::chain;

/// How long what was killed may take to be gone.
const ENDING: Duration = Duration::from_millis(100);

/// A job's cgroup, and in there, where it was equipped with one, a child that waits for what to become. Dropping it
/// ends and removes both.
#[derive(Debug)]
pub struct Ready {
    /// Before the cgroup: only an empty one can be removed.
    waiting: Option<Waiting>,
    /// None once it was taken out.
    cgroup: Option<Cgroup>,
}

impl Ready {
    /// A cgroup with nothing in it.
    pub fn of(cgroup: Cgroup) -> Self {
        Self {
            waiting: None,
            cgroup: Some(cgroup),
        }
    }

    /// Its cgroup, unless it was taken out.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Takes a child in.
    pub fn equip(&mut self, waiting: Option<Waiting>) {
        self.waiting = waiting;
    }

    /// Whether something waits in it for a job in this sandbox.
    pub fn serves(&self, sandbox: &Sandbox) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| waiting.serves(sandbox))
    }

    /// Whether nothing waits in it.
    pub fn is_bare(&self) -> bool {
        self.waiting.is_none()
    }

    /// Hangs up when what waits has ended.
    pub fn end(&self) -> Option<BorrowedFd<'_>> {
        self.waiting.as_ref().and_then(Waiting::socket)
    }

    /// Waits until it is known whether something waits.
    pub fn settle(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.wait();
        }
        self.reap();
    }

    /// Reaps what waits, if it has ended.
    pub fn reap(&mut self) {
        self.waiting.take_if(|waiting| waiting.has_ended());
    }

    /// Without what waits, which has ended, or is about to.
    pub fn bare(mut self) -> Self {
        self.waiting = None;
        self
    }

    /// For a job in this sandbox: what waits for another kind has ended, so that it counts for nothing there.
    pub fn made_for(self, sandbox: &Sandbox) -> Self {
        if self.is_bare() || self.serves(sandbox) {
            return self;
        }
        let bare = self.bare();
        // Not killed as a whole: Linux 6.18 was seen to kill what is forked into such a cgroup later, too.
        bare.cgroup().into_iter().for_each(wait_empty);
        bare
    }

    /// For the job itself.
    pub fn into_parts(mut self) -> (Option<Waiting>, Option<Cgroup>) {
        (self.waiting.take(), self.cgroup.take())
    }
}

impl Drop for Ready {
    /// For where nobody can see later to it that a strict child has ended with all that is its own.
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

/// Kills what is in it and waits until nothing lives there, a little while at most.
pub fn empty(cgroup: &Cgroup) {
    let _ = cgroup.kill();
    wait_empty(cgroup);
}

fn wait_empty(cgroup: &Cgroup) {
    let start = Instant::now();
    while cgroup.populated().unwrap_or(false) && start.elapsed() < ENDING {
        let mut changed = [PollFd::new(cgroup.events(), PollFlags::POLLPRI)];
        let _ = poll(&mut changed, PollTimeout::from(10u8));
    }
}
