//! The end of a commit that is to be confirmed, and of the commands that follow it: its window begins.
//!
//! **Invariant:** nothing confirms or undoes a commit before the last of its commands is over. A login that began earlier
//! shows nothing of what they do, and an undo would run beside them.

use std::time::Duration;

use remit_common::outcome::{Ending, FollowUp, State};

use super::view::utc_at;
use super::window::in_words;
use super::{Clocks, ConfirmStage, Unconfirmed, UndoStage};
use crate::job::commits::has_changed_nothing;

/// For an agent: its own confirmation would show nothing of whether people can log in.
const BY_A_PERSON: &str =
    "an agent shows this line to the person it works for, and never types it itself";

/// What becomes of an ended commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitEnd {
    /// Nothing was changed.
    Disarmed,
    /// With a sentence for its requester.
    Armed(String),
}

impl Unconfirmed {
    /// Handles the end of its commit. One that was killed may have changed something. The same end again begins no other
    /// window: it is recorded once more if the audit log had no space. `has_commands`: they follow if it has ended well, and
    /// each has a time limit, so [`Self::on_acts_over`] comes.
    pub fn on_commit_end(
        &mut self,
        ending: &Ending,
        has_commands: bool,
        now: Clocks,
    ) -> Option<CommitEnd> {
        match self.stage {
            ConfirmStage::Committing { .. } => {}
            ConfirmStage::Waiting(at) => return Some(CommitEnd::Armed(self.note(at, now))),
            ConfirmStage::Undoing { .. }
            | ConfirmStage::Following { .. }
            | ConfirmStage::Failed { .. } => return None,
        }
        if ending.state == State::NotStarted || has_changed_nothing(ending) {
            return Some(CommitEnd::Disarmed);
        }
        let has_succeeded = ending.has_succeeded();
        self.undo = match has_succeeded {
            true => UndoStage::Kept,
            false => UndoStage::Started,
        };
        let note = match has_commands && has_succeeded {
            true => {
                self.stage = ConfirmStage::Committing { is_followed: true };
                let (within, command) = (in_words(self.window_s), self.command());
                format!(
                    "undone unless somebody confirms it within {within} after the commands that follow it: log in again \
                     then, and run: {command}; {BY_A_PERSON}"
                )
            }
            false => self.begin_window(now),
        };
        Some(CommitEnd::Armed(note))
    }

    /// Returns a sentence for the requester.
    fn begin_window(&mut self, now: Clocks) -> String {
        self.ended = now.monotonic;
        let at = now.boot.saturating_add(self.window());
        self.stage = ConfirmStage::Waiting(at);
        self.note(at, now)
    }

    fn note(&self, at: Duration, now: Clocks) -> String {
        let (at, command) = (utc_at(at, now), self.command());
        format!(
            "undone at {at} unless somebody confirms it: log in again and run: {command}; {BY_A_PERSON}"
        )
    }

    /// Returns a sentence for the requester after a restart of remitd, which changes the window.
    pub fn restored_note(&self, now: Clocks) -> String {
        match self.stage {
            ConfirmStage::Waiting(at) if at > now.boot && !self.is_undone() => self.note(at, now),
            _ => self.sentence(now),
        }
    }

    /// Begins the window: only now a login shows something. Commands that were refused do not follow the undo.
    pub fn on_acts_over(&mut self, then: &[FollowUp], now: Clocks) -> Option<String> {
        let mut each = then.iter();
        self.then
            .retain(|_| each.next().is_none_or(FollowUp::has_run));
        let is_followed = matches!(self.stage, ConfirmStage::Committing { is_followed: true });
        is_followed.then(|| self.begin_window(now))
    }
}
