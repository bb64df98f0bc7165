//! Hashes the files of an approved plan again before it starts, and looks up its requester and its approver: days can
//! pass until a slot is free. The plan has its slot meanwhile, so no other job starts first.

use remit_common::outcome::State;

use crate::approval::file_hash::MeasuredFiles;
use crate::approval::wanted;
use crate::job::context::{JobCx, RequestCx};
use crate::job::ended::{self, stop_measuring};
use crate::job::life::Event;
use crate::job::recheck::{Check, recheck};
use crate::job::start::NotStarted;
use crate::job::state::{MeasuringAgain, Waiting};

/// Starts the recheck. The plan starts or ends when the result arrives.
pub fn measure_again(cx: &mut JobCx<'_>, waiting: Waiting) {
    let serial = cx.jobs.next_serial();
    let mut wanted = wanted(&waiting.plan);
    if let Some(approved) = &waiting.plan.approved {
        wanted.people.add(&approved.by);
    }
    match wanted.start(cx.reactor, serial) {
        Ok(measuring) => {
            cx.jobs
                .insert(serial, MeasuringAgain { waiting, measuring });
        }
        Err(refusal) => {
            let cause = format!("{}; it never ran", refusal.message);
            ended::end_waiting(cx, waiting, State::NotStarted, cause);
        }
    }
}

/// Handles the result of a recheck. Returns the plan if it may start now.
/// Errors: Returns `found` if no plan with this serial is in recheck: it belongs to another request.
pub fn on_measured_again(
    cx: &mut RequestCx<'_>,
    serial: u64,
    found: Result<MeasuredFiles, String>,
) -> Result<Option<Waiting>, Result<MeasuredFiles, String>> {
    let Some(mut waiting) = stop_measuring(&mut cx.job, serial) else {
        return Err(found);
    };
    let plan = &waiting.plan;
    let rechecked = plan.approved.as_ref().map_or(Ok(()), |approved| {
        recheck(cx, Check::Rehashed(plan, approved, &found))
    });
    match rechecked {
        Ok(()) => match waiting.plan.life.advance(Event::Unchanged) {
            Ok(_) => return Ok(Some(waiting)),
            Err(wrong) => {
                let cause = NotStarted::OutOfOrder(wrong).cause();
                ended::end_waiting(&mut cx.job, waiting, State::NotStarted, cause);
            }
        },
        Err(unmet) => {
            let (state, cause) = unmet.end();
            ended::end_waiting(&mut cx.job, waiting, state, cause);
        }
    }
    Ok(None)
}
