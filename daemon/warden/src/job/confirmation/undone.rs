//! Undos that somebody asks for of a commit that is to be confirmed, and the commands that follow each undo of it.
//!
//! **Invariant:** the commands that have run after a commit run again after its undo, by the daemon or by a person, until the
//! commit is confirmed. Otherwise a service goes on with files that are taken back, and no window is left in which that ends.

use remit_common::names::JobId;
use remit_common::outcome::FollowUp;
use remit_policy::Basis;

use super::store::Confirmations;
use super::{ConfirmStage, Unconfirmed, UndoStage};
use crate::event_loop::timers;
use crate::job::acts;
use crate::request::file_change::Undo;
use crate::request::{BoundCall, Plan};

impl Unconfirmed {
    /// Returns whether it is undone, but perhaps for what somebody else has changed since.
    pub const fn is_undone(&self) -> bool {
        matches!(self.undo, UndoStage::Done | UndoStage::Parted)
    }

    /// Returns whether its commands have to follow its undo.
    pub fn has_to_follow(&self) -> bool {
        let can_follow = match self.stage {
            ConfirmStage::Undoing { .. } | ConfirmStage::Failed { .. } => true,
            ConfirmStage::Waiting(_) => self.is_undone(),
            ConfirmStage::Committing { .. } | ConfirmStage::Following { .. } => false,
        };
        can_follow && !self.then.is_empty()
    }

    /// Has the commands follow the undo. Returns the job that they follow: that of the commit if the undo's is not known.
    pub fn on_follow(&mut self) -> JobId {
        let tries = self.tries();
        let job = match self.stage {
            ConfirmStage::Undoing { job, .. } => job,
            _ => self.undone_by.unwrap_or(self.job),
        };
        self.stage = ConfirmStage::Following { job, tries };
        job
    }

    /// Handles the ends of the commands that an undo carries itself. Of those that have worked, the first ones do not follow
    /// it again.
    pub fn on_carried_over(&mut self, carried: &[FollowUp]) {
        let worked = carried.iter().filter(|one| one.has_succeeded());
        let left = left_after(&self.then, worked.map(|one| one.command.clone()));
        self.then = left.to_vec();
    }
}

/// Returns what still has to follow an undo after the commands that it carries itself. One that runs before an earlier one
/// follows again: a restart before the units are read again is one with the old units.
fn left_after(then: &[String], mut carried: impl Iterator<Item = String>) -> &[String] {
    let is_carried = |text: &&String| carried.any(|one| one == acts::shown(text));
    let first = then.iter().take_while(is_carried).count();
    then.get(first..).unwrap_or_default()
}

impl Confirmations {
    /// Handles the good end of an undo of a whole commit. Its journal can stay for what others had made in new directories.
    pub(super) fn on_whole_undo(&mut self, plan: &Plan) {
        let undone = plan.bound.undo.as_ref().map(Undo::id);
        let mut all = self.all.iter_mut();
        if let Some(one) = all.find(|one| Some(one.commit.as_str()) == undone) {
            one.undo = UndoStage::Done;
            if *plan.basis() != Basis::Unconfirmed {
                one.undone_by = Some(plan.job);
                // The tries of the daemon's own undo are over with it, and no try of what follows.
                if matches!(one.stage, ConfirmStage::Failed { .. }) {
                    one.stage = ConfirmStage::Waiting(timers::since_boot());
                }
            }
            self.save_or_say();
        }
    }

    /// Returns the commands that the daemon has follow this undo, if its commit is not confirmed before. The first ones that
    /// it carries itself are left out.
    pub fn following_undo(&self, bound: &BoundCall) -> Vec<String> {
        let Some(id) = bound.undo.as_ref().map(Undo::id) else {
            return Vec::new();
        };
        let Some(one) = self.all.iter().find(|one| one.commit == id) else {
            return Vec::new();
        };
        let carried = bound.acts.iter();
        let carried = carried.map(|one| acts::shown(&one.act.text()));
        left_after(&one.then, carried).to_vec()
    }

    /// Returns whether this job has undone a commit that is not confirmed: what followed the commit follows it.
    pub(in crate::job) fn is_undone_by(&self, undo: JobId) -> bool {
        self.all.iter().any(|one| one.undone_by == Some(undo))
    }
}
