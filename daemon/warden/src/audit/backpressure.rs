//! Holds plans for a moment while the audit log cannot be written (back-pressure).

use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_policy::Basis;

use crate::audit::Unwritten;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::job::pipeline::{Outcome, RefusedRequest};
use crate::request::Plan;
use crate::state::Warden;

/// Maximum number of parked plans, and maximum time.
const PARKED: usize = 100;
const PARKED_FOR: Duration = Duration::from_secs(1);

impl Warden {
    /// Parks a plan until the audit log can be written. Refuses it if the log failed or too many plans are parked.
    pub fn park(&mut self, plan: Box<Plan>, why: Unwritten) -> Result<Outcome, Refusal> {
        match why {
            Unwritten::Later if self.parked.len() < PARKED => {
                self.parked.push_back((Instant::now(), plan));
                if self.parked.len() == 1 {
                    self.watch_audit();
                    self.timers.add(PARKED_FOR, Timer::Parked);
                }
                Ok(Outcome::Parked)
            }
            why => {
                self.release_plan(plan);
                Err(unrecorded(&why))
            }
        }
    }

    /// Runs or refuses parked plans, once the audit log can be written again or the time is over.
    pub fn unpark(&mut self) {
        for (since, plan) in std::mem::take(&mut self.parked) {
            let (session, ticket) = (plan.requester.session, plan.requester.ticket);
            let asked = Rc::clone(plan.asked());
            let refused = |refusal| RefusedRequest {
                refusal,
                asked: Some(asked),
            };
            if since.elapsed() >= PARKED_FOR {
                self.release_plan(plan);
                let refused = refused(unrecorded(&Unwritten::Later));
                self.reply(session, ticket, Err(refused));
                continue;
            }
            let reply = match self.recheck_parked(&plan) {
                Ok(()) => crate::job::pipeline::execute(self, plan),
                Err(refusal) => {
                    self.release_plan(plan);
                    Err(refusal)
                }
            };
            if let (Ok(Outcome::Parked), Some(last)) = (&reply, self.parked.back_mut()) {
                // The original start of the wait still counts.
                last.0 = since;
            }
            self.reply(session, ticket, reply.map_err(refused));
        }
        if let Some((since, _)) = self.parked.front() {
            let left = PARKED_FOR.saturating_sub(since.elapsed());
            self.timers.add(left, Timer::Parked);
            self.watch_audit();
        }
    }

    /// Checks a parked plan again: a lock, a stop or a new policy may have come, or the session may have ended.
    fn recheck_parked(&self, plan: &Plan) -> Result<(), Refusal> {
        self.check_open()?;
        self.sandbox.check_usable(plan.bound.compiled.base())?;
        // Jobs that the daemon starts itself have no session.
        if *plan.basis() != Basis::Notification {
            self.subject(plan.requester.session)?;
        }
        self.recheck_grant(plan.basis())?;
        if plan.policy() == self.policy.digest {
            return Ok(());
        }
        let text = "the policy has changed while the request waited for its record";
        Err(Refusal::new(Code::NotStarted, text).next("ask again"))
    }

    /// Drops all parked plans: their clients are gone, and their tickets belong to another broker.
    pub fn drop_parked(&mut self) {
        for (_, plan) in std::mem::take(&mut self.parked) {
            let text = "the broker died while the request waited for its record";
            let refusal = Refusal::new(Code::DaemonUnavailable, text);
            let (subject, session) = (plan.requester.subject.clone(), plan.requester.session);
            self.record_refusal(Some(&subject), Some(session), &refusal, Some(plan.asked()));
            self.release_plan(plan);
        }
    }

    pub fn release_plan(&mut self, plan: Box<Plan>) {
        self.release_draft(Box::new(plan.into_draft()));
    }

    /// Refuses a request if the same one is parked, being hashed or being looked up.
    /// Errors: `busy`: a second later, the first request is a job or refused.
    pub fn check_not_parked(
        &self,
        uid: u32,
        request: Option<(&str, [u8; 32])>,
    ) -> Result<(), Refusal> {
        let same = |plan: &Plan| {
            let own = plan.request.as_ref().map(|(id, _)| id.as_str());
            own.is_some() && own == request.map(|(id, _)| id)
        };
        if let Some((id, _)) = request
            && (self.approvals.is_measured(uid, id) || self.lookups.has_request(uid, id))
        {
            let text = "the same request is being examined";
            return Err(Refusal::new(Code::Busy, text).next("ask again in a second"));
        }
        match self
            .parked
            .iter()
            .any(|(_, p)| p.requester.subject.uid() == uid && same(p))
        {
            false => Ok(()),
            true => Err(Refusal::new(
                Code::Busy,
                "the same request is waiting for its audit record",
            )
            .next("ask again in a second")),
        }
    }

    pub fn watch_audit(&self) {
        if let Some(fd) = self.audit.fd() {
            // The descriptor may be watched already, or be another socket by now.
            let again = self.reactor.set(fd, Token::Audit, Interest::WriteOnce);
            if again.is_err() {
                let _ = self.reactor.add(fd, Token::Audit, Interest::WriteOnce);
            }
        }
    }
}

/// Builds the refusal, because nothing may run without its audit record.
pub fn unrecorded(why: &Unwritten) -> Refusal {
    Refusal::new(
        Code::NotStarted,
        format!("not started, because it cannot be recorded: {why}"),
    )
    .by("audit")
    .lift("check systemctl status systemd-journald and the disk of the state directory")
    .next("try again later, or tell the person you work for")
}
