//! Ends what never ran: a job that waited is recorded and reported as any job; a request that never was a job is
//! forgotten, and its client gets the refusal.

use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_link::JobMeta;
use remit_policy::Basis;

use crate::approval::ASK_AGAIN;
use crate::audit::Record;
use crate::event_loop::timers;
use crate::job::life::{Action, Event, Life};
use crate::job::outcome::unrun_record;
use crate::job::queue::Waiting;
use crate::job::queue::rehash::MeasuringAgain;
use crate::job::recheck::LATE;
use crate::job::uid_pool::JobUid;
use crate::request::{Draft, Plan};
use crate::sandbox::PreforkedJob;
use crate::state::Warden;

/// The end of a job that waited for a slot or an approval.
#[derive(Debug)]
pub struct NeverRan {
    life: Life,
    uid: JobUid,
    ready: Option<PreforkedJob>,
    request: Option<String>,
    /// Shown until the end is recorded.
    pub before: JobMeta,
    after: JobMeta,
    record: Record,
}

impl NeverRan {
    pub fn new(draft: Draft, before: JobMeta, ending: Ending, record: Record) -> Self {
        let after = JobMeta {
            waiting: None,
            age_ms: 0,
            waited_ms: before.age_ms,
            ending: Some(ending),
            ..before.clone()
        };
        Self {
            life: draft.life,
            uid: draft.uid,
            ready: draft.ready,
            request: draft.request.map(|(id, _)| id),
            before,
            after,
            record,
        }
    }
}

/// Takes an event of an end to the next stage. If the table demands something else, that is said, and the end goes on:
/// nothing runs that could be stopped for it, and its slot and its uid have to become free.
pub fn follow_end(life: &mut Life, event: Event, due: Action) {
    match life.advance(event) {
        Ok(action) if action == due => {}
        Ok(action) => {
            say_error!("{event:?} ends a job with {due:?}, but its table says {action:?}")
        }
        Err(wrong) => say_error!("{wrong}"),
    }
}

impl Warden {
    /// Ends a waiting job. Does nothing if the job does not wait.
    pub fn end_if_waiting(&mut self, job: JobId, state: State, cause: &str) {
        let waiting = self.jobs.unqueue(job);
        let waiting =
            waiting.or_else(|| self.stop_measuring(self.jobs.serial_of::<MeasuringAgain>(job)?));
        if let Some(waiting) = waiting {
            self.end_waiting(waiting, state, format!("{cause}; it never ran"));
        }
    }

    /// Ends approved jobs that got no slot in time. Otherwise requesters could choose the time of the start, because
    /// they decide when their slots become free.
    pub fn end_late(&mut self) {
        let now = timers::since_boot();
        let late = self
            .jobs
            .queued()
            .filter(|waiting| waiting.plan.is_late(now));
        let late: Vec<_> = late.map(|waiting| waiting.plan.job).collect();
        for job in late {
            self.end_if_waiting(job, State::Expired, LATE);
        }
    }

    pub fn end_all_waiting(&mut self, state: State, cause: &str) {
        while let Some(waiting) = self.jobs.next_turn(|_, _| true) {
            self.end_waiting(waiting, state, cause.to_owned());
        }
        for serial in self.jobs.serials_of::<MeasuringAgain>() {
            if let Some(waiting) = self.stop_measuring(serial) {
                self.end_waiting(waiting, state, cause.to_owned());
            }
        }
    }

    /// A request that was approved and then denied is void. One that was approved too long ago has expired.
    pub fn end_waiting(&mut self, waiting: Waiting, state: State, cause: String) {
        let by_person = matches!(
            waiting.plan.basis(),
            Basis::Approved { .. } | Basis::TemporaryGrant { .. }
        );
        let code = match state {
            State::Denied if by_person => Some(Code::ApprovalVoid),
            State::Expired => Some(Code::ApprovalExpired),
            _ => None,
        };
        let ending = Ending::unmeasured(state, cause.clone(), true);
        let ending = match code {
            Some(code) => ending.refused(code, ASK_AGAIN),
            None => ending,
        };
        let record = unrun_record(&waiting.plan, state, &cause);
        let before = waiting.meta();
        let draft = waiting.plan.into_draft();
        self.end_never_ran(NeverRan::new(draft, before, ending, record));
    }

    pub fn end_never_ran(&mut self, mut end: NeverRan) {
        follow_end(&mut end.life, Event::Refused, Action::RecordEnd);
        self.record_never_ran(end);
    }

    /// Retries ends that the audit log did not accept.
    pub fn record_waiting_unrun(&mut self) {
        for serial in self.jobs.serials_of::<NeverRan>() {
            let end = self.jobs.find_mut::<NeverRan>(serial);
            let action = end.and_then(|end| end.life.on(Event::LogReady));
            if action == Some(Action::RecordEnd)
                && let Some(end) = self.jobs.take(serial)
            {
                self.record_never_ran(end);
            }
        }
    }

    /// Records the end, and only then reports it.
    fn record_never_ran(&mut self, mut end: NeverRan) {
        self.ledger.end(end.after.job, &end.after);
        if let Err(why) = self.audit.write(end.record.clone()) {
            say!("the end of job {} waits: {why}", end.after.job);
            follow_end(&mut end.life, Event::LogFull, Action::Wait);
            let serial = self.jobs.next_serial();
            self.jobs.insert(serial, end);
            self.record_later(&why);
            return;
        }
        follow_end(&mut end.life, Event::EndRecorded, Action::Release);
        self.release_prepared(end.ready, end.uid);
        self.remember(end.after, end.request, None);
    }

    pub fn release_plan(&mut self, plan: Box<Plan>) {
        self.release_draft(Box::new(plan.into_draft()));
    }

    /// Gives up a request that never was a job.
    pub fn release_draft(&mut self, mut draft: Box<Draft>) {
        follow_end(&mut draft.life, Event::Refused, Action::Forget);
        self.forget(*draft);
    }

    pub fn forget(&mut self, draft: Draft) {
        self.ledger.forget(draft.job);
        self.release_prepared(draft.ready, draft.uid);
    }

    /// Records that a job was not forked whose intent is recorded, and forgets it.
    pub fn record_failed_fork(&mut self, plan: Box<Plan>, cause: &str) {
        let record = unrun_record(&plan, State::NotStarted, cause);
        let draft = plan.into_draft();
        match self.audit.write(record) {
            Ok(()) => self.forget(draft),
            // The ledger keeps the job, so the next start records its end.
            Err(why) => {
                say!("cannot record the end of job {}: {why}", draft.job);
                self.release_prepared(draft.ready, draft.uid);
            }
        }
    }
}
