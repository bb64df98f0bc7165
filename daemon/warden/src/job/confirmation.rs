//! Commits of files that are undone unless somebody confirms them from a new login: their stages. Pure: the time is an
//! argument.
//!
//! **Invariant:** what is confirmed is not undone, and what is being undone is not confirmed.

pub mod admission;
mod commit_end;
pub mod store;
mod undone;
pub mod view;
pub mod window;

use std::time::Duration;

use remit_common::names::JobId;
use remit_common::outcome::FollowUp;
use remit_common::signed::Signed;
use remit_plan::{Extent, Phase};
use remit_policy::Approval;
use serde::{Deserialize, Serialize};

pub use commit_end::CommitEnd;

/// Least time after a restart of remitd, once: somebody has to be able to log in.
const AFTER_START: Duration = Duration::from_secs(60);
/// Pauses before an undo that failed is tried again, the first two no longer than the window.
const AGAIN: [Duration; 4] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
];
/// Tries of the whole undo. Then what somebody else has changed since is left, so that nobody can prevent the rest by that.
const WHOLE: u32 = 2;
/// Pause if the daemon is busy, which is no failure.
const BUSY: Duration = Duration::from_secs(2);
/// Pause if a process that the daemon did not start has the lock of the journals.
const LOCKED: Duration = Duration::from_secs(10);
/// Pause if the undo could not start: the audit log or the disk may be full.
const NOT_STARTED: Duration = Duration::from_secs(60);
/// Commits that can wait for a confirmation at once.
pub const MOST: usize = 64;
/// Bytes of a reason.
const WHY: usize = 500;

/// The clocks of a moment. No process can set the first two (clock_gettime(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// CLOCK_BOOTTIME: counts while the machine sleeps.
    pub boot: Duration,
    /// CLOCK_MONOTONIC, by which logind says when a session began.
    pub monotonic: Duration,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// A commit that is undone unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// The id of the commit: 32 hexadecimal digits.
    pub commit: String,
    pub job: JobId,
    pub user: String,
    pub uid: u32,
    /// The uid that the requester logged in with, if it was proven.
    pub login: Option<u32>,
    /// Who could approve it. `None`: it needed no approval, and any administrator confirms it.
    pub approval: Option<Approval>,
    /// What its rule asked of each approver's signature.
    pub signed: Option<Signed>,
    pub window_s: u32,
    /// Commands that have followed the commit, each since before it started. They follow its undo.
    pub then: Vec<String>,
    /// End of the commit, with what follows it, by CLOCK_MONOTONIC; zero if it was before this boot.
    pub ended: Duration,
    /// A restart has given it the time to log in.
    pub is_extended: bool,
    pub stage: ConfirmStage,
    pub undo: UndoStage,
    /// An undo that somebody asked for and that has ended well, until its commands have followed. Not saved: a restart ends
    /// what it carries.
    #[serde(skip)]
    pub undone_by: Option<JobId>,
    /// What it changes. After a restart of remitd its journal says it.
    #[serde(skip)]
    pub extent: Extent,
}

/// What the absence of a commit's journal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UndoStage {
    /// The commit was cut off, or an undo of it has started: it is taken back.
    Started,
    /// Nothing but an undo removes it.
    Kept,
    /// It was taken back.
    Done,
    /// It was removed, and nothing was undone.
    Lost,
    /// It was taken back, but for what somebody else has changed since.
    Parted,
}

impl UndoStage {
    /// Returns whether no further undo changes anything.
    const fn is_final(self) -> bool {
        matches!(self, Self::Lost | Self::Parted)
    }
}

/// Times are since boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfirmStage {
    /// Nothing confirms or undoes it yet.
    Committing {
        /// It is committed, and the commands run that follow it. Not saved: a restart ends them, and a window begins.
        #[serde(skip)]
        is_followed: bool,
    },
    /// It is undone at this time.
    Waiting(Duration),
    Undoing {
        job: JobId,
        tries: u32,
    },
    /// It is undone, and the commands that follow run. `job`: the undo.
    Following {
        job: JobId,
        tries: u32,
    },
    /// An undo has not worked. `again`: when it is tried again.
    Failed {
        tries: u32,
        why: String,
        again: Option<Duration>,
    },
}

