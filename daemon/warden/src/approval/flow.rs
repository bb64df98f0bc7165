//! The story of a request that another person has to approve: measured, asked for, measured again, begun.

use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_link::ToBroker;
use remit_policy::Pending;

use super::approver::{self, consent};
use super::digest::{Parts, digest};
use super::measure::{self, AsFound, Found, Measuring, Wanted};
use super::over::Over;
use super::record::{approved, asked};
use super::table::{Approving, Fresh, Request};
use super::wanted::wanted;
use crate::admin::Wants;
use crate::clock::{self, Timer};
use crate::fault::{self, Point};
use crate::often::Often;
use crate::parking::unrecorded;
use crate::peer::Subject;
use crate::pipeline::{Refused, Told};
use crate::plan::{Approved, Draft};
use crate::reactor::{Interest, Token};
use crate::warden::Warden;

/// Requests for an approval of one user, within which time.
const ASKS: usize = 100;
const ASKS_WITHIN: Duration = Duration::from_secs(600);

/// How often each user may ask for an approval.
pub const fn how_often() -> Often {
    Often::new(ASKS, ASKS_WITHIN)
}

impl Warden {
    /// Has the files of a request measured; then somebody is asked to approve it.
    ///
    /// # Errors
    /// Too much waits already, or the child cannot be forked.
    pub fn ask_a_person(&mut self, draft: Box<Draft>, pending: Pending) -> Result<Told, Refusal> {
        let serial = self.approvals.next_serial();
        let room = self
            .has_room_to_ask(&draft)
            .and_then(|()| self.asks_seldom(draft.requester.subject.uid()));
        match room.and_then(|()| self.start_measuring(serial, &wanted(&draft))) {
            Ok(measuring) => {
                let fresh = Fresh {
                    draft,
                    pending,
                    measuring,
                };
                self.approvals.measure(serial, fresh);
                Ok(Told::Parked)
            }
            Err(refusal) => {
                self.drop_draft(draft);
                Err(refusal)
            }
        }
    }

    /// Each request is a record before anybody has granted anything: who asks and takes it back, again and again,
    /// would fill the trail.
    fn asks_seldom(&mut self, uid: u32) -> Result<(), Refusal> {
        if self.asks.take(uid, Instant::now()) {
            return Ok(());
        }
        let minutes = ASKS_WITHIN.as_secs() / 60;
        let text = format!("you have asked for {ASKS} approvals within {minutes} minutes");
        Err(Refusal::new(Code::RateLimited, text)
            .next("stop asking; tell the person you work for what you need"))
    }

    fn has_room_to_ask(&self, draft: &Draft) -> Result<(), Refusal> {
        let uid = draft.requester.subject.uid();
        self.approvals.has_room(uid, draft.held)?;
        // What is taken by those that wait is not for what may run at once.
        match self.free_uids() < self.config.jobs.max.saturating_sub(self.jobs.count(uid).0) {
            false => Ok(()),
            true => {
                let text = "no uid of the jobs' range is left for more that wait";
                Err(Refusal::new(Code::Busy, text).next("ask again when some of them are decided"))
            }
        }
    }

    /// Forks the child that measures.
    ///
    /// # Errors
    /// It cannot be forked.
    pub fn start_measuring(&mut self, serial: u64, wanted: &Wanted) -> Result<Measuring, Refusal> {
        let cannot = |why: String| {
            let text = format!("its files cannot be measured: {why}");
            Refusal::new(Code::NotStarted, text)
        };
        let measuring = Measuring::start(wanted).map_err(cannot)?;
        self.reactor
            .add(measuring.fd(), Token::Measuring(serial), Interest::Read)
            .map_err(|error| cannot(error.to_string()))?;
        let patience = measuring.end.saturating_duration_since(Instant::now());
        self.timers.add(patience, Timer::Measuring(serial));
        Ok(measuring)
    }

    /// A child that measures got on.
    pub fn measured(&mut self, serial: u64) {
        let measuring = match self.approvals.fresh(serial) {
            Some(fresh) => Some(&mut fresh.measuring),
            None => {
                let request = self.approvals.get_mut(serial);
                let approving = request.and_then(|request| request.approving.as_mut());
                let approving = approving.map(|approving| &mut approving.measuring);
                approving.or_else(|| self.queue.measuring(serial))
            }
        };
        if let Some(found) = measuring.and_then(Measuring::read) {
            self.has_measured(serial, found);
        }
    }

    /// A child that measures has had its time.
    pub fn measuring_late(&mut self, serial: u64) {
        self.has_measured(serial, Err(measure::late()));
    }

