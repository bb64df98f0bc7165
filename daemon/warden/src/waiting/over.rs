//! How jobs end that waited for a place and never ran.

use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_link::JobMeta;
use remit_policy::Basis;

use super::Waiting;
use crate::approval::ASK_AGAIN;
use crate::clock;
use crate::outcome::unrun_record;
use crate::warden::Warden;

/// Why what was approved does not begin any more.
pub(super) const LATE: &str = "there was no place for it before the approval expired";

/// A job that will never run, and how it ended; its end is not recorded yet.
#[derive(Debug)]
pub struct Unrun {
    pub(super) waiting: Waiting,
    state: State,
    cause: String,
    code: Option<Code>,
}

impl Warden {
    /// Ends a job that waits. One that does not is left as it is.
    pub fn end_if_waiting(&mut self, job: JobId, state: State, cause: &str) {
        let waiting = self.queue.turns.remove(|waiting| waiting.plan.job == job);
        let waiting = waiting.or_else(|| self.stop_looking(self.queue.serial_of(job)?));
        if let Some(waiting) = waiting {
            self.end_waiting(waiting, state, format!("{cause}; it never ran"));
        }
    }

    /// Ends what was approved and found no place in time: who asks has places, and says when they are
    /// free, so it would begin when they like.
    pub fn end_late(&mut self) {
        let now = clock::since_boot();
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

    /// Ends every job that waits.
    pub fn end_all_waiting(&mut self, state: State, cause: &str) {
        while let Some(waiting) = self.queue.turns.next(|_| true) {
            self.end_waiting(waiting, state, cause.to_owned());
        }
        while let Some((serial, _)) = self.queue.looking.first_key_value()
            && let Some(waiting) = self.stop_looking(*serial)
        {
            self.end_waiting(waiting, state, cause.to_owned());
        }
    }

    /// What somebody had approved and is denied after all is void; what they approved too long ago has expired.
    pub(super) fn end_waiting(&mut self, waiting: Waiting, state: State, cause: String) {
        let by_person = matches!(
            waiting.plan.basis(),
            Basis::Approved { .. } | Basis::Given { .. }
        );
        let code = match state {
            State::Denied if by_person => Some(Code::ApprovalVoid),
            State::Expired => Some(Code::ApprovalExpired),
            _ => None,
        };
        self.record_unrun(Unrun {
            waiting,
            state,
            cause,
            code,
        });
    }

    /// Ends that found no room in the trail are tried again.
    pub fn record_waiting_unrun(&mut self) {
        for unrun in std::mem::take(&mut self.queue.unrecorded) {
            self.record_unrun(unrun);
        }
    }

    /// Records the end of what never ran, and tells it: not before it is recorded.
    fn record_unrun(&mut self, unrun: Unrun) {
        let Unrun {
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
            waits: None,
            age_ms: 0,
            waited_ms: clock::millis(waiting.since.elapsed()),
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
        self.undo(draft.ready, draft.uid);
        self.remember(meta, request, None);
    }
}
