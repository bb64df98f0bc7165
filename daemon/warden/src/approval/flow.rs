//! The sequence of a request that needs an approval: measure, ask, approve, measure again, start.

use std::rc::Rc;

use remit_common::admin::{AdminReply, AuditHead};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::{armored, body};
use remit_link::ToBroker;
use remit_policy::Pending;
use remit_trail::Link;

use super::accepted::AcceptedSignatures;
use super::counted::count_approval;
use super::digest::digest;
use super::end::{self, RequestEnd};
use super::signature::{SignatureWanted, check_form, unsigned};
use super::table::{Approval, Approving, MeasuringRequest, Request, no_such_request};
use super::view::{approved, asked};
use super::wanted::{hold_copies, opens_wanted, wanted};
use super::{approver, copies, notification};
use crate::admin::Wants;
use crate::approval::file_hash::{self, Measurement};
use crate::audit::reports::Outcome;
use crate::audit::unrecorded;
use crate::event_loop::timers::{self, Timer};
use crate::identity::peer::Subject;
use crate::job::context::RequestCx;
use crate::job::life::Event;
use crate::job::recheck::{Check, Condition, recheck};
use crate::job::start::{self, Admission};
use crate::job::{backpressure, ended, queue};
use crate::request::{Approved, ApprovedBy, Draft};
use crate::startup::fault::{self, Point};

/// Starts to measure files; the approver is asked afterwards. Fails if too much waits or the user asks too often.
pub fn ask_a_person(
    cx: &mut RequestCx<'_>,
    mut draft: Box<Draft>,
    pending: Pending,
) -> Result<Outcome, Refusal> {
    let serial = cx.job.jobs.next_serial();
    let allowed = check_pending_limits(cx, &draft)
        .and_then(|()| cx.approvals.check_ask_rate(draft.requester.subject.uid()));
    let examined = allowed.and_then(|()| Ok(draft.life.advance(Event::NeedsApproval)?));
    let in_force = cx.approvals.grants.in_force();
    let opens = opens_wanted(&draft, cx.situation(&in_force));
    let reactor = &mut *cx.job.reactor;
    let started = examined.and_then(|_| wanted(&draft).start_with(reactor, serial, opens.as_ref()));
    match started {
        Ok(measuring) => {
            let fresh = MeasuringRequest {
                draft,
                pending,
                measuring,
            };
            cx.job.jobs.insert(serial, fresh);
            Ok(Outcome::Parked)
        }
        Err(refusal) => {
            ended::release_draft(&mut cx.job, draft);
            Err(refusal)
        }
    }
}

fn check_pending_limits(cx: &RequestCx<'_>, draft: &Draft) -> Result<(), Refusal> {
    let uid = draft.requester.subject.uid();
    cx.job.jobs.check_requests(uid, draft.held)?;
    // Waiting requests must not take the uids of jobs that could run now.
    let free_slots = cx.settings.config.jobs.max;
    let free_slots = free_slots.saturating_sub(cx.job.jobs.slots.all());
    match cx.job.sandbox.free_uids() < free_slots {
        false => Ok(()),
        true => {
            let text = "no uid of the jobs' range is free for another request";
            Err(Refusal::new(Code::Busy, text).next("ask again when some of them were decided"))
        }
    }
}

pub fn read_measured(cx: &mut RequestCx<'_>, serial: u64) {
    if copies::on_compared(cx, serial, false) {
        return;
    }
    let measuring = cx.job.jobs.measuring(serial);
    let Some((measuring, found)) = measuring.and_then(|m| m.read().map(|found| (m, found))) else {
        return;
    };
    if cx.job.reports.audit.is_writable() {
        return on_measured(cx, serial, found);
    }
    // Otherwise the end of the pipe wakes the loop all the time.
    cx.job.reactor.remove(measuring.fd());
    cx.job.reactor.timers.cancel(Timer::Measuring(serial));
    backpressure::delay_measured(cx, serial, found);
}

