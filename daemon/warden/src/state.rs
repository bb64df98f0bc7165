//! Holds the warden's state and answers small questions about it.

use std::fs::File;
use std::time::Instant;

use remit_common::admin::LayerCheck;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, Owner, ToBroker};
use remit_policy::{CallerIds, Grant, Lifted, Pending, Terms, Verdict};

use crate::admin::Admins;
use crate::admin::history::HistoryQuestions;
use crate::approval::Approvals;
use crate::approval::grants::Grants;
use crate::audit::Audit;
use crate::audit::rate_limit::{Floods, RateWindow};
use crate::audit::refusals::Refusals;
use crate::config::policy_reload::{Live, Loading};
use crate::config::{Config, MachineLimits};
use crate::event_loop::epoll::Reactor;
use crate::event_loop::shutdown::Shutdown;
use crate::event_loop::timers::Timers;
use crate::identity::arrivals::Arrivals;
use crate::identity::listeners::Listeners;
use crate::identity::lookups::LookUps;
use crate::identity::peer::Subject;
use crate::identity::sessions::Sessions;
use crate::identity::user_names::UserNames;
use crate::job::cleanup::Leftovers;
use crate::job::pipeline::{Outcome, RefusedRequest};
use crate::job::queue::JobSlot;
use crate::job::table::Jobs;
use crate::job::uid_pool::JobUids;
use crate::request::{BoundCall, Call, NewJob, PolicyContext, RequestSummary};
use crate::sandbox::checkup::SelfTestRun;
use crate::sandbox::pool::PreforkPool;
use crate::sandbox::{SandboxManager, Sandboxes};
use crate::service::broker_process::Broker;
use crate::service::sd_notify::Notify;
use crate::startup::arguments::Args;
use crate::state_dir::ledger::Ledger;
use crate::state_dir::lock::{Locked, State};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionState {
    Open,
    Locked(Locked),
    Stopping,
}

#[derive(Debug)]
pub enum Decided {
    Granted(Grant),
    /// A temporary grant allows it, if one of its uses is spent.
    Lifted(Lifted),
    Asks(Box<Pending>),
}

#[derive(Debug)]
pub struct Warden {
    pub args: Args,
    pub config: Config,
    pub limits: MachineLimits,
    pub state: State,
    pub names: UserNames,
    pub reactor: Reactor,
    pub timers: Timers,
    pub signals: nix::sys::signalfd::SignalFd,
    pub listeners: Listeners,
    pub admins: Admins,
    pub sessions: Sessions,
    pub jobs: Jobs,
    pub uids: JobUids,
    pub ledger: Ledger,
    pub approvals: Approvals,
    /// Limits notifications to people.
    pub people: RateWindow,
    /// Limits requests for approval, per user.
    pub asks: RateWindow,
    pub grants: Grants,
    pub lookups: LookUps,
    /// Connections whose account is looked up.
    pub arrivals: Arrivals,
    pub audit: Audit,
    pub questions: HistoryQuestions,
    pub policy: Live,
    pub policy_error: Option<String>,
    pub loading: Option<Loading>,
    /// Account that caused the last reload that no administrator requested.
    pub reloaded_for: Option<Owner>,
    /// Keys of `remit.toml` that a reload found changed.
    pub needs_restart: Vec<&'static str>,
    pub sandbox: SandboxManager,
    pub sandboxes: Sandboxes,
    pub self_test: Option<SelfTestRun>,
    pub broker: Broker,
    pub gate: AdmissionState,
    pub accepting: bool,
    /// Clients are served, so the service manager may be notified.
    pub announced: bool,
    /// Sender of the stop signal.
    pub stopped_by: Option<String>,
    pub shutdown: Option<Shutdown>,
    /// The loop ends at its next turn.
    pub leaving: bool,
    /// Why the daemon ends by itself.
    pub failed: Option<String>,
    pub since: Instant,
    /// Limits records of refusals.
    pub refusals: Floods,
    /// The same for refusals that the broker reports.
    pub broker_refusals: Floods,
    pub recent: Refusals,
    pub notify: Notify,
    pub random: File,
    pub prefork_pool: PreforkPool,
    pub leftovers: Leftovers,
    /// What the daemon itself must not be able to do, as tried at its start.
    pub confined: Vec<LayerCheck>,
}