impl Unconfirmed {
    /// Keeps the commands that have failed after its undo: they alone follow again.
    pub fn on_acts_failed(&mut self, then: &[FollowUp]) {
        let mut each = then.iter();
        self.then
            .retain(|_| each.next().is_none_or(|one| !one.has_succeeded()));
    }

    /// Takes what its journal is now.
    pub fn saw(&mut self, phase: Option<Phase>) -> UndoStage {
        self.undo = match (phase, self.undo) {
            (Some(Phase::Kept), _) => UndoStage::Kept,
            // All is undone, and what others had made in new directories is kept.
            (Some(Phase::Parted), UndoStage::Done) => UndoStage::Done,
            (Some(Phase::Parted | Phase::Left), _) => UndoStage::Parted,
            (None | Some(Phase::Gone), UndoStage::Kept | UndoStage::Lost) => UndoStage::Lost,
            (None | Some(Phase::Gone), _) => UndoStage::Done,
            (Some(_), _) => UndoStage::Started,
        };
        self.undo
    }

    /// Notes that nothing can undo it, or the rest of it, any more. Returns false if that was known.
    pub fn on_final(&mut self) -> bool {
        let stage = ConfirmStage::Failed {
            tries: self.tries(),
            why: match self.undo {
                UndoStage::Parted => "somebody else has changed the rest".to_owned(),
                _ => "its undo is gone".to_owned(),
            },
            again: None,
        };
        let is_new = self.stage != stage;
        self.stage = stage;
        is_new
    }

    pub fn on_undo_failed(&mut self, why: &str, now: Duration) {
        let tries = self.tries();
        let pause = AGAIN.get(usize::try_from(tries).unwrap_or(usize::MAX));
        let most = match tries {
            ..WHOLE => self.window(),
            _ => Duration::MAX,
        };
        let again = pause.map(|pause| now.saturating_add((*pause).min(most)));
        self.fail(tries.saturating_add(1), why, again);
    }

    /// Handles an undo that met the lock of another one. That is no try.
    pub fn on_undo_locked(&mut self, job: JobId, now: Duration) {
        let job = job.short();
        let why = format!("job {job}: another process has the lock of the journals");
        self.fail(self.tries(), &why, Some(now.saturating_add(LOCKED)));
    }

    /// Handles an undo that was stopped. That is no try, but a partial one may have undone some paths.
    pub fn on_undo_stopped(&mut self, job: JobId, now: Duration) {
        let (tries, why) = (self.tries(), format!("job {} was stopped", job.short()));
        let tries = tries.saturating_add(u32::from(tries == WHOLE));
        self.fail(tries, &why, Some(now));
    }

    /// Handles an undo that did not start. That is no try. Returns false if that was known.
    pub fn on_undo_not_started(&mut self, why: &str, now: Duration) -> bool {
        let before = self.why().map(str::to_owned);
        self.fail(self.tries(), why, Some(now.saturating_add(NOT_STARTED)));
        self.why() != before.as_deref()
    }

    fn why(&self) -> Option<&str> {
        match &self.stage {
            ConfirmStage::Failed { why, .. } => Some(why),
            _ => None,
        }
    }

    fn fail(&mut self, tries: u32, why: &str, again: Option<Duration>) {
        let why = remit_common::text::line(why.as_bytes(), WHY);
        self.stage = ConfirmStage::Failed { tries, why, again };
    }

    /// Tries a failed undo again: another one has worked, which may have been in the way.
    pub fn retry(&mut self, now: Duration) {
        if let ConfirmStage::Failed { again, .. } = &mut self.stage
            && !self.undo.is_final()
            && self.undo != UndoStage::Done
        {
            *again = Some(now);
        }
    }

