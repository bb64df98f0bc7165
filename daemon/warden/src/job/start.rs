//! Starts a plan, or admits what has to wait. What the ledger and the audit log do not know does not happen.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use remit_common::inspect::EXTRACTED_JOB;
use remit_common::refusal::{Code, Refusal};
use remit_link::{JobMeta, ToBroker};

use crate::audit::{Record, Unwritten, unrecorded};
use crate::event_loop::timers::{self, Timer};
use crate::job::context::JobCx;
use crate::job::kept_views;
use crate::job::life::{Event, OutOfOrder};
use crate::job::live::Job;
use crate::job::table::output;
use crate::request::{Draft, Plan};
use crate::sandbox::host_support::NotForked;
use crate::startup::error::chain;
use crate::startup::fault::{self, Point};
use crate::state_dir::ledger::QueuedFor;

/// Delay before a job's steps are read and reported, and its end is watched for. Most jobs have ended by then: the broker has
/// reported the end of their output, so this process has looked for their end, which reports all steps.
const STEPS: Duration = Duration::from_millis(5);

/// Starts a plan, in order: confirmation, ledger, audit record, fork. The only way to run anything. On error nothing ran.
pub fn start(cx: &mut JobCx<'_>, mut plan: Box<Plan>) -> Result<(), (Box<Plan>, NotStarted)> {
    if let Err(why) = cx.confirmations.arm(&plan) {
        return Err((plan, NotStarted::Unconfirmed(why)));
    }
    let started = match kept_views::lend(cx, &mut plan) {
        Ok(()) => start_armed(cx, plan),
        Err(why) => Err((plan, NotStarted::NoView(why))),
    };
    started.map_err(|(mut plan, why)| {
        cx.confirmations.remove(plan.job);
        (plan.kept, plan.pack) = (None, None);
        kept_views::give_back(cx, plan.job);
        (plan, why)
    })
}

fn start_armed(cx: &mut JobCx<'_>, mut plan: Box<Plan>) -> Result<(), (Box<Plan>, NotStarted)> {
    fault::point(&cx.reports.broker, Point::BeforeLedger);
    let was_queued = cx.ledger.is_queued(plan.job);
    // The ledger comes first: in any case, the next start knows of the job.
    if let Err(error) = cx.ledger.open(&plan) {
        return Err((plan, NotStarted::Ledger(error)));
    }
    fault::point(&cx.reports.broker, Point::AfterLedger);
    let ready = plan.ready.take();
    let recorded = match cx.reports.audit.intent(plan) {
        Ok(recorded) => recorded,
        Err((mut plan, why)) => {
            plan.ready = ready;
            cx.ledger.take_back(plan.job, was_queued);
            return Err((plan, NotStarted::Record(why)));
        }
    };
    fault::point(&cx.reports.broker, Point::AfterRecord);
    let forked = match recorded.life.foresee(Event::Forked) {
        Ok(forked) => forked,
        Err(wrong) => {
            let mut plan = recorded.into_inner();
            plan.ready = ready;
            return Err((plan, NotStarted::OutOfOrder(wrong)));
        }
    };
    cx.sandbox.pool.want(&recorded.bound.compiled);
    let started = (Instant::now(), timers::unix_ms());
    let ordered = match cx.sandbox.manager.order(&recorded, ready) {
        Ok(ordered) => ordered,
        Err(not_forked) => return Err(unforked(recorded.into_inner(), not_forked)),
    };
    // What is left of earlier jobs is cleaned up now, while the child begins. Otherwise this process would sleep until then.
    cx.sandbox.clean_up();
    let (process, cgroup) = match cx.sandbox.manager.spawn(&recorded, ordered) {
        Ok(spawned) => spawned,
        Err(not_forked) => return Err(unforked(recorded.into_inner(), not_forked)),
    };
    fault::point(&cx.reports.broker, Point::AfterFork);
    let mut plan = recorded.into_inner();
    plan.life.follow(forked);
    follow(cx, Job::new(plan, process, cgroup, started));
    fault::point(&cx.reports.broker, Point::AfterSend);
    Ok(())
}

/// The plan's cgroup is looked at before its uid becomes free.
fn unforked(mut plan: Box<Plan>, not_forked: NotForked) -> (Box<Plan>, NotStarted) {
    plan.ready = not_forked.left;
    (plan, NotStarted::Fork(not_forked.why))
}

