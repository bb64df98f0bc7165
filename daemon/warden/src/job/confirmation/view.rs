//! What people read of a commit that is to be confirmed.

use std::time::Duration;

use remit_common::admin::UnconfirmedView;
use remit_common::calendar;

use super::window::in_words;
use super::{Clocks, ConfirmStage, Unconfirmed, UndoStage, WHOLE};

/// Digits of a commit's id in a line to type.
const SHORT: usize = 12;

/// How each note begins about the confirmation of a commit.
const NOTES: [&str; 4] = ["undone", "commit ", "nobody confirmed", "confirmed by"];

/// Returns what the requester of a commit has to know: what it was, with another note about its confirmation.
pub fn with_note(before: Option<&str>, note: &str) -> String {
    let parts = before.unwrap_or_default().split("; ");
    let others = parts.take_while(|part| !NOTES.iter().any(|start| part.starts_with(start)));
    let all = others.filter(|part| !part.is_empty()).chain([note]);
    all.collect::<Vec<_>>().join("; ")
}

impl Unconfirmed {
    /// Returns the note about a commit that is not there any more.
    pub fn undone_note(&self, now: Clocks) -> String {
        let at = calendar::utc(now.unix_ms);
        match self.is_undone_in_time() {
            true => format!("undone at {at}, before somebody confirmed it"),
            false => format!("undone at {at}: nobody confirmed it"),
        }
    }

    /// Returns why commands follow its undo, for their records.
    pub fn why_followed(&self) -> &'static str {
        match self.is_undone_in_time() {
            true => "the commit was undone before somebody confirmed it",
            false => "nobody confirmed the commit",
        }
    }

    fn is_undone_in_time(&self) -> bool {
        let is_in_time = matches!(
            self.stage,
            ConfirmStage::Committing { .. } | ConfirmStage::Waiting(_)
        );
        is_in_time || self.undone_by.is_some()
    }

    /// Returns whether a partial undo has failed, which may have undone some of its paths.
    pub fn may_be_undone_partly(&self) -> bool {
        let is_partial = matches!(self.stage, ConfirmStage::Failed { tries, .. } if tries > WHOLE);
        is_partial && self.undo == UndoStage::Kept
    }

    /// Describes it for administrators.
    pub fn sentence(&self, now: Clocks) -> String {
        let what = format!("commit {} of {}", self.short(), self.user);
        match &self.stage {
            ConfirmStage::Committing { is_followed } => {
                let runs = match is_followed {
                    false => "runs",
                    true => "is done, and the commands run that follow it",
                };
                format!(
                    "{what} {runs}; then it is undone unless somebody confirms within {}",
                    in_words(self.window_s)
                )
            }
            _ if self.undo == UndoStage::Lost => {
                format!("{what} waits for a confirmation, and cannot be undone: its undo is gone")
            }
            ConfirmStage::Failed { .. }
                if self.undo == UndoStage::Parted && self.then.is_empty() =>
            {
                format!("{what} is undone, but for what somebody else has changed since")
            }
            ConfirmStage::Following { .. } => format!(
                "{what} is undone and not confirmed, and the commands run that follow the undo"
            ),
            ConfirmStage::Waiting(_) if self.is_undone() && !self.then.is_empty() => {
                format!("{what} is undone and not confirmed, and commands follow the undo")
            }
            ConfirmStage::Waiting(at) if *at > now.boot => format!(
                "{what} is undone at {} unless somebody confirms it from a new login",
                utc_at(*at, now),
            ),
            ConfirmStage::Waiting(_) => format!(
                "nobody confirmed {what} in time; it is undone once no other commit or recovery is in the way"
            ),
            ConfirmStage::Undoing { job, .. } => {
                format!(
                    "nobody confirmed {what} in time; job {} undoes it",
                    job.short()
                )
            }
            ConfirmStage::Failed { tries, why, again } => {
                let again = again.map_or_else(
                    || "it is not tried again".to_owned(),
                    |at| format!("next try {}", utc_at(at, now)),
                );
                let but = match self.undo {
                    UndoStage::Done | UndoStage::Parted if self.undone_by.is_some() => {
                        "before its undo:"
                    }
                    UndoStage::Done | UndoStage::Parted => "in time:",
                    _ if self.may_be_undone_partly() => "in time, and some of it may be undone:",
                    _ => "in time, and it is not undone:",
                };
                format!("nobody confirmed {what} {but} {why} (tries: {tries}; {again})")
            }
        }
    }

    pub fn view(&self, now: Clocks) -> UnconfirmedView {
        UnconfirmedView {
            commit_id: self.commit.clone(),
            job: self.job,
            what: self.sentence(now),
            command: self.command(),
            has_failed: matches!(self.stage, ConfirmStage::Failed { .. }),
        }
    }

    pub fn short(&self) -> &str {
        self.commit.get(..SHORT).unwrap_or(&self.commit)
    }

    pub fn command(&self) -> String {
        format!("remit confirm {}", self.short())
    }
}

pub(super) fn utc_at(at: Duration, now: Clocks) -> String {
    let left = at.saturating_sub(now.boot).as_millis();
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    calendar::utc(now.unix_ms.saturating_add(left))
}
