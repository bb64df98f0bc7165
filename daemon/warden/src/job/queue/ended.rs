//! Ends jobs that waited for a slot and never ran.

use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_link::JobMeta;
use remit_policy::Basis;

use super::Waiting;
use crate::approval::ASK_AGAIN;
use crate::event_loop::timers;
use crate::job::outcome::unrun_record;
use crate::state::Warden;

pub(super) const LATE: &str = "no slot was free before the approval expired";

#[derive(Debug)]
pub struct UnrecordedJobEnd {
    pub(super) waiting: Waiting,
    state: State,
    cause: String,
    code: Option<Code>,
}

impl Warden {
    /// Ends a waiting job. Does nothing if the job does not wait.
    pub fn end_if_waiting(&mut self, job: JobId, state: State, cause: &str) {
        let waiting = self.queue.turns.remove(|waiting| waiting.plan.job == job);
        let waiting = waiting.or_else(|| self.stop_measuring(self.queue.serial_of(job)?));
        if let Some(waiting) = waiting {
            self.end_waiting(waiting, state, format!("{cause}; it never ran"));
        }
    }

    /// Ends approved jobs that got no slot in time. Otherwise requesters could choose the time of the start, because
    /// they decide when their slots become free.
    pub fn end_late(&mut self) {
        let now = timers::since_boot();
        let late = self
            .queue
            .turns
            .iter()
            .filter(|waiting| waiting.is_late(now));
        let late: Vec<_> = late.map(|waiting| waiting.plan.job).collect();
        for job in late {
            self.end_if_waiting(job, State::Expired, LATE);
        }
    }

    pub fn end_all_waiting(&mut self, state: State, cause: &str) {
        while let Some(waiting) = self.queue.turns.next(|_| true) {
            self.end_waiting(waiting, state, cause.to_owned());
        }
        while let Some((serial, _)) = self.queue.looking.first_key_value()
            && let Some(waiting) = self.stop_measuring(*serial)
        {
            self.end_waiting(waiting, state, cause.to_owned());
        }
    }

    /// A request that was approved and then denied is void. One that was approved too long ago has expired.
    pub(super) fn end_waiting(&mut self, waiting: Waiting, state: State, cause: String) {
        let by_person = matches!(
            waiting.plan.basis(),
            Basis::Approved { .. } | Basis::TemporaryGrant { .. }
        );
        let code = match state {
            State::Denied if by_person => Some(Code::ApprovalVoid),
            State::Expired => Some(Code::ApprovalExpired),
            _ => None,
        };
        self.record_unrun(UnrecordedJobEnd {
            waiting,
            state,
            cause,
            code,
        });
    }

    pub fn record_waiting_unrun(&mut self) {
        for unrun in std::mem::take(&mut self.queue.unrecorded) {
            self.record_unrun(unrun);
        }
    }

    /// Records the end of a job that never ran, and only then reports it.
    fn record_unrun(&mut self, unrun: UnrecordedJobEnd) {
        let UnrecordedJobEnd {
            waiting,
            state,
            cause,
            code,
        } = &unrun;
        let record = unrun_record(&waiting.plan, *state, cause);
        let ending = Ending::unmeasured(*state, cause.clone(), true);
        let ending = match code {
            Some(code) => ending.refused(*code, ASK_AGAIN),
            None => ending,
        };
        let meta = JobMeta {
            waiting: None,
            age_ms: 0,
            waited_ms: timers::millis(waiting.since.elapsed()),
            ending: Some(ending),
            ..waiting.meta()
        };
        self.ledger.end(meta.job, &meta);
        if let Err(why) = self.audit.write(record) {
            say!("the end of job {} waits: {why}", waiting.plan.job);
            self.queue.unrecorded.push(unrun);
            self.record_later(&why);
            return;
        }
        let plan = unrun.waiting.plan;
        let request = plan.request.as_ref().map(|(id, _)| id.clone());
        let draft = plan.into_draft();
        self.release_prepared(draft.ready, draft.uid);
        self.remember(meta, request, None);
    }
}
