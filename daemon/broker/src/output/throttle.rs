//! Limits how fast a job's output is read, only while other jobs would wait.

use std::cell::Cell;
use std::time::{Duration, Instant};

use remit_common::names::JobId;

use crate::output::splice::Turn;

/// Bytes of one stream read at once, and the pause after it, while other jobs are active: about 100 MB/s. Without
/// this limit a job at full speed used two CPUs, its own and the broker's. Other jobs took twice as long (`make
/// bench`).
const BURST: u64 = 256 << 10;
const PAUSE: Duration = Duration::from_millis(1);
/// Time after a start or an end in which more jobs are expected.
const LULL: Duration = Duration::from_millis(100);
/// A turn while no other job is active.
const ALONE: Turn = Turn {
    bytes: 1 << 20,
    time: Duration::from_millis(20),
};

#[derive(Debug, Default)]
pub struct Pace {
    latest: Cell<Option<(JobId, Instant)>>,
    before: Cell<Option<Instant>>,
}

impl Pace {
    pub fn note_activity(&self, job: JobId, now: Instant) {
        if let Some((latest, at)) = self.latest.replace(Some((job, now)))
            && latest != job
        {
            self.before.set(Some(at));
        }
    }

    /// Returns how much to read next, given `taken` bytes since the last pause. `since` is the start of the job:
    /// earlier activity, such as of the same user, does not count, because nobody waits for it now. An error is the
    /// pause to make first.
    pub fn turn(
        &self,
        job: JobId,
        since: Instant,
        taken: u64,
        now: Instant,
    ) -> Result<Turn, Duration> {
        let other = match self.latest.get() {
            Some((latest, at)) if latest != job => Some(at),
            Some(_) | None => self.before.get(),
        };
        let is_over = |at| at < since || now.saturating_duration_since(at) > LULL;
        if other.is_none_or(is_over) {
            return Ok(ALONE);
        }
        match BURST.saturating_sub(taken) {
            0 => Err(PAUSE),
            bytes => Ok(Turn {
                bytes,
                time: Duration::ZERO,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_job_is_unlimited_concurrent_job_is_throttled() {
        let [mine, other] = [1, 2].map(|byte| JobId([byte; 16]));
        let (pace, start) = (Pace::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let turn = |job, taken, now| pace.turn(job, start, taken, now);
        let burst = |bytes| {
            let time = Duration::ZERO;
            Ok(Turn { bytes, time })
        };
        assert_eq!(turn(mine, 0, at(0)), Ok(ALONE));
        pace.note_activity(mine, at(0));
        assert_eq!(turn(mine, u64::MAX, at(1)), Ok(ALONE), "by itself");
        assert_eq!(turn(other, 0, at(1)), burst(BURST));
        pace.note_activity(other, at(50));
        assert_eq!(turn(mine, 1, at(51)), burst(BURST - 1));
        assert_eq!(turn(mine, BURST, at(51)), Err(PAUSE));
        // Its own activity does not hide the activity of other jobs.
        pace.note_activity(mine, at(60));
        pace.note_activity(mine, at(149));
        assert_eq!(turn(mine, BURST, at(150)), Err(PAUSE));
        assert_eq!(turn(mine, BURST, at(151)), Ok(ALONE));
        assert_eq!(turn(other, BURST, at(151)), Err(PAUSE));
        // A job that began later has delayed nobody yet.
        assert_eq!(pace.turn(other, at(150), BURST, at(151)), Ok(ALONE));
    }
}