pub fn on_measuring_timeout(cx: &mut RequestCx<'_>, serial: u64) {
    if copies::on_compared(cx, serial, true) {
        return;
    }
    on_measured(cx, serial, Err(file_hash::late()));
}

/// What was measured for a request, an approval, or the start of a job.
pub fn on_measured(cx: &mut RequestCx<'_>, serial: u64, found: Measurement) {
    cx.job.reactor.timers.cancel(Timer::Measuring(serial));
    let found = match queue::on_measured_again(cx, serial, found) {
        Ok(waiting) => {
            if let Some(waiting) = waiting {
                queue::start_queued(cx, waiting);
            }
            return;
        }
        Err(found) => found,
    };
    if let Some(fresh) = cx.job.jobs.take::<MeasuringRequest>(serial) {
        cx.job.reactor.remove(fresh.measuring.fd());
        let requester = &fresh.draft.requester;
        let to = (requester.session, requester.ticket);
        let asked = Rc::clone(fresh.draft.asked());
        let reply = admit_request(cx, serial, fresh, found);
        let reports = &mut cx.job.reports;
        reports.reply(cx.sessions, to, Some(&asked), reply);
        return;
    }
    let request = cx.job.jobs.find_mut::<Request>(serial);
    if let Some((job, digest, approving)) = request
        .and_then(|request| Some((request.draft.job, request.digest, request.approving.take()?)))
    {
        cx.job.reactor.remove(approving.measuring.fd());
        let reply = finish_approval(cx, (serial, job), &approving.by, found);
        let request = cx.job.jobs.find_mut::<Request>(serial);
        let undone = request.map(|request| request.draft.life.advance(Event::NotApproved));
        if let Some(Err(wrong)) = undone {
            end::end_request(&mut cx.job, serial, RequestEnd::void(&wrong.to_string()));
        }
        let (about, by) = ((job, &digest), &approving.by);
        let admins = &mut cx.job.admins;
        admins.tell_approver(cx.job.reports, about, by, reply);
    }
}

/// From here on the request waits for an approval, even if its client disconnects.
fn admit_request(
    cx: &mut RequestCx<'_>,
    serial: u64,
    fresh: MeasuringRequest,
    found: Measurement,
) -> Result<Outcome, Refusal> {
    let MeasuringRequest {
        mut draft,
        pending,
        measuring,
    } = fresh;
    let found = recheck(cx, Check::Examined(&draft, &found))
        .map_err(|unmet| unmet.refusal)
        .and_then(|()| found.map_err(|why| why.refusal()))
        .and_then(|found| hold_copies(cx.job.jobs, &mut draft, measuring, found.found));
    let found = match found {
        Ok(found) => found,
        Err(refusal) => {
            ended::release_draft(&mut cx.job, draft);
            return Err(refusal);
        }
    };
    let mut request = Request::new(draft, pending, found);
    request.same = {
        let mut waiting = cx.job.jobs.all::<Request>();
        waiting.find_map(|(_, other)| other.same_as(&request.draft))
    };
    request.encoded = cx.approvals.encoded(&request);
    request.digest = digest(&request.encoded);
    let uid = request.draft.requester.subject.uid();
    if let Err(refusal) = cx.job.jobs.check_requests_bytes(uid, request.held()) {
        ended::release_draft(&mut cx.job, request.draft);
        return Err(refusal);
    }
    let (record, meta) = (asked(&request), request.meta());
    let to = Admission::Approval;
    let admitted = start::admit(&mut cx.job, &mut request.draft, to, record, meta);
    if let Err(refusal) = admitted {
        ended::release_draft(&mut cx.job, request.draft);
        return Err(refusal);
    }
    let Link { seq, hash } = cx.job.reports.audit.newest();
    request.head = AuditHead { seq, hash };
    let lasts = request.lasts();
    cx.job.reactor.timers.add(lasts, Timer::Approval(serial));
    let (pending, view) = (request.pending_view(None), request.view());
    let gist = request.draft.asked().gist();
    cx.job.jobs.insert(serial, request);
    notification::tell_people(cx, &pending, &view, &gist);
    Ok(Outcome::Started)
}