    fn has_measured(&mut self, serial: u64, found: Result<Found, String>) {
        self.timers.cancel(Timer::Measuring(serial));
        let found = match self.looked_again(serial, found) {
            Ok(()) => return,
            Err(found) => found,
        };
        if let Some(fresh) = self.approvals.take_fresh(serial) {
            self.reactor.remove(fresh.measuring.fd());
            let requester = &fresh.draft.requester;
            let (session, ticket) = (requester.session, requester.ticket);
            let asked = Rc::clone(fresh.draft.asked());
            let told = self.asked_for(serial, fresh, found).map_err(|refusal| {
                let asked = Some(asked);
                Refused { refusal, asked }
            });
            self.told(session, ticket, told);
            return;
        }
        let request = self.approvals.get_mut(serial);
        if let Some((job, approving)) =
            request.and_then(|request| Some((request.draft.job, request.approving.take()?)))
        {
            self.reactor.remove(approving.measuring.fd());
            let reply = self.carried_out(serial, &approving.by, found);
            self.tell_approver(job, &approving.by, reply);
        }
    }

    /// Its files are measured: from here on the request waits, whatever becomes of its client.
    fn asked_for(
        &mut self,
        serial: u64,
        fresh: Fresh,
        found: Result<Found, String>,
    ) -> Result<Told, Refusal> {
        let Fresh {
            mut draft,
            pending,
            measuring,
        } = fresh;
        let found = self
            .still_to_be_asked(&draft, found)
            .and_then(|found| self.hold_copies(&mut draft, measuring, found));
        let found = match found {
            Ok(found) => found,
            Err(refusal) => {
                self.drop_draft(draft);
                return Err(refusal);
            }
        };
        let lasts = Duration::from_secs(pending.approval().expires_s().into());
        let asked_ms = clock::unix_ms();
        let mut request = Request {
            expires_ms: asked_ms.saturating_add(clock::millis(lasts)),
            deadline: clock::since_boot().saturating_add(lasts),
            draft,
            pending,
            found,
            digest: [0; 32],
            asked_ms,
            since: Instant::now(),
            approving: None,
        };
        request.digest = self.digest_of(&request);
        if let Err(error) = self.ledger.ask(&request.draft) {
            self.drop_draft(request.draft);
            let text = format!("the ledger of jobs cannot be written: {error}");
            let refusal = Refusal::new(Code::NotStarted, text);
            return Err(refusal.lift("make room on the state directory's disk"));
        }
        if let Err(why) = self.audit.write(asked(&request)) {
            self.drop_draft(request.draft);
            return Err(unrecorded(&why));
        }
        fault::point(self, Point::AfterAsk);
        self.jobs.claim(&request.draft);
        self.tell(&ToBroker::Job {
            secrets: request.draft.secrets(),
            ticket: Some(request.draft.requester.ticket),
            meta: Box::new(request.meta()),
        });
        self.timers.add(lasts, Timer::Approval(serial));
        let (pending, view) = (request.pending_view(None), request.view());
        self.approvals.ask(serial, request);
        self.tell_people(&pending, &view);
        Ok(Told::Started)
    }

    /// Whether a request may wait for an approval now that its files were measured.
    fn still_to_be_asked(
        &self,
        draft: &Draft,
        found: Result<Found, String>,
    ) -> Result<AsFound, Refusal> {
        self.open_for_work()?;
        self.subject(draft.requester.session)?;
        if draft.policy() != self.policy.digest {
            let text = "the policy has changed while the request was looked at";
            return Err(Refusal::new(Code::NotStarted, text).next("ask again"));
        }
        let found = found.map_err(|why| Refusal::new(Code::NotStarted, why))?;
        let Found {
            files,
            loose,
            people,
            does,
        } = found;
        match self.lost_right(&draft.requester.subject, &people) {
            Some(why) => Err(Refusal::new(Code::DeniedRule, why)),
            None => Ok(AsFound { files, loose, does }),
        }
    }

    /// Begins to carry out an approval; its outcome is told later.
    ///
    /// # Errors
    /// This person cannot approve this, or not now.
    pub fn approve(
        &mut self,
        by: &Subject,
        job: JobId,
        digest: &[u8; 32],
    ) -> Result<Wants, Refusal> {
        self.open_for_work()?;
        self.end_expired();
        let serial = self.approvals.serial(job).ok_or_else(no_such_request)?;
        let request = self.approvals.get(serial).ok_or_else(no_such_request)?;
        self.who(by)?;
        approver::may_approve(by, request)?;
        if request.digest != *digest {
            let text = "this is not the digest of what would run: nothing is approved";
            return Err(Refusal::new(Code::InvalidArgs, text)
                .object(job.to_string())
                .next("look at it again with remit show, and approve what is shown"));
        }
        if let Some(other) = &request.approving {
            let text = format!("{} approves it just now", other.by.user());
            return Err(Refusal::new(Code::Busy, text).next("remit jobs shows what became of it"));
        }
        if !self.approvals.may_approve_more() {
            let text = "too many approvals are carried out just now";
            return Err(Refusal::new(Code::Busy, text).next("approve it again in a second"));
        }
        self.walls.open_for(request.draft.bound.compiled.base())?;
        let mut wanted = wanted(&request.draft);
        wanted.people.add(by);
        let measuring = self.start_measuring(serial, &wanted)?;
        if let Some(request) = self.approvals.get_mut(serial) {
            let by = by.clone();
            request.approving = Some(Approving { by, measuring });
        }
        Ok(Wants::Approval(job))
    }

