//! Hashes the files of an approved plan again before it starts, and looks up its requester and its approver: days can
//! pass until a slot is free. The plan has its slot meanwhile, so no other job starts first.

use remit_common::outcome::State;

use super::Waiting;
use crate::approval::file_hash::{MeasuredFiles, Measuring};
use crate::approval::wanted;
use crate::event_loop::timers::Timer;
use crate::job::life::Event;
use crate::job::pipeline::NotStarted;
use crate::job::recheck::{Check, recheck};
use crate::state::Warden;

#[derive(Debug)]
pub struct MeasuringAgain {
    pub waiting: Waiting,
    pub measuring: Measuring,
}

impl Warden {
    /// Starts the recheck. The plan starts or ends when the result arrives.
    pub(super) fn measure_again(&mut self, waiting: Waiting) {
        let serial = self.jobs.next_serial();
        let mut wanted = wanted(&waiting.plan);
        if let Some(approved) = &waiting.plan.approved {
            wanted.people.add(&approved.by);
        }
        match self.start_measuring(serial, &wanted) {
            Ok(measuring) => {
                self.jobs
                    .insert(serial, MeasuringAgain { waiting, measuring });
            }
            Err(refusal) => {
                let cause = format!("{}; it never ran", refusal.message);
                self.end_waiting(waiting, State::NotStarted, cause);
            }
        }
    }

    /// Handles the result of a recheck.
    /// Errors: Returns `found` if no plan with this serial is in recheck: it belongs to another request.
    pub fn on_measured_again(
        &mut self,
        serial: u64,
        found: Result<MeasuredFiles, String>,
    ) -> Result<(), Result<MeasuredFiles, String>> {
        let Some(mut waiting) = self.stop_measuring(serial) else {
            return Err(found);
        };
        let plan = &waiting.plan;
        let rechecked = plan.approved.as_ref().map_or(Ok(()), |approved| {
            recheck(self, Check::Rehashed(plan, approved, &found))
        });
        match rechecked {
            Ok(()) => match waiting.plan.life.advance(Event::Unchanged) {
                Ok(_) => drop(self.start_queued(waiting)),
                Err(wrong) => {
                    let cause = NotStarted::OutOfOrder(wrong).cause();
                    self.end_waiting(waiting, State::NotStarted, cause);
                }
            },
            Err(unmet) => {
                let (state, cause) = unmet.end();
                self.end_waiting(waiting, state, cause);
            }
        }
        Ok(())
    }

    /// Removes a plan from the recheck and ends its child.
    pub fn stop_measuring(&mut self, serial: u64) -> Option<Waiting> {
        let MeasuringAgain { waiting, measuring } = self.jobs.take(serial)?;
        self.timers.cancel(Timer::Measuring(serial));
        self.reactor.remove(measuring.fd());
        Some(waiting)
    }
}
