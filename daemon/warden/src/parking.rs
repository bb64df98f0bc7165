//! Plans that wait a moment because the trail is full.

use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_policy::Basis;

use crate::audit::Unwritten;
use crate::clock::Timer;
use crate::pipeline::{Refused, Told};
use crate::plan::Plan;
use crate::reactor::{Interest, Token};
use crate::warden::Warden;

/// Plans that may wait for room in the trail, and for how long.
const PARKED: usize = 100;
const PARKED_FOR: Duration = Duration::from_secs(1);

impl Warden {
    /// Lets a plan wait for room in the trail, or refuses it.
    ///
    /// # Errors
    /// The trail failed, or too many wait.
    pub fn park(&mut self, plan: Box<Plan>, why: Unwritten) -> Result<Told, Refusal> {
        match why {
            Unwritten::Later if self.parked.len() < PARKED => {
                self.parked.push_back((Instant::now(), plan));
                if self.parked.len() == 1 {
                    self.watch_audit();
                    self.timers.add(PARKED_FOR, Timer::Parked);
                }
                Ok(Told::Parked)
            }
            why => {
                self.drop_plan(plan);
                Err(unrecorded(&why))
            }
        }
    }

    /// The trail has room again, or time has passed: what is parked runs or is refused.
    pub fn unpark(&mut self) {
        for (since, plan) in std::mem::take(&mut self.parked) {
            let (session, ticket) = (plan.requester.session, plan.requester.ticket);
            let asked = Rc::clone(plan.asked());
            let refused = |refusal| Refused {
                refusal,
                asked: Some(asked),
            };
            if since.elapsed() >= PARKED_FOR {
                self.drop_plan(plan);
                let refused = refused(unrecorded(&Unwritten::Later));
                self.told(session, ticket, Err(refused));
                continue;
            }
            let told = match self.still_wanted(&plan) {
                Ok(()) => crate::pipeline::execute(self, plan),
                Err(refusal) => {
                    self.drop_plan(plan);
                    Err(refusal)
                }
            };
            if let (Ok(Told::Parked), Some(last)) = (&told, self.parked.back_mut()) {
                // It waits no longer than it would have.
                last.0 = since;
            }
            self.told(session, ticket, told.map_err(refused));
        }
        if let Some((since, _)) = self.parked.front() {
            let left = PARKED_FOR.saturating_sub(since.elapsed());
            self.timers.add(left, Timer::Parked);
            self.watch_audit();
        }
    }

    /// Whether a plan that waited may run: a lock, a stop or a new policy may have come, or the
    /// session has ended.
    fn still_wanted(&self, plan: &Plan) -> Result<(), Refusal> {
        self.open_for_work()?;
        self.walls.open_for(plan.bound.compiled.base())?;
        // What the daemon runs of its own accord has no session.
        if *plan.basis() != Basis::Notification {
            self.subject(plan.requester.session)?;
        }
        self.still_given(plan.basis())?;
        if plan.policy() == self.policy.digest {
            return Ok(());
        }
        let text = "the policy has changed while the request waited for its record";
        Err(Refusal::new(Code::NotStarted, text).next("ask again"))
    }

    /// Forgets the plans that wait: those who asked are gone, and their tickets are another broker's.
    pub fn drop_parked(&mut self) {
        for (_, plan) in std::mem::take(&mut self.parked) {
            let text = "the broker died while the request waited for its record";
            let refusal = Refusal::new(Code::DaemonUnavailable, text);
            let (subject, session) = (plan.requester.subject.clone(), plan.requester.session);
            self.record_refusal(Some(&subject), Some(session), &refusal, Some(plan.asked()));
            self.drop_plan(plan);
        }
    }

    /// Undoes what a plan holds that never ran.
    pub fn drop_plan(&mut self, plan: Box<Plan>) {
        self.drop_draft(Box::new(plan.into_draft()));
    }

    /// Whether the same request waits for its record already, or is measured before somebody is asked.
    ///
    /// # Errors
    /// It does: asked again in a second, it is a job or a refusal.
    pub fn not_parked(&self, uid: u32, request: Option<(&str, [u8; 32])>) -> Result<(), Refusal> {
        let same = |plan: &Plan| {
            let own = plan.request.as_ref().map(|(id, _)| id.as_str());
            own.is_some() && own == request.map(|(id, _)| id)
        };
        if let Some((id, _)) = request
            && (self.approvals.is_measured(uid, id) || self.lookups.has_request(uid, id))
        {
            let text = "the same request is looked at just now";
            return Err(Refusal::new(Code::Busy, text).next("ask again in a second"));
        }
        match self
            .parked
            .iter()
            .any(|(_, p)| p.requester.subject.uid() == uid && same(p))
        {
            false => Ok(()),
            true => Err(
                Refusal::new(Code::Busy, "the same request is waiting for its record")
                    .next("ask again in a second"),
            ),
        }
    }

    /// Waits for room in the trail.
    pub fn watch_audit(&self) {
        if let Some(fd) = self.audit.fd() {
            // It may be watched already, or be another socket by now.
            let again = self.reactor.set(fd, Token::Audit, Interest::WriteOnce);
            if again.is_err() {
                let _ = self.reactor.add(fd, Token::Audit, Interest::WriteOnce);
            }
        }
    }
}

/// Nothing runs without its record.
pub fn unrecorded(why: &Unwritten) -> Refusal {
    Refusal::new(Code::NotStarted, format!("nothing runs unrecorded: {why}"))
        .by("audit")
        .lift("systemctl status systemd-journald, or the disk of the state directory")
        .next("try again later, or tell the person you work for")
}