/// Starts to approve; the result is reported after the files are measured again.
pub fn approve(
    cx: &mut RequestCx<'_>,
    by: &Subject,
    job: JobId,
    digest: &[u8; 32],
    signature: Option<String>,
) -> Result<Wants, Refusal> {
    cx.life.check_open()?;
    end::end_expired(&mut cx.job);
    let serial = cx.job.jobs.serial_of::<Request>(job);
    let found = serial.and_then(|serial| Some((serial, cx.job.jobs.find::<Request>(serial)?)));
    let (serial, request) = found.ok_or_else(|| end::not_waiting(cx.job.jobs, job))?;
    cx.policies.caller_ids(by)?;
    approver::may_approve(by, request)?;
    if request.digest != *digest {
        let text = "not approved: this is not the digest of what would run";
        return Err(Refusal::new(Code::InvalidArgs, text)
            .object(job.to_string())
            .next("run remit show again, and approve what it shows"));
    }
    match (&signature, request.pending.approval().signed()) {
        (None, Some(asked)) => return Err(unsigned(request, asked)),
        (Some(signature), _) => check_form(signature)?,
        (None, None) => {}
    }
    if let Some(other) = &request.approving {
        let text = format!("{} is approving it just now", other.by.user());
        let next = match request.missing() {
            1 => "remit jobs shows the result",
            _ => "approve it again in a second: others have to approve it, too",
        };
        return Err(Refusal::new(Code::Busy, text).next(next));
    }
    if !cx.job.jobs.may_approve_more() {
        let text = "too many approvals are in progress";
        return Err(Refusal::new(Code::Busy, text).next("approve it again in a second"));
    }
    let base = request.draft.bound.compiled.base();
    cx.job.sandbox.manager.check_usable(base)?;
    let hashed = request.draft.life.foresee(Event::Approve)?;
    let mut wanted = wanted(&request.draft);
    wanted.people.add(by);
    request.approvers().for_each(|by| wanted.people.add(by));
    wanted.signature = signature.map(|signature| SignatureWanted {
        config: cx.settings.args.config.clone(),
        id: cx.settings.config.jobs.uid_first,
        statement: cx.approvals.statement(request),
        // As its record has it: what is verified now can be verified later.
        signature: armored(&body(&signature)),
        account: by.user().to_owned(),
        at_ms: timers::unix_ms(),
    });
    let signed = request.approvals.iter().filter_map(Approval::signed_before);
    wanted.accepted = Some(AcceptedSignatures::new(
        &cx.settings.args.config,
        &request.draft.requester.subject,
        request.approvers(),
        signed.collect(),
    ));
    let measuring = wanted.start(cx.job.reactor, serial)?;
    if let Some(request) = cx.job.jobs.find_mut::<Request>(serial) {
        let by = by.clone();
        request.draft.life.follow(hashed);
        request.approving = Some(Approving { by, measuring });
    }
    Ok(Wants::Approval(job))
}

