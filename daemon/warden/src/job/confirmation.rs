//! Commits of files that are undone unless somebody confirms them from a new login: their stages. Pure: the time is an
//! argument.
//!
//! **Invariant:** what is confirmed is not undone, and what is being undone is not confirmed.

pub mod store;

use std::time::Duration;

use remit_approval::UNCONFIRMED;
use remit_common::admin::UnconfirmedView;
use remit_common::calendar;
use remit_common::names::JobId;
use remit_common::outcome::{Ending, FollowUp, State};
use remit_common::refusal::{Code, Refusal};
use remit_plan::Plan;
use remit_policy::{Approval, Terms};
use serde::{Deserialize, Serialize};

use crate::approval::approver::is_person;
use crate::identity::peer::Subject;

/// Seconds for a plan that can lock people out, if no rule says another time.
const DEFAULT_S: u32 = 300;
/// Least time after a restart of remitd, once: somebody has to be able to log in.
const AFTER_START: Duration = Duration::from_secs(60);
/// Pauses before an undo that failed is tried again. Another commit may have been in the way.
const AGAIN: [Duration; 4] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
];
/// Pause if the daemon is busy, which is no failure.
const BUSY: Duration = Duration::from_secs(2);
/// Commits that can wait for a confirmation at once.
pub const MOST: usize = 64;
/// Bytes of a reason.
const WHY: usize = 500;
/// Digits of a commit's id in a line to type.
const SHORT: usize = 12;

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

    fn new(by_rule: Option<u32>, lock_out: Option<String>) -> Option<Self> {
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

fn in_words(seconds: u32) -> String {
    match seconds {
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

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
    pub window_s: u32,
    /// Commands that have followed the commit, each since before it started. They follow its undo.
    pub then: Vec<String>,
    /// End of the commit, with what follows it, by CLOCK_MONOTONIC; zero if it was before this boot.
    pub ended: Duration,
    /// A restart has given it the time to log in.
    pub is_extended: bool,
    pub stage: ConfirmStage,
}

/// Times are since boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfirmStage {
    /// It is being committed.
    Committing,
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

/// What becomes of an ended commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitEnd {
    /// Nothing was changed.
    Disarmed,
    /// The sentence is for who waits for the job.
    Armed(String),
}

impl Unconfirmed {
    /// Handles the end of its commit. One that was killed may have changed something.
    pub fn on_commit_end(&mut self, ending: &Ending, now: Clocks) -> Option<CommitEnd> {
        if self.stage != ConfirmStage::Committing {
            return None;
        }
        let is_nothing = match ending.state {
            State::Exited => ending.exit == Some(1),
            State::NotStarted => true,
            _ => false,
        };
        if is_nothing {
            return Some(CommitEnd::Disarmed);
        }
        Some(CommitEnd::Armed(self.wait(now)))
    }

    /// Begins the window. Returns a sentence for who waits for the job.
    fn wait(&mut self, now: Clocks) -> String {
        self.ended = now.monotonic;
        let at = now.boot.saturating_add(self.window());
        self.stage = ConfirmStage::Waiting(at);
        format!(
            "undone at {} unless somebody confirms it: log in again and run: {}",
            utc_at(at, now),
            self.command()
        )
    }

    /// Begins the window again: only now a login shows something. Commands that were refused do not follow the undo.
    pub fn on_acts_over(&mut self, then: &[FollowUp], now: Clocks) -> Option<String> {
        let mut each = then.iter();
        self.then
            .retain(|_| each.next().is_none_or(FollowUp::has_run));
        matches!(self.stage, ConfirmStage::Waiting(_)).then(|| self.wait(now))
    }

    /// Handles the end of the undo.
    pub fn on_undo_failed(&mut self, why: &str, now: Duration) {
        let tries = self.tries();
        let pause = AGAIN.get(usize::try_from(tries).unwrap_or(usize::MAX));
        self.stage = ConfirmStage::Failed {
            tries: tries.saturating_add(1),
            why: remit_common::text::line(why.as_bytes(), WHY),
            again: pause.map(|pause| now.saturating_add(*pause)),
        };
    }

    /// Tries a failed undo again: another one has worked, which may have been in the way.
    pub fn retry(&mut self, now: Duration) {
        if let ConfirmStage::Failed { again, .. } = &mut self.stage {
            *again = Some(now);
        }
    }

    /// Puts the undo off for a moment.
    pub fn put_off(&mut self, now: Duration) {
        let later = now.saturating_add(BUSY);
        match &mut self.stage {
            ConfirmStage::Waiting(at) => *at = later,
            ConfirmStage::Failed { again, .. } => *again = Some(later),
            ConfirmStage::Committing
            | ConfirmStage::Undoing { .. }
            | ConfirmStage::Following { .. } => {}
        }
    }

    pub fn on_undo_started(&mut self, job: JobId) {
        let tries = self.tries();
        self.stage = ConfirmStage::Undoing { job, tries };
    }

    /// Has the commands follow the undo. Returns the job that they follow.
    pub fn on_follow(&mut self) -> JobId {
        let tries = self.tries();
        let job = match self.stage {
            ConfirmStage::Undoing { job, .. } => job,
            _ => self.job,
        };
        self.stage = ConfirmStage::Following { job, tries };
        job
    }

    /// Returns whether the daemon itself has undone it, so that its commands have to follow.
    pub fn has_to_follow(&self) -> bool {
        let is_own = matches!(
            self.stage,
            ConfirmStage::Undoing { .. } | ConfirmStage::Failed { .. }
        );
        is_own && !self.then.is_empty()
    }

    fn tries(&self) -> u32 {
        match self.stage {
            ConfirmStage::Undoing { tries, .. }
            | ConfirmStage::Following { tries, .. }
            | ConfirmStage::Failed { tries, .. } => tries,
            ConfirmStage::Committing | ConfirmStage::Waiting(_) => 0,
        }
    }

    /// Returns when its undo starts.
    pub fn due_at(&self) -> Option<Duration> {
        match self.stage {
            ConfirmStage::Waiting(at) => Some(at),
            ConfirmStage::Failed { again, .. } => again,
            ConfirmStage::Committing
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
            ConfirmStage::Committing => {
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
                self.stage = ConfirmStage::Failed {
                    tries: *tries,
                    why: "remitd ended while it was undone".to_owned(),
                    again: Some(at),
                };
            }
            ConfirmStage::Failed { again, .. } => *again = Some(at),
            stage => *stage = ConfirmStage::Waiting(at),
        }
        self
    }

    /// Fails unless this person, in a session that began then, can confirm it now.
    pub fn may_confirm(
        &self,
        by: &Subject,
        session: Result<Duration, Refusal>,
    ) -> Result<(), Refusal> {
        let denied = |text: String| Refusal::new(Code::DeniedRule, text);
        match &self.stage {
            ConfirmStage::Committing => {
                let text = "it is being committed; nothing can be confirmed yet";
                return Err(
                    Refusal::new(Code::Busy, text).next("log in again when its job has ended")
                );
            }
            ConfirmStage::Undoing { job, .. } | ConfirmStage::Following { job, .. } => {
                let text = format!("nobody confirmed it in time; job {} undoes it", job.short());
                return Err(Refusal::new(Code::ApprovalExpired, text));
            }
            ConfirmStage::Waiting(_) | ConfirmStage::Failed { .. } => {}
        }
        if is_person(by, std::iter::once(self.uid).chain(self.login)) {
            let text = "you cannot confirm your own change, with any of your accounts";
            return Err(denied(text.to_owned()).next("ask another administrator"));
        }
        let mut approval = self.approval.iter().filter(|_| by.uid() != 0);
        if let Some(approval) = approval.find(|approval| !approval.is_met_by(by.caller_ids())) {
            let approvers = approval.by().join(", ");
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

    /// Describes it for administrators.
    pub fn sentence(&self, now: Clocks) -> String {
        let what = format!("commit {} of {}", self.short(), self.user);
        match &self.stage {
            ConfirmStage::Committing => format!(
                "{what} runs; then it is undone unless somebody confirms within {}",
                in_words(self.window_s)
            ),
            ConfirmStage::Waiting(at) => format!(
                "{what} is undone at {} unless somebody confirms it from a new login",
                utc_at(*at, now),
            ),
            ConfirmStage::Undoing { job, .. } | ConfirmStage::Following { job, .. } => {
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
                format!(
                    "nobody confirmed {what} in time, and it is not undone: {why} (tries: {tries}; {again})"
                )
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

    fn window(&self) -> Duration {
        Duration::from_secs(self.window_s.into())
    }
}

fn utc_at(at: Duration, now: Clocks) -> String {
    let left = at.saturating_sub(now.boot).as_millis();
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    calendar::utc(now.unix_ms.saturating_add(left))
}

#[cfg(test)]
mod tests;