impl Warden {
    pub fn subject(&self, session: u64) -> Result<Subject, Refusal> {
        match self.sessions.get(session) {
            Some(session) => Ok(session.subject.clone()),
            None => Err(Refusal::new(
                Code::DaemonUnavailable,
                "the session has ended",
            )),
        }
    }

    /// Fails if remit is locked or stopping.
    pub fn check_open(&self) -> Result<(), Refusal> {
        match &self.gate {
            AdmissionState::Open => Ok(()),
            AdmissionState::Locked(locked) => Err(Refusal::new(
                Code::Locked,
                format!("an administrator has locked remit: {}", locked.why),
            )
            .lift("remit unlock")
            .next("stop, and tell the person you work for")),
            AdmissionState::Stopping => {
                let (text, when) = match self.is_waiting_for_changes() {
                    true => (
                        "remitd is stopping, and waits for running changes",
                        "try again when they have ended: remit jobs lists yours",
                    ),
                    false => ("remitd is stopping", "try again in a minute"),
                };
                Err(Refusal::new(Code::DaemonUnavailable, text).next(when))
            }
        }
    }

    /// Returns whether another job of this user may run now, or must wait.
    /// Errors: `busy`, with the limit: no more may wait.
    pub fn admit(&self, uid: u32) -> Result<JobSlot, Refusal> {
        let (all, own) = self.jobs.slots(uid);
        let queue = self.jobs.turns();
        let jobs = &self.config.jobs;
        // A slot that has just become free belongs to the jobs that wait.
        let is_next = |uid| self.jobs.slots(uid).1 < jobs.max_per_user;
        let over = if own >= jobs.max_per_user {
            format!("you have {own} running jobs, the maximum")
        } else if all >= jobs.max {
            format!("this machine has {all} running jobs, the maximum")
        } else if !queue.users().any(is_next) {
            return Ok(JobSlot::Now);
        } else {
            "the jobs of other users are next".to_owned()
        };
        let over = if jobs.queue == 0 || jobs.queue_per_user == 0 {
            format!("{over}, and there is no queue")
        } else if queue.of(uid) >= jobs.queue_per_user {
            format!(
                "{over}, and you have {} queued jobs, the maximum",
                queue.of(uid)
            )
        } else if is_full(queue.of(uid), queue.len(), jobs.queue) {
            format!(
                "{over}, and all users have {} queued jobs, the maximum",
                queue.len()
            )
        } else if self.free_uids() <= jobs.max.saturating_sub(all) {
            // Queued jobs already have their uids. The uids of free slots are not for queued jobs.
            format!("{over}, and no uid of the jobs' range is free for another queued job")
        } else {
            return Ok(JobSlot::Later);
        };
        Err(Refusal::new(Code::Busy, over).next("wait for a job to end, or stop one of yours"))
    }

    pub fn asked(&self, call: &Call) -> RequestSummary {
        let command = call
            .named()
            .and_then(|name| self.policy.policy.command(name));
        RequestSummary::new(call, command.map(AsRef::as_ref))
    }

