//! Durations and their quantiles, and the rounds that they are measured in: all ways, each once per round.

use std::time::Duration;

use remit_common::caps;
use serde::Serialize;

use crate::Failure;
use crate::lanes::{Lane, Way};
use crate::stage::Stage;

#[derive(Clone, Debug, Default)]
pub struct Series(Vec<Duration>);

/// Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub count: usize,
    /// One in ten takes less: the cost without other load, on a shared machine.
    pub p10: f64,
    pub p50: f64,
    pub p95: f64,
}

impl Series {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Returns the summary, all zero for an empty series.
    pub fn summary(&self) -> Summary {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            let time = sorted.get(rank - 1).copied().unwrap_or_default();
            time.as_secs_f64() * 1e6
        };
        Summary {
            count: sorted.len(),
            p10: at(10),
            p50: at(50),
            p95: at(95),
        }
    }
}

/// Calls that the rate limit allows one user in a burst, minus the warm-up.
pub const CALLS_PER_USER: usize = caps::REQUEST_BURST as usize - 20;

pub fn take(stage: &mut Stage, ways: &[Way], rounds: usize) -> Result<Vec<Series>, Failure> {
    let mut all = vec![Series::default(); ways.len()];
    let mut left = rounds;
    while left > 0 {
        let block = left.min(CALLS_PER_USER);
        let mut lanes = open(stage, ways)?;
        take_turns(&mut lanes, &mut all, block)?;
        left -= block;
    }
    Ok(all)
}

/// Opens and warms up each way: the first call of a connection has a different cost.
pub fn open<'a>(
    stage: &mut Stage,
    ways: impl IntoIterator<Item = &'a Way>,
) -> Result<Vec<Box<dyn Lane>>, Failure> {
    let open = |way: &Way| {
        let mut lane = (way.open)(stage).map_err(|e| format!("{}: {e}", way.title))?;
        for _ in 0..3 {
            lane.go()?;
            lane.check().map_err(|e| format!("{}: {e}", way.title))?;
        }
        Ok(lane)
    };
    ways.into_iter().map(open).collect()
}

/// Runs each lane `rounds` times, in a different order each round. Otherwise a lane would always follow the same one,
/// which may have warmed or cooled its caches. The orders are the same in every run.
pub fn take_turns(
    lanes: &mut [Box<dyn Lane>],
    series: &mut [Series],
    rounds: usize,
) -> Result<(), Failure> {
    let mut state = SEED;
    for _ in 0..rounds {
        let mut turns: Vec<_> = lanes.iter_mut().zip(series.iter_mut()).collect();
        turns.sort_by_cached_key(|_| next(&mut state));
        for (lane, series) in turns {
            series.push(lane.timed()?);
            lane.check()?;
        }
    }
    Ok(())
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Marsaglia's xorshift64: never 0, and sufficient to shuffle.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Summary {
        Series(micros.into_iter().map(Duration::from_micros).collect()).summary()
    }

    #[test]
    fn quantiles_are_times_that_were_taken() {
        for (micros, p10, p50, p95) in [
            (vec![], 0.0, 0.0, 0.0),
            (vec![7], 7.0, 7.0, 7.0),
            (vec![9, 1, 5], 1.0, 5.0, 9.0),
            ((1..=100).rev().collect(), 10.0, 50.0, 95.0),
        ] {
            let count = micros.len();
            let expected = Summary {
                count,
                p10,
                p50,
                p95,
            };
            assert_eq!(of(micros), expected);
        }
    }
}
