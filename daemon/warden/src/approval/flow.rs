//! The sequence of a request that needs an approval: measure, ask, approve, measure again, start.

use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_link::ToBroker;
use remit_policy::Pending;

use super::approver::{self, consent};
use super::digest::{Parts, digest, encode};
use super::table::{Approving, MeasuringRequest, Request};
use super::view::{approved, asked};
use super::wanted::wanted;
use crate::admin::Wants;
use crate::approval::end::RequestEnd;
use crate::approval::file_hash::{self, MeasuredFiles, Measuring, Wanted};
use crate::audit::backpressure::unrecorded;
use crate::audit::rate_limit::RateWindow;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::{self, Timer};
use crate::identity::peer::Subject;
use crate::job::life::Event;
use crate::job::pipeline::{self, Admission, Outcome, RefusedRequest};
use crate::job::recheck::{Check, recheck};
use crate::request::{Approved, Draft};
use crate::startup::fault::{self, Point};
use crate::state::Warden;

const ASKS: usize = 100;
const ASKS_WITHIN: Duration = Duration::from_secs(600);

pub const fn rate_window() -> RateWindow {
    RateWindow::new(ASKS, ASKS_WITHIN)
}

impl Warden {
    /// Starts to measure files; the approver is asked afterwards. Fails if too much waits or the user asks too
    /// often.
    pub fn ask_a_person(
        &mut self,
        mut draft: Box<Draft>,
        pending: Pending,
    ) -> Result<Outcome, Refusal> {
        let serial = self.jobs.next_serial();
        let allowed = self
            .check_pending_limits(&draft)
            .and_then(|()| self.check_ask_rate(draft.requester.subject.uid()));
        let examined = allowed.and_then(|()| Ok(draft.life.advance(Event::NeedsApproval)?));
        match examined.and_then(|_| self.start_measuring(serial, &wanted(&draft))) {
            Ok(measuring) => {
                let fresh = MeasuringRequest {
                    draft,
                    pending,
                    measuring,
                };
                self.jobs.insert(serial, fresh);
                Ok(Outcome::Parked)
            }
            Err(refusal) => {
                self.release_draft(draft);
                Err(refusal)
            }
        }
    }

    /// A request is recorded before anybody grants anything, so unlimited requests could fill the audit log.
    fn check_ask_rate(&mut self, uid: u32) -> Result<(), Refusal> {
        if self.asks.take(uid, Instant::now()) {
            return Ok(());
        }
        let minutes = ASKS_WITHIN.as_secs() / 60;
        let text = format!("you have asked for {ASKS} approvals within {minutes} minutes");
        Err(Refusal::new(Code::RateLimited, text)
            .next("stop asking; tell the person you work for what you need"))
    }

    fn check_pending_limits(&self, draft: &Draft) -> Result<(), Refusal> {
        let uid = draft.requester.subject.uid();
        self.jobs.check_requests(uid, draft.held)?;
        // Waiting requests must not take the uids of jobs that could run now.
        match self.free_uids() < self.config.jobs.max.saturating_sub(self.jobs.slots(uid).0) {
            false => Ok(()),
            true => {
                let text = "no uid of the jobs' range is free for another request";
                Err(Refusal::new(Code::Busy, text).next("ask again when some of them were decided"))
            }
        }
    }

