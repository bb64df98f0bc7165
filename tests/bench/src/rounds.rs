//! All ways, each once a round.

use remit_common::caps;

use crate::Failure;
use crate::lanes::{Lane, Way};
use crate::series::Series;
use crate::stage::Stage;

/// Calls that one user may make as fast as they come, less those that warm up.
pub const CALLS_PER_USER: usize = caps::REQUEST_BURST as usize - 20;

/// Takes every way `rounds` times, in turns; a series for each.
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

/// A lane for each way, warmed up: the first call of a connection is another thing than the ones
/// that follow.
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

/// Takes each lane `rounds` times, in each round in another order: none always follows the same other one, which may
/// have warmed or cooled what it needs. The orders are the same in each run.
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

/// Marsaglia's xorshift64: never 0, and good enough to shuffle.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