    /// Puts the undo off for a moment.
    pub fn put_off(&mut self, now: Duration) {
        let later = now.saturating_add(BUSY);
        match &mut self.stage {
            ConfirmStage::Waiting(at) => *at = later,
            ConfirmStage::Failed { again, .. } => *again = Some(later),
            ConfirmStage::Committing { .. }
            | ConfirmStage::Undoing { .. }
            | ConfirmStage::Following { .. } => {}
        }
    }

    pub fn on_undo_started(&mut self, job: JobId) {
        let tries = self.tries();
        self.stage = ConfirmStage::Undoing { job, tries };
        self.undo = UndoStage::Started;
    }

    /// Returns whether it is undone, and people see to the commands that have failed after that.
    pub fn is_left(&self) -> bool {
        let is_last = matches!(self.stage, ConfirmStage::Failed { again: None, .. });
        self.is_undone() && is_last && !self.then.is_empty()
    }

    /// Returns whether the next undo leaves what somebody else has changed since.
    pub fn is_undone_partly(&self) -> bool {
        self.tries() >= WHOLE
    }

    fn tries(&self) -> u32 {
        match self.stage {
            ConfirmStage::Undoing { tries, .. }
            | ConfirmStage::Following { tries, .. }
            | ConfirmStage::Failed { tries, .. } => tries,
            ConfirmStage::Committing { .. } | ConfirmStage::Waiting(_) => 0,
        }
    }

    pub fn due_at(&self) -> Option<Duration> {
        match self.stage {
            ConfirmStage::Waiting(at) => Some(at),
            ConfirmStage::Failed { again, .. } => again,
            ConfirmStage::Committing { .. }
            | ConfirmStage::Undoing { .. }
            | ConfirmStage::Following { .. } => None,
        }
    }

    /// Moves it to another daemon, whose start ended all jobs. `since`: the time from the save until now, as far as the
    /// clocks of this boot do not say it; `None` within one boot.
    fn restarted(mut self, saved: Clocks, since: Option<Duration>, now: Clocks) -> Self {
        let (window, is_other_boot) = (self.window(), since.is_some());
        let left_at = |at: Duration| match since {
            None => at.saturating_sub(now.boot),
            Some(since) => at.saturating_sub(saved.boot).saturating_sub(since),
        };
        if is_other_boot {
            self.ended = Duration::ZERO;
        }
        let left = match self.stage {
            ConfirmStage::Committing { .. } => {
                if !is_other_boot {
                    self.ended = now.monotonic;
                }
                self.is_extended = true;
                window
            }
            ConfirmStage::Waiting(at) => {
                let least = match std::mem::replace(&mut self.is_extended, true) {
                    false => AFTER_START.min(window),
                    true => Duration::ZERO,
                };
                left_at(at).clamp(least, window)
            }
            // It had begun, or is overdue.
            ConfirmStage::Undoing { .. }
            | ConfirmStage::Following { .. }
            | ConfirmStage::Failed { .. } => Duration::ZERO,
        };
        let at = now.boot.saturating_add(left);
        match &mut self.stage {
            ConfirmStage::Undoing { tries, .. } | ConfirmStage::Following { tries, .. } => {
                // A partial undo may have undone some paths.
                let is_partial = *tries == WHOLE && self.undo == UndoStage::Started;
                self.stage = ConfirmStage::Failed {
                    tries: tries.saturating_add(u32::from(is_partial)),
                    why: "remitd ended while it was undone".to_owned(),
                    again: Some(at),
                };
            }
            ConfirmStage::Failed { again, .. } => {
                let is_over = match self.undo {
                    UndoStage::Parted => self.then.is_empty(),
                    undo => undo.is_final(),
                };
                *again = (!is_over).then_some(at);
            }
            stage => *stage = ConfirmStage::Waiting(at),
        }
        self
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.window_s.into())
    }
}

#[cfg(test)]
mod tests;
