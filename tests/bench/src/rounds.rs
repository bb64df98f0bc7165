//! All ways, each once a round.

use std::time::Instant;

use remit_common::caps;

use crate::Failure;
use crate::lanes::{ENTRIES, Entry, Lane};
use crate::series::Series;
use crate::stage::Stage;

/// Calls that one user may make as fast as they come, less those that warm up.
pub const CALLS_PER_USER: usize = caps::REQUEST_BURST as usize - 20;

/// Takes every way `rounds` times, in turns; a series for each of [`ENTRIES`].
pub fn take(stage: &mut Stage, rounds: usize) -> Result<Vec<Series>, Failure> {
    let mut all = vec![Series::default(); ENTRIES.len()];
    let mut left = rounds;
    while left > 0 {
        let block = left.min(CALLS_PER_USER);
        let mut lanes = open(stage, ENTRIES)?;
        take_turns(&mut lanes, &mut all, block)?;
        left -= block;
    }
    Ok(all)
}

/// A lane for each way, warmed up: the first call of a connection is another thing than the ones
/// that follow.
pub fn open<'a>(
    stage: &mut Stage,
    ways: impl IntoIterator<Item = &'a Entry>,
) -> Result<Vec<Box<dyn Lane>>, Failure> {
    let open = |way: &Entry| {
        let mut lane = (way.open)(stage)?;
        lane.go()?;
        lane.check()?;
        Ok(lane)
    };
    ways.into_iter().map(open).collect()
}

/// Takes each lane `rounds` times. In each round another one is the first, so that none always
/// follows the same pause.
pub fn take_turns(
    lanes: &mut [Box<dyn Lane>],
    series: &mut [Series],
    rounds: usize,
) -> Result<(), Failure> {
    for round in 0..rounds {
        let mut turns: Vec<_> = lanes.iter_mut().zip(series.iter_mut()).collect();
        let first = round % turns.len();
        turns.rotate_left(first);
        for (lane, series) in turns {
            let start = Instant::now();
            lane.go()?;
            series.push(start.elapsed());
            lane.check()?;
        }
    }
    Ok(())
}
