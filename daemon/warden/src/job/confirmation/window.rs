//! Within which time a commit is to be confirmed.

use remit_approval::UNCONFIRMED;
use remit_plan::Plan;
use remit_policy::Terms;

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

pub(super) fn in_words(seconds: u32) -> String {
    match seconds {
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
