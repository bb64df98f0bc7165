//! Holds plans for a moment while the audit log cannot be written (back-pressure).

use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};

use crate::audit::Unwritten;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::job::pipeline::{self, Outcome, RefusedRequest};
use crate::job::recheck::{Check, recheck};
use crate::job::state::Parked;
use crate::request::Plan;
use crate::sandbox::PreforkedJob;
use crate::state::Warden;

/// Maximum number of parked plans, and maximum time.
const PARKED: usize = 100;
const PARKED_FOR: Duration = Duration::from_secs(1);

impl Warden {
    /// Parks a plan until the audit log can be written. Refuses it if too many are parked.
    pub fn park(&mut self, mut plan: Box<Plan>) -> Result<Outcome, Refusal> {
        let parked = self.jobs.all::<Parked>().count();
        if parked >= PARKED {
            self.release_plan(plan);
            return Err(unrecorded(&Unwritten::Later));
        }
        plan.ready = plan.ready.take().map(PreforkedJob::bare);
        let (serial, since) = (self.jobs.next_serial(), Instant::now());
        self.jobs.insert(serial, Parked { since, plan });
        if parked == 0 {
            self.watch_audit();
            self.timers.add(PARKED_FOR, Timer::Parked);
        }
        Ok(Outcome::Parked)
    }

    /// Runs or refuses parked plans, once the audit log can be written again or the time is over.
    pub fn unpark(&mut self) {
        for Parked { since, plan } in self.take_parked() {
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
            let reply = match recheck(self, Check::Parked(&plan)) {
                Ok(()) => pipeline::execute(self, plan),
                Err(unmet) => {
                    self.release_plan(plan);
                    Err(unmet.refusal)
                }
            };
            if let (Ok(Outcome::Parked), Some(last)) =
                (&reply, self.jobs.serials_of::<Parked>().last())
                && let Some(parked) = self.jobs.find_mut::<Parked>(*last)
            {
                // The original start of the wait still counts.
                parked.since = since;
            }
            self.reply(session, ticket, reply.map_err(refused));
        }
        if let Some((_, first)) = self.jobs.all::<Parked>().next() {
            let left = PARKED_FOR.saturating_sub(first.since.elapsed());
            self.timers.add(left, Timer::Parked);
            self.watch_audit();
        }
    }

    fn take_parked(&mut self) -> Vec<Parked> {
        let serials = self.jobs.serials_of::<Parked>();
        let parked = serials.into_iter().map(|serial| self.jobs.take(serial));
        parked.flatten().collect()
    }

    /// Drops all parked plans: their clients are gone, and their tickets belong to another broker.
    pub fn drop_parked(&mut self) {
        for Parked { plan, .. } in self.take_parked() {
            let text = "the broker died while the request waited for its record";
            let refusal = Refusal::new(Code::DaemonUnavailable, text);
            let (subject, session) = (plan.requester.subject.clone(), plan.requester.session);
            self.record_refusal(Some(&subject), Some(session), &refusal, Some(plan.asked()));
            self.release_plan(plan);
        }
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
            && (self.jobs.is_examined(uid, id) || self.lookups.has_request(uid, id))
        {
            let text = "the same request is being examined";
            return Err(Refusal::new(Code::Busy, text).next("ask again in a second"));
        }
        match self
            .jobs
            .all::<Parked>()
            .any(|(_, p)| p.plan.requester.subject.uid() == uid && same(&p.plan))
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
