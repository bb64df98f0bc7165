//! An approved plan whose turn has come: its requester and its files are looked at once more before it begins.
//!
//! Days can lie between an approval and a free slot. Meanwhile the plan keeps the slot that it is about to take, so
//! nobody else's job gets in between.

use std::collections::BTreeMap;

use remit_common::names::JobId;
use remit_common::outcome::State;

use super::{Queue, Waiting};
use crate::approval::measure::{Found, Measuring};
use crate::approval::wanted;
use crate::clock::Timer;
use crate::warden::Warden;

/// One that is being looked at.
#[derive(Debug)]
pub struct Looking {
    pub(super) waiting: Waiting,
    measuring: Measuring,
}

/// How many are being looked at, and how many of them are this user's. Each has a slot.
pub(super) fn slots(looking: &BTreeMap<u64, Looking>, uid: u32) -> (usize, usize) {
    let owners = looking.values();
    let owners = owners.map(|looking| looking.waiting.plan.requester.subject.uid());
    (looking.len(), owners.filter(|owner| *owner == uid).count())
}

impl Queue {
    /// Slots that those have whose turn has come, in all and of this user.
    pub fn slots(&self, uid: u32) -> (usize, usize) {
        slots(&self.looking, uid)
    }

    /// The number of the child that looks for this job.
    pub(super) fn serial_of(&self, job: JobId) -> Option<u64> {
        let mut all = self.looking.iter();
        let found = all.find(|(_, looking)| looking.waiting.plan.job == job);
        found.map(|(serial, _)| *serial)
    }

    /// The child that looks for one of them.
    pub fn measuring(&mut self, serial: u64) -> Option<&mut Measuring> {
        let looking = self.looking.get_mut(&serial);
        looking.map(|looking| &mut looking.measuring)
    }
}

impl Warden {
    /// Has requester and files of an approved plan looked at; it begins, or ends, when that is done.
    pub(super) fn look_again(&mut self, waiting: Waiting) {
        let serial = self.approvals.next_serial();
        match self.start_measuring(serial, &wanted(&waiting.plan)) {
            Ok(measuring) => {
                let looking = Looking { waiting, measuring };
                self.queue.looking.insert(serial, looking);
            }
            Err(refusal) => {
                let cause = format!("{}; it never ran", refusal.message);
                self.end_waiting(waiting, State::NotStarted, cause);
            }
        }
    }

    /// An approved plan was looked at again.
    ///
    /// # Errors
    /// This is none; what was found, for whom it is meant.
    pub fn looked_again(
        &mut self,
        serial: u64,
        found: Result<Found, String>,
    ) -> Result<(), Result<Found, String>> {
        let Some(waiting) = self.stop_looking(serial) else {
            return Err(found);
        };
        if let Err(refusal) = self.open_for_work() {
            let cause = format!("{}; it never ran", refusal.message);
            self.end_waiting(waiting, State::NotStarted, cause);
            return Ok(());
        }
        let approved = waiting.plan.approved.as_ref().filter(|_| counts());
        let changed =
            approved.and_then(|approved| self.changed_since(&waiting.plan, &approved.found, found));
        match changed {
            Some(why) => self.end_waiting(waiting, State::Denied, format!("{why}; it never ran")),
            None => {
                self.queue.looked_at = Some(waiting.plan.job);
                let _ = self.begin(waiting);
                self.queue.looked_at = None;
            }
        }
        Ok(())
    }

    /// Takes out one that is being looked at; its child ends.
    pub(super) fn stop_looking(&mut self, serial: u64) -> Option<Waiting> {
        let Looking { waiting, measuring } = self.queue.looking.remove(&serial)?;
        self.timers.cancel(Timer::Measuring(serial));
        self.reactor.remove(measuring.fd());
        Some(waiting)
    }
}

/// Whether a difference found at the turn ends the request.
#[cfg(not(feature = "mutate"))]
const fn counts() -> bool {
    true
}

/// Under test, `REMIT_MUTATE_TURN` leaves this look out, so that the job's own look can be tried alone.
#[cfg(feature = "mutate")]
fn counts() -> bool {
    std::env::var_os("REMIT_MUTATE_TURN").is_none()
}
