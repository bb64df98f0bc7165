//! Locking and unlocking, as an administrator asks for it.

use remit_common::admin::AdminReply;
use remit_common::outcome::State;

use super::failed;
use crate::audit::{Event, Record};
use crate::clock;
use crate::lock::Locked;
use crate::peer::Subject;
use crate::plan::who;
use crate::warden::{Gate, Warden};

/// Bytes of a reason.
const WHY: usize = 1000;

impl Warden {
    /// Locks: nothing new is taken, what waits is ended, and on demand what runs too.
    pub(super) fn lock(&mut self, subject: &Subject, why: &str, kill: bool) -> AdminReply {
        let why = remit_common::text::line(why.as_bytes(), WHY);
        let locked = Locked {
            why: why.clone(),
            by: Some((subject.user().to_owned(), clock::unix_ms())),
        };
        let kept = self.state.lock(&locked);
        // Locked, whatever the disk and the trail say. What is stopping or broken takes nothing
        // anyway, and is locked when it starts again.
        if self.gate != Gate::Stopping {
            self.gate = Gate::Locked(locked);
        }
        let jobs = self.jobs.count_live();
        let (also, rest) = match (jobs, kill) {
            (0, _) => (String::new(), "no job is running".to_owned()),
            (_, true) => (
                format!(" and ends all jobs ({jobs})"),
                format!("jobs being ended: {jobs}"),
            ),
            (_, false) => (
                format!(", jobs go on ({jobs})"),
                format!("jobs that go on: {jobs}; to end them: remit lock --kill -m WHY"),
            ),
        };
        let rest = match self.queue.len() {
            0 => rest,
            waiting => format!("{rest}; jobs that waited and will not run: {waiting}"),
        };
        let message = format!("{} locks remit{also}: {why}", subject.user());
        let record = who(Record::new(Event::Lock, message), subject, None)
            .field("CAUSE", &why)
            .number("JOBS", u32::try_from(jobs).unwrap_or(u32::MAX))
            .field("KILL", if kill { "yes" } else { "no" });
        self.audit.note(record);
        let cause = format!("administrator {} locked remit", subject.user());
        let void = self.void_all_requests(&cause);
        let rest = match void {
            0 => rest,
            void => format!("{rest}; requests for an approval that are void: {void}"),
        };
        // Ends what waits, at once: an unlock may follow in the same turn.
        self.begin_waiting();
        if kill {
            for serial in self.jobs.serials() {
                self.end_job(serial, State::Cancelled, &cause);
            }
        }
        match kept {
            Ok(()) => AdminReply::Done(format!("locked; {rest}")),
            Err(error) => failed("locked, but a restart would unlock", &error.to_string()),
        }
    }

    /// Unlocks, once that is recorded.
    pub(super) fn unlock(&mut self, subject: &Subject) -> AdminReply {
        if !matches!(self.gate, Gate::Locked(_)) {
            return AdminReply::Done("it was not locked".into());
        }
        let message = format!("{} unlocks remit", subject.user());
        let record = who(Record::new(Event::Unlock, message), subject, None);
        if let Err(why) = self.audit.write(record) {
            return failed("still locked", &why.to_string());
        }
        if let Err(error) = self.state.unlock() {
            return failed("still locked", &error.to_string());
        }
        self.gate = Gate::Open;
        AdminReply::Done("unlocked".into())
    }
}
