//! How fast a job's output is taken: as fast as it comes, unless that would keep others waiting.

use std::cell::Cell;
use std::time::{Duration, Instant};

use remit_common::names::JobId;

use crate::pipe::Turn;

/// While others have jobs started: bytes of one stream that are taken at once, and how long the others then have the
/// processors to themselves, about 100 MB/s. A job that writes as fast as it can took one for itself and one for us,
/// and who else had a job waited twice as long for it (`make bench`).
const BURST: u64 = 256 << 10;
const PAUSE: Duration = Duration::from_millis(1);
/// How long after the start or the end of a job more of them are expected.
const LULL: Duration = Duration::from_millis(100);
/// A turn while nobody else does anything.
const ALONE: Turn = Turn {
    bytes: 1 << 20,
    time: Duration::from_millis(20),
};

/// When jobs were started or ended last.
#[derive(Debug, Default)]
pub struct Pace {
    latest: Cell<Option<(JobId, Instant)>>,
    /// Of any job but that one.
    before: Cell<Option<Instant>>,
}

impl Pace {
    /// A job was started, or has ended.
    pub fn stirred(&self, job: JobId, now: Instant) {
        if let Some((latest, at)) = self.latest.replace(Some((job, now)))
            && latest != job
        {
            self.before.set(Some(at));
        }
    }

    /// What of a job's stream may be taken next, of which so much was taken since the last pause. `since` is when
    /// the job began: who ran something before, such as its own user, waits for nothing now.
    ///
    /// # Errors
    /// How long to pause first.
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
    fn a_job_alone_is_taken_as_fast_as_it_comes_and_beside_others_in_bursts() {
        let [mine, other] = [1, 2].map(|byte| JobId([byte; 16]));
        let (pace, start) = (Pace::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let turn = |job, taken, now| pace.turn(job, start, taken, now);
        let burst = |bytes| {
            let time = Duration::ZERO;
            Ok(Turn { bytes, time })
        };
        assert_eq!(turn(mine, 0, at(0)), Ok(ALONE));
        pace.stirred(mine, at(0));
        assert_eq!(turn(mine, u64::MAX, at(1)), Ok(ALONE), "by itself");
        assert_eq!(turn(other, 0, at(1)), burst(BURST));
        pace.stirred(other, at(50));
        assert_eq!(turn(mine, 1, at(51)), burst(BURST - 1));
        assert_eq!(turn(mine, BURST, at(51)), Err(PAUSE));
        // What it does itself takes nothing from what others have done.
        pace.stirred(mine, at(60));
        pace.stirred(mine, at(149));
        assert_eq!(turn(mine, BURST, at(150)), Err(PAUSE));
        assert_eq!(turn(mine, BURST, at(151)), Ok(ALONE));
        assert_eq!(turn(other, BURST, at(151)), Err(PAUSE));
        // Of one that began only then nobody was kept waiting yet.
        assert_eq!(pace.turn(other, at(150), BURST, at(151)), Ok(ALONE));
    }
}