    pub fn start_measuring(&mut self, serial: u64, wanted: &Wanted) -> Result<Measuring, Refusal> {
        let cannot = |why: String| {
            let text = format!("cannot hash its files: {why}");
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

    pub fn read_measured(&mut self, serial: u64) {
        if self.on_compared(serial, false) {
            return;
        }
        let measuring = self.jobs.measuring(serial);
        if let Some(found) = measuring.and_then(Measuring::read) {
            self.on_measured(serial, found);
        }
    }

    pub fn on_measuring_timeout(&mut self, serial: u64) {
        if self.on_compared(serial, true) {
            return;
        }
        self.on_measured(serial, Err(file_hash::late()));
    }

    fn on_measured(&mut self, serial: u64, found: Result<MeasuredFiles, String>) {
        self.timers.cancel(Timer::Measuring(serial));
        let found = match self.on_measured_again(serial, found) {
            Ok(()) => return,
            Err(found) => found,
        };
        if let Some(fresh) = self.jobs.take::<MeasuringRequest>(serial) {
            self.reactor.remove(fresh.measuring.fd());
            let requester = &fresh.draft.requester;
            let (session, ticket) = (requester.session, requester.ticket);
            let asked = Rc::clone(fresh.draft.asked());
            let reply = self.admit_request(serial, fresh, found).map_err(|refusal| {
                let asked = Some(asked);
                RefusedRequest { refusal, asked }
            });
            self.reply(session, ticket, reply);
            return;
        }
        let request = self.jobs.find_mut::<Request>(serial);
        if let Some((job, approving)) =
            request.and_then(|request| Some((request.draft.job, request.approving.take()?)))
        {
            self.reactor.remove(approving.measuring.fd());
            let reply = self.finish_approval(serial, &approving.by, found);
            let request = self.jobs.find_mut::<Request>(serial);
            let undone = request.map(|request| request.draft.life.advance(Event::NotApproved));
            if let Some(Err(wrong)) = undone {
                self.end_request(serial, RequestEnd::void(&wrong.to_string()));
            }
            self.tell_approver(job, &approving.by, reply);
        }
    }

    /// From here on the request waits for an approval, even if its client disconnects.
    fn admit_request(
        &mut self,
        serial: u64,
        fresh: MeasuringRequest,
        found: Result<MeasuredFiles, String>,
    ) -> Result<Outcome, Refusal> {
        let MeasuringRequest {
            mut draft,
            pending,
            measuring,
        } = fresh;
        let found = recheck(self, Check::Examined(&draft, &found))
            .map_err(|unmet| unmet.refusal)
            .and_then(|()| found.map_err(|why| Refusal::new(Code::NotStarted, why)))
            .and_then(|found| self.hold_copies(&mut draft, measuring, found.split().0));
        let found = match found {
            Ok(found) => found,
            Err(refusal) => {
                self.release_draft(draft);
                return Err(refusal);
            }
        };
        let lasts = Duration::from_secs(pending.approval().expires_s().into());
        let asked_ms = timers::unix_ms();
        let mut request = Request {
            expires_ms: asked_ms.saturating_add(timers::millis(lasts)),
            deadline: timers::since_boot().saturating_add(lasts),
            draft,
            pending,
            found,
            encoded: Vec::new(),
            digest: [0; 32],
            asked_ms,
            since: Instant::now(),
            approving: None,
        };
        request.encoded = self.encoded(&request);
        request.digest = digest(&request.encoded);
        let uid = request.draft.requester.subject.uid();
        if let Err(refusal) = self.jobs.check_requests_bytes(uid, request.held()) {
            self.release_draft(request.draft);
            return Err(refusal);
        }
        let (record, meta) = (asked(&request), request.meta());
        let admitted = pipeline::admit(self, &mut request.draft, Admission::Approval, record, meta);
        if let Err(refusal) = admitted {
            self.release_draft(request.draft);
            return Err(refusal);
        }
        self.timers.add(lasts, Timer::Approval(serial));
        let (pending, view) = (request.pending_view(None), request.view());
        self.jobs.insert(serial, request);
        self.tell_people(&pending, &view);
        Ok(Outcome::Started)
    }

    /// Starts to approve; the result is reported after the files are measured again.
    pub fn approve(
        &mut self,
        by: &Subject,
        job: JobId,
        digest: &[u8; 32],
    ) -> Result<Wants, Refusal> {
        self.check_open()?;
        self.end_expired();
        let serial = self
            .jobs
            .serial_of::<Request>(job)
            .ok_or_else(no_such_request)?;
        let request = self
            .jobs
            .find::<Request>(serial)
            .ok_or_else(no_such_request)?;
        self.caller_ids(by)?;
        approver::may_approve(by, request)?;
        if request.digest != *digest {
            let text = "not approved: this is not the digest of what would run";
            return Err(Refusal::new(Code::InvalidArgs, text)
                .object(job.to_string())
                .next("run remit show again, and approve what it shows"));
        }
        if let Some(other) = &request.approving {
            let text = format!("{} is approving it just now", other.by.user());
            return Err(Refusal::new(Code::Busy, text).next("remit jobs shows the result"));
        }
        if !self.jobs.may_approve_more() {
            let text = "too many approvals are in progress";
            return Err(Refusal::new(Code::Busy, text).next("approve it again in a second"));
        }
        self.sandbox
            .check_usable(request.draft.bound.compiled.base())?;
        let hashed = request.draft.life.foresee(Event::Approve)?;
        let mut wanted = wanted(&request.draft);
        wanted.people.add(by);
        let measuring = self.start_measuring(serial, &wanted)?;
        if let Some(request) = self.jobs.find_mut::<Request>(serial) {
            let by = by.clone();
            request.draft.life.follow(hashed);
            request.approving = Some(Approving { by, measuring });
        }
        Ok(Wants::Approval(job))
    }

    fn finish_approval(
        &mut self,
        serial: u64,
        by: &Subject,
        found: Result<MeasuredFiles, String>,
    ) -> Result<String, Refusal> {
        self.end_expired();
        let request = self
            .jobs
            .find::<Request>(serial)
            .ok_or_else(no_such_request)?;
        match recheck(self, Check::Approving(request, by, &found)) {
            Ok(()) => {}
            Err(unmet) if unmet.is_change() => {
                let over = RequestEnd::void(&unmet.refusal.message);
                let refusal = over.refusal();
                self.end_request(serial, over);
                return Err(refusal);
            }
            Err(unmet) => return Err(unmet.refusal),
        }
        let uid = request.draft.requester.subject.uid();
        self.admit(uid)?;
        self.jobs.check_queued_bytes(uid, request.draft.held)?;
        let queued = request.draft.life.foresee(Event::Approved)?;
        // Nothing runs without a record. If this fails, the request still waits.
        let record = approved(request, by);
        self.audit.write(record).map_err(|why| unrecorded(&why))?;
        fault::point(self, Point::AfterApproval);
        let request = self
            .jobs
            .take::<Request>(serial)
            .ok_or_else(no_such_request)?;
        let approved = Approved {
            by: by.clone(),
            asked: request.pending.approval().clone(),
            digest: request.digest,
            deadline: request.deadline,
            files: request.measured(),
            found: request.found,
        };
        let Request {
            mut draft, pending, ..
        } = request;
        draft.life.follow(queued);
        let grant = match pending.approved(&consent(by, &draft.requester.subject)) {
            Ok(grant) => grant,
            // Checked above. If that check changes, this must still not run.
            Err(_) => {
                self.release_draft(draft);
                return Err(no_such_request());
            }
        };
        let job = draft.job;
        self.tell(&ToBroker::Approved { job });
        let plan = Box::new(draft.granted(grant, Some(approved)));
        self.enqueue_approved(plan, request.asked_ms);
        let name = job.short();
        if self.jobs.serial(job).is_some() {
            self.timers.cancel(Timer::Approval(serial));
            return Ok(format!("approved; job {name} has started"));
        }
        if self.jobs.is_waiting(job) {
            // The timer stays: the job waits for a slot no longer than it could for an approval.
            return Ok(format!("approved; job {name} is queued"));
        }
        let ended = self.jobs.ended().find(|meta| meta.job == job);
        let ending = ended.and_then(|meta| meta.ending.as_ref());
        let why = ending.map_or("it has ended", |ending| &ending.cause);
        Err(Refusal::new(
            Code::NotStarted,
            format!("approved, but it did not start: {why}"),
        ))
    }

    fn encoded(&self, request: &Request) -> Vec<u8> {
        encode(&Parts {
            machine_id: &self.approvals.machine_id,
            key: &self.approvals.key,
            draft: &request.draft,
            files: &request.found.files,
            does: &request.found.does,
            rule: &request.pending.rule().to_string(),
            expires_ms: request.expires_ms,
        })
    }

    /// Drops requests that are being measured: their clients are gone, and their tickets belong to the dead broker.
    pub fn drop_measured(&mut self) {
        for serial in self.jobs.serials_of::<MeasuringRequest>() {
            let Some(fresh) = self.jobs.take::<MeasuringRequest>(serial) else {
                continue;
            };
            self.reactor.remove(fresh.measuring.fd());
            let text = "the broker died while the request was examined";
            let refusal = Refusal::new(Code::DaemonUnavailable, text);
            let requester = &fresh.draft.requester;
            let (subject, session) = (requester.subject.clone(), requester.session);
            let asked = Some(fresh.draft.asked().as_ref());
            self.record_refusal(Some(&subject), Some(session), &refusal, asked);
            self.release_draft(fresh.draft);
        }
    }
}

/// Returns the same answer for an unknown id and for a request that no longer waits.
pub fn no_such_request() -> Refusal {
    Refusal::new(
        Code::NotFound,
        "no request with this id is waiting for an approval",
    )
    .next("remit pending lists waiting requests, remit jobs lists decided ones")
}