    /// All was measured again: what was approved begins, or takes its place in the queue.
    fn carried_out(
        &mut self,
        serial: u64,
        by: &Subject,
        found: Result<Found, String>,
    ) -> Result<String, Refusal> {
        self.end_expired();
        let request = self.approvals.get(serial).ok_or_else(no_such_request)?;
        if let Ok(found) = &found {
            let group = self.admins.group();
            approver::may_still_approve(by, &found.people, group, request)?;
        }
        if let Some(why) = self.changed_since(&request.draft, &request.found, found) {
            let over = Over::void(&why);
            let refusal = over.refusal();
            self.end_request(serial, over);
            return Err(refusal);
        }
        self.open_for_work()?;
        let uid = request.draft.requester.subject.uid();
        self.room_for(uid)?;
        self.queue.has_room(uid, request.draft.held)?;
        // Nothing runs unrecorded; until then it waits as before.
        let record = approved(request, by);
        self.audit.write(record).map_err(|why| unrecorded(&why))?;
        fault::point(self, Point::AfterApproval);
        let request = self.approvals.take(serial).ok_or_else(no_such_request)?;
        let approved = Approved {
            digest: request.digest,
            deadline: request.deadline,
            files: request.measured(),
            found: request.found,
        };
        let Request { draft, pending, .. } = request;
        let grant = match pending.approved(&consent(by, &draft.requester.subject)) {
            Ok(grant) => grant,
            // Asked above; whoever changes that must not make it run.
            Err(_) => {
                self.drop_draft(draft);
                return Err(no_such_request());
            }
        };
        let job = draft.job;
        self.tell(&ToBroker::Approved { job });
        let plan = Box::new(draft.granted(grant, Some(approved)));
        self.take_place(plan, request.asked_ms);
        let name = job.short();
        if self.jobs.serial(job).is_some() {
            self.timers.cancel(Timer::Approval(serial));
            return Ok(format!("approved; job {name} has started"));
        }
        if self.queue.get(job).is_some() {
            // Its timer stays: it waits no longer for a place than it could for an approval.
            return Ok(format!("approved; job {name} waits for a place"));
        }
        let ended = self.jobs.ended().find(|meta| meta.job == job);
        let ending = ended.and_then(|meta| meta.ending.as_ref());
        let why = ending.map_or("it has ended", |ending| &ending.cause);
        Err(Refusal::new(
            Code::NotStarted,
            format!("approved, but it did not start: {why}"),
        ))
    }

    /// The digest of what waits, as it is now.
    fn digest_of(&self, request: &Request) -> [u8; 32] {
        digest(&Parts {
            machine_id: &self.approvals.machine_id,
            key: &self.approvals.key,
            draft: &request.draft,
            files: &request.found.files,
            does: &request.found.does,
            rule: &request.pending.rule().to_string(),
            expires_ms: request.expires_ms,
        })
    }

    /// Forgets requests whose files are being measured: those who asked are gone, and their tickets are
    /// another broker's.
    pub fn drop_measured(&mut self) {
        for fresh in self.approvals.take_all_fresh() {
            self.reactor.remove(fresh.measuring.fd());
            let text = "the broker died while the request was looked at";
            let refusal = Refusal::new(Code::DaemonUnavailable, text);
            let requester = &fresh.draft.requester;
            let (subject, session) = (requester.subject.clone(), requester.session);
            let asked = Some(fresh.draft.asked().as_ref());
            self.record_refusal(Some(&subject), Some(session), &refusal, asked);
            self.drop_draft(fresh.draft);
        }
    }

    /// Undoes what a request holds that never was a job, or never will be.
    pub fn drop_draft(&mut self, draft: Box<Draft>) {
        self.ledger.forget(draft.job);
        self.undo(draft.ready, draft.uid);
    }
}

/// The one answer to an id that is unknown, and to one that waits no longer for whatever reason.
pub fn no_such_request() -> Refusal {
    Refusal::new(
        Code::NotFound,
        "no request with this id waits for an approval",
    )
    .next("remit pending lists those that wait; remit jobs those that were decided")
}