/// Watches a job that was just forked, and hands it to the broker.
fn follow(cx: &mut JobCx<'_>, mut job: Job) {
    let pack = job.plan.pack.take().map(|pack| pack.broker);
    let ticket = job.plan.requester.ticket;
    let runtime = Duration::from_secs(job.plan.bound.runtime.seconds.into());
    let serial = cx.jobs.add(job);
    cx.reactor.timers.add(runtime, Timer::Runtime(serial));
    let Some(job) = cx.jobs.get(serial) else {
        return;
    };
    cx.reactor.timers.add(STEPS, Timer::Steps(serial));
    // A child that waited was watched for its end. The exec would wake the loop for nothing.
    cx.reactor.remove(&job.process.reports);
    let meta = Box::new(job.meta());
    let message = match job.plan.waited_ms() {
        None => ToBroker::Job {
            secrets: job.plan.secrets(),
            ticket: Some(ticket),
            meta,
        },
        Some(waited_ms) => ToBroker::Started {
            job: meta.job,
            started_ms: meta.started_ms,
            waited_ms,
        },
    };
    let fds = output(&job.process).map(AsFd::as_fd).into_iter();
    let fds: Vec<_> = fds.chain(pack.as_ref().map(AsFd::as_fd)).collect();
    cx.reports.tell_with(&message, &fds);
}

#[derive(Debug)]
pub enum NotStarted {
    Ledger(io::Error),
    Record(Unwritten),
    Fork(remit_sys::Error),
    OutOfOrder(OutOfOrder),
    /// Nothing would undo it if nobody confirms it.
    Unconfirmed(String),
    /// The copy of the machine that it reads is not kept.
    NoView(String),
}

impl NotStarted {
    pub const fn event(&self) -> Event {
        match self {
            Self::Record(Unwritten::Later) => Event::LogFull,
            Self::Ledger(_)
            | Self::Record(_)
            | Self::Fork(_)
            | Self::OutOfOrder(_)
            | Self::Unconfirmed(_)
            | Self::NoView(_) => Event::Refused,
        }
    }

    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Ledger(error) => no_ledger(error),
            Self::Record(Unwritten::OutOfOrder(wrong)) | Self::OutOfOrder(wrong) => (*wrong).into(),
            Self::Record(why) => unrecorded(why),
            Self::Unconfirmed(why) => Refusal::new(Code::NotStarted, why.clone()),
            Self::NoView(why) => Refusal::new(Code::NotFound, why.clone()).object(EXTRACTED_JOB),
            Self::Fork(error) => {
                Refusal::new(Code::NotStarted, format!("{}; nothing ran", chain(error)))
            }
        }
    }

    pub fn cause(&self) -> String {
        let text = self.refusal().message;
        match self {
            Self::Fork(_) => text,
            Self::Ledger(_)
            | Self::Record(_)
            | Self::OutOfOrder(_)
            | Self::Unconfirmed(_)
            | Self::NoView(_) => {
                format!("{text}; it never ran")
            }
        }
    }
}

fn no_ledger(error: &io::Error) -> Refusal {
    let text = format!("cannot write the ledger of jobs: {error}");
    Refusal::new(Code::NotStarted, text).lift("free space on the disk of the state directory")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Slot,
    /// The same, of what follows an approved commit.
    Following,
    Approval,
}

/// Admits a job: ledger, audit record, request id, broker. It waits without its client, too. On an error none has it.
pub fn admit(
    cx: &mut JobCx<'_>,
    draft: &mut Draft,
    to: Admission,
    record: Record,
    meta: JobMeta,
) -> Result<(), Refusal> {
    let (queued_for, event, point) = match to {
        Admission::Slot => (QueuedFor::Slot, Event::Queued, Point::AfterQueue),
        Admission::Following => (QueuedFor::Slot, Event::Follows, Point::AfterQueue),
        Admission::Approval => (QueuedFor::Approval, Event::Asked, Point::AfterAsk),
    };
    let line = draft.life.foresee(event)?;
    fault::point(&cx.reports.broker, Point::BeforeLedger);
    let written = cx.ledger.queue(draft, queued_for);
    written.map_err(|error| no_ledger(&error))?;
    fault::point(&cx.reports.broker, Point::AfterLedger);
    let written = cx.reports.audit.write(record);
    written.map_err(|why| unrecorded(&why))?;
    fault::point(&cx.reports.broker, point);
    draft.life.follow(line);
    cx.jobs.claim(draft);
    cx.reports.tell(&ToBroker::Job {
        secrets: draft.secrets(),
        ticket: Some(draft.requester.ticket),
        meta: Box::new(meta),
    });
    Ok(())
}
