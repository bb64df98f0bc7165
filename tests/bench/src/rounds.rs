//! Runs all ways, each once per round.

use remit_common::caps;

use crate::Failure;
use crate::lanes::{Lane, Way};
use crate::series::Series;
use crate::stage::Stage;

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