    /// Fails if the policy in force has another account under this uid.
    pub fn caller_ids<'a>(&self, subject: &'a Subject) -> Result<CallerIds<'a>, Refusal> {
        self.policy.knows(subject.uid(), subject.user())?;
        Ok(by(subject))
    }

    /// Applies the policy and the temporary grants. Denials are errors.
    pub fn decide(&self, subject: &Subject, call: &Call) -> Result<Decided, Refusal> {
        let (names, caller_ids) = (call.env_names(), self.caller_ids(subject)?);
        match self.policy.policy.decide(caller_ids, &call.ask(&names)) {
            Verdict::Allow(grant) => Ok(Decided::Granted(grant)),
            Verdict::Ask(pending) => Ok(match self.by_grant(subject, pending, call) {
                Ok(lifted) => Decided::Lifted(lifted),
                Err(pending) => Decided::Asks(Box::new(pending)),
            }),
            Verdict::Deny(denial) => Err(denial.into()),
        }
    }

    /// Binds a request to exactly what is executed under a rule. Fails as [`BoundCall::new`], or if the self-test did not
    /// pass.
    pub fn bind(&self, call: &Call, terms: &Terms) -> Result<BoundCall, Refusal> {
        let bound = BoundCall::new(call, terms, &self.setting())?;
        self.sandbox.check_usable(bound.compiled.base())?;
        Ok(bound)
    }

    pub fn setting(&self) -> PolicyContext<'_> {
        PolicyContext {
            digest: &self.policy.digest,
            sandboxes: &self.sandboxes,
            limits: &self.limits,
        }
    }

    /// Allocates an id, a number and a uid. Fails if no uid is free, or the kernel has no random bytes.
    pub fn allocate_job(&mut self, slot: JobSlot, bound: &BoundCall) -> Result<NewJob, Refusal> {
        let new = self
            .allocate_names(slot, &bound.compiled)
            .map_err(|error| Refusal::new(Code::NotStarted, format!("no random bytes: {error}")))?;
        new.ok_or_else(|| {
            Refusal::new(Code::Busy, "no uid of the jobs' range is free")
                .next("wait for a job to end")
        })
    }

    /// Reports the result of a request, unless the broker already knows it.
    pub fn reply(&mut self, session: u64, ticket: u64, reply: Result<Outcome, RefusedRequest>) {
        match reply {
            Ok(Outcome::Started | Outcome::Parked) => {}
            Ok(Outcome::Answered(answer)) => self.answer(session, ticket, Ok(answer)),
            Err(RefusedRequest { refusal, asked }) => {
                let subject = self.sessions.name(session).cloned();
                self.record_refusal(subject.as_ref(), Some(session), &refusal, asked.as_deref());
                let answer = Err(refusal);
                self.tell(&ToBroker::Answer { ticket, answer });
            }
        }
    }

    /// Answers a request. A refusal goes into the audit log first.
    pub fn answer(&mut self, session: u64, ticket: u64, answer: Result<Answer, Refusal>) {
        if let Err(refusal) = &answer {
            let subject = self.sessions.name(session).cloned();
            self.record_refusal(subject.as_ref(), Some(session), refusal, None);
        }
        self.tell(&ToBroker::Answer { ticket, answer });
    }

    pub fn tell(&mut self, message: &ToBroker) {
        self.send_history();
        self.broker.send(message, &[]);
    }
}

/// Returns whether one more entry is too many for a user who has `own` of `all`. At the limit, a user without an
/// entry is still admitted, so nobody keeps others out. At most [`caps::FIRSTS`] are, so many users cannot bypass the
/// limit.
pub fn is_full(own: usize, all: usize, most: usize) -> bool {
    let firsts = if own == 0 { caps::FIRSTS } else { 0 };
    all >= most.saturating_add(firsts)
}

pub fn by(subject: &Subject) -> CallerIds<'_> {
    CallerIds {
        uid: subject.uid(),
        gids: subject.gids(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::queue::fits;

    #[test]
    fn a01_many_users_stay_within_global_bounds() {
        for (own, all, is_over) in [
            (0, 127, false),
            (1, 127, false),
            (1, 128, true),
            (0, 128, false),
            (0, 128 + caps::FIRSTS - 1, false),
            (0, 128 + caps::FIRSTS, true),
            (0, usize::MAX, true),
        ] {
            assert_eq!(is_full(own, all, 128), is_over, "{own} of {all}");
        }
        let most = caps::QUEUED_BYTES;
        for (own, all, bytes, is_let_in) in [
            (0, 0, most, true),
            (0, 0, most + 1, false),
            (0, most, most, true),
            (0, most, most + 1, false),
            (0, 2 * most, 1, false),
            (1, most - 1, 1, true),
            (1, most, 1, false),
            (most / 4, most / 4, 1, false),
        ] {
            assert_eq!(
                fits(own, all, bytes),
                is_let_in,
                "{own} of {all}, {bytes} more"
            );
        }
    }
}
