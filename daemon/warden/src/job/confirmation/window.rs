//! Within which time a commit is to be confirmed, and by whom.

use std::time::Duration;

use remit_approval::UNCONFIRMED;
use remit_common::refusal::{Code, Refusal};
use remit_plan::Plan;
use remit_policy::{Approval, CallerIds, Terms};

use super::{ConfirmStage, Unconfirmed};
use crate::approval::approver::is_person;
use crate::identity::peer::Subject;

/// Seconds for a plan that can lock people out, if no rule says another time.
const DEFAULT_S: u32 = 300;

/// Within which time a commit is to be confirmed, and why. A part of what an approver signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmWindow {
    pub seconds: u32,
    lock_out: Option<String>,
}

impl ConfirmWindow {
    /// Returns the window of a plan: that of the rule, or the default one if the plan can lock people out.
    pub fn of(terms: &Terms, plan: &Plan) -> Option<Self> {
        Self::new(terms.confirm_s(), plan.can_lock_out())
    }

    pub(super) fn new(by_rule: Option<u32>, lock_out: Option<String>) -> Option<Self> {
        let by_default = lock_out.as_ref().map(|_| DEFAULT_S);
        let seconds = by_rule.or(by_default)?;
        Some(Self { seconds, lock_out })
    }

    pub fn line(&self) -> String {
        let within = in_words(self.seconds);
        let line = format!("{UNCONFIRMED}unless confirmed within {within} from a new login");
        match &self.lock_out {
            None => line,
            Some(why) => format!("{line}, because it can lock people out: {why}"),
        }
    }
}

impl Unconfirmed {
    /// Fails unless this person, in a session that began then, can confirm it now. `gids`: the groups that a login would
    /// give now. An approver has to be named with those of the connection and with these: a login keeps its groups.
    pub fn may_confirm(
        &self,
        by: &Subject,
        gids: &[u32],
        session: Result<Duration, Refusal>,
    ) -> Result<(), Refusal> {
        let denied = |text: String| Refusal::new(Code::DeniedRule, text);
        match &self.stage {
            ConfirmStage::Committing { is_followed } => {
                let (text, next) = match is_followed {
                    false => (
                        "it is being committed; nothing can be confirmed yet",
                        "log in again when its job has ended",
                    ),
                    true => (
                        "the commands that follow it still run; nothing can be confirmed yet",
                        "log in again when the last of them has ended",
                    ),
                };
                return Err(Refusal::new(Code::Busy, text).next(next));
            }
            ConfirmStage::Undoing { job, .. } => {
                let text = format!("nobody confirmed it in time; job {} undoes it", job.short());
                return Err(Refusal::new(Code::ApprovalExpired, text));
            }
            ConfirmStage::Following { .. } => {
                let text = "it is undone, and the commands run that follow the undo";
                return Err(Refusal::new(Code::ApprovalExpired, text));
            }
            ConfirmStage::Waiting(_) | ConfirmStage::Failed { .. } => {}
        }
        if is_person(by, std::iter::once(self.uid).chain(self.login)) {
            let text = "you cannot confirm your own change, with any of your accounts";
            return Err(denied(text.to_owned()).next("ask another administrator"));
        }
        let now = CallerIds {
            uid: by.uid(),
            gids,
        };
        let is_met = |asked: &Approval| {
            [by.caller_ids(), now]
                .iter()
                .all(|ids| asked.is_met_by(*ids))
        };
        let mut approval = self.approval.iter().filter(|_| by.uid() != 0);
        if let Some(approval) = approval.find(|approval| !is_met(approval)) {
            let approvers = approval.asked_of().join(", ");
            let text = format!("you are not one of its approvers ({approvers})");
            return Err(denied(text).next("ask one of them, or root"));
        }
        match session? > self.ended {
            true => Ok(()),
            false => Err(denied(
                "this login began before the commit had ended, so it does not show that people can log in".to_owned(),
            )
            .next("keep it open, log in again over a new connection, and confirm there")),
        }
    }
}

pub(super) fn in_words(seconds: u32) -> String {
    match seconds {
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