fn finish_approval(
    cx: &mut RequestCx<'_>,
    (serial, job): (u64, JobId),
    by: &Subject,
    found: Measurement,
) -> Result<AdminReply, Refusal> {
    end::end_expired(&mut cx.job);
    let request = cx.job.jobs.find::<Request>(serial);
    let request = request.ok_or_else(|| end::not_waiting(cx.job.jobs, job))?;
    match recheck(cx, Check::Approving(request, by, &found)) {
        Ok(()) => {}
        Err(unmet) if unmet.is_change() => {
            let over = RequestEnd::void(&unmet.refusal.message);
            let refusal = over.refusal();
            end::end_request(&mut cx.job, serial, over);
            return Err(refusal);
        }
        Err(unmet) => {
            if unmet.condition == Condition::Recovered {
                cx.job.commits.retry_for_request();
            }
            return Err(unmet.refusal);
        }
    }
    let is_last = request.missing() <= 1;
    let queued = match is_last {
        true => {
            // Only the last approval starts the job.
            let uid = request.draft.requester.subject.uid();
            let free_uids = cx.job.sandbox.free_uids();
            let limits = &cx.settings.config.jobs;
            let rests = cx.job.reactor.timers.has(Timer::LogFull);
            let slot = cx.job.jobs.slot_for(uid, limits, free_uids, rests);
            slot.map(drop)
                .and_then(|()| cx.job.jobs.check_queued_bytes(uid, request.draft.held))
                .map_err(|busy| not_now(request, busy))?;
            Some(request.draft.life.foresee(Event::Approved)?)
        }
        false => None,
    };
    // Only what `Signature` has accepted.
    let signature = found.ok().and_then(|found| found.signature?.ok());
    let approval = Approval {
        by: by.clone(),
        signature,
    };
    let counter = approval.counter();
    let before = counter.and_then(|(key, _)| cx.approvals.counters.get(key).copied());
    // Nothing runs without a record. If this fails, the request still waits.
    let record = approved(request, &approval, before);
    let written = cx.job.reports.audit.write(record);
    written.map_err(|why| unrecorded(&why))?;
    fault::point(&cx.job.reports.broker, Point::AfterApproval);
    if queued.is_some()
        && let Some(request) = cx.job.jobs.find::<Request>(serial)
    {
        cx.job.ledger.approved(request.draft.job);
    }
    if let Some((key, counter)) = counter {
        cx.approvals.counters.insert(key.to_owned(), counter);
    }
    let Some(queued) = queued else {
        return count_approval(cx, serial, approval);
    };
    let request = cx.job.jobs.take::<Request>(serial);
    let mut request = request.ok_or_else(no_such_request)?;
    let mut approvals = std::mem::take(&mut request.approvals);
    approvals.push(approval);
    let approved = Approved {
        by: ApprovedBy {
            people: approvals.iter().map(|one| one.by.clone()).collect(),
            signed: approvals
                .iter()
                .filter_map(Approval::signed_before)
                .collect(),
            asked: request.pending.approval().clone(),
        },
        digest: request.digest,
        deadline: request.deadline,
        files: request.measured(),
        found: request.found,
    };
    let Request {
        mut draft, pending, ..
    } = request;
    draft.life.follow(queued);
    let requester = &draft.requester.subject;
    let consents: Vec<_> = approvals.iter().map(|one| one.consent(requester)).collect();
    let grant = match pending.approved(&consents) {
        Ok(grant) => grant,
        // Checked above. If that check changes, this must still not run.
        Err(_) => {
            ended::release_draft(&mut cx.job, draft);
            return Err(no_such_request());
        }
    };
    cx.job.reports.tell(&ToBroker::Approved { job });
    let plan = Box::new(draft.granted(grant, Some(approved)));
    queue::enqueue_approved(cx, plan, request.asked_ms);
    let name = job.short();
    if cx.job.jobs.serial(job).is_some() {
        cx.job.reactor.timers.cancel(Timer::Approval(serial));
        return Ok(AdminReply::Done(format!(
            "approved; job {name} has started"
        )));
    }
    if cx.job.jobs.is_waiting(job) {
        // The timer stays: the job waits for a slot no longer than it could for an approval.
        return Ok(AdminReply::Done(format!("approved; job {name} is queued")));
    }
    let ended = cx.job.jobs.ended().find(|meta| meta.job == job);
    let ending = ended.and_then(|meta| meta.ending.as_ref());
    let why = ending.map_or("it has ended", |ending| &ending.cause);
    Err(Refusal::new(
        Code::NotStarted,
        format!("approved, but it did not start: {why}"),
    ))
}

/// Words a refusal that is about the requester for the approver.
fn not_now(request: &Request, busy: Refusal) -> Refusal {
    let user = request.draft.requester.subject.user();
    let message = format!(
        "not approved, as it cannot start now; {user} would get: {}",
        busy.message
    );
    Refusal { message, ..busy }.next("approve it again when a job has ended: it still waits")
}
