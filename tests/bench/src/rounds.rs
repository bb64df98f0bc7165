//! All ways, each once a round.

use std::time::Instant;

use remit_common::caps;

use crate::Failure;
use crate::lanes::ENTRIES;
use crate::series::Series;
use crate::stage::Stage;

/// Calls that one user may make as fast as they come, less those that warm up.
pub const CALLS_PER_USER: usize = caps::REQUEST_BURST as usize - 20;

/// Takes every way `rounds` times, in turns; a series for each of [`ENTRIES`].
///
/// In each round another way is the first, so that none always follows the same pause.
pub fn take(stage: &mut Stage, rounds: usize) -> Result<Vec<Series>, Failure> {
    let mut all = vec![Series::default(); ENTRIES.len()];
    let mut left = rounds;
    while left > 0 {
        let block = left.min(CALLS_PER_USER);
        let mut lanes = Vec::new();
        for entry in ENTRIES {
            let mut lane = (entry.open)(stage)?;
            // The first call of a connection is another thing than the ones that follow.
            lane.go()?;
            lane.check()?;
            lanes.push(lane);
        }
        for round in 0..block {
            let mut turns: Vec<_> = lanes.iter_mut().zip(&mut all).collect();
            let first = round % turns.len();
            turns.rotate_left(first);
            for (lane, series) in turns {
                let start = Instant::now();
                lane.go()?;
                series.push(start.elapsed());
                lane.check()?;
            }
        }
        left -= block;
    }
    Ok(all)
}
