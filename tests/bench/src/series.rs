//! Durations and their quantiles, and the rounds that they are measured in: all ways, each once per round. Splits a call
//! through `mcp-shim` into parts, from measurements of the same run. Pure. Each part is the difference of two times of the
//! same rank, and only as exact.

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
    let mut shuffle = Shuffle::default();
    for _ in 0..rounds {
        let mut turns: Vec<_> = lanes.iter_mut().zip(series.iter_mut()).collect();
        turns.sort_by_cached_key(|_| shuffle.next());
        for (lane, series) in turns {
            series.push(lane.timed()?);
            lane.check()?;
        }
    }
    Ok(())
}

/// Marsaglia's xorshift64: never 0, and sufficient to shuffle. The orders are the same in every run.
pub struct Shuffle(u64);

impl Default for Shuffle {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Shuffle {
    pub fn next(&mut self) -> u64 {
        let Self(state) = self;
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }
}

/// Times of the same rank in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub fork: f64,
    /// The sandbox `read` without a daemon.
    pub read: f64,
    pub record: Option<f64>,
    /// The warden with a broker that only measures.
    pub warden: f64,
    /// A request to the broker that does not need the warden.
    pub hop: f64,
    pub daemon: f64,
    pub shim: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub p50: f64,
    /// The same of p10: the cost without other load of the machine.
    pub p10: f64,
    /// The times that it is the difference of.
    pub made_of: &'static str,
}

/// Audit records of a look: intent and end.
const RECORDS: f64 = 2.0;

/// Returns the parts from the outermost to the innermost, of medians and of p10.
pub fn split(p50: &Times, p10: &Times) -> Vec<Part> {
    let part = |((name, p50, made_of), (_, p10, _))| Part {
        name,
        p50,
        p10,
        made_of,
    };
    parts(p50).into_iter().zip(parts(p10)).map(part).collect()
}

fn parts(all: &Times) -> Vec<(&'static str, f64, &'static str)> {
    let record = all.record.map(|record| record * RECORDS);
    let warden = all.warden - all.read;
    let mut parts = vec![
        (
            "hops: client to mcp-shim, its JSON, and on to the socket",
            all.shim - all.daemon,
            "mcp-shim − the daemon's socket",
        ),
        (
            "hops: the socket to the broker and back",
            all.hop,
            "a question that the broker answers alone",
        ),
        (
            "drain: the broker's spool, session and report of a job",
            all.daemon - all.warden - all.hop,
            "the daemon's socket − the warden alone − that question",
        ),
        (
            "warden: decide, plan, ledger, link, cgroup, verified end",
            warden - record.unwrap_or_default(),
            match record {
                Some(_) => "the warden alone − the sandbox alone − two records",
                None => "the warden alone − the sandbox alone, records with it",
            },
        ),
    ];
    parts.extend(record.map(|record| {
        (
            "record: intent and end",
            record,
            "twice a look's record, of the table of records",
        )
    }));
    parts.extend([
        (
            "sandbox: the layers of 'read'",
            all.read - all.fork,
            "the sandbox alone − fork + exec",
        ),
        (
            "exec: fork, exec, /bin/true itself, its end",
            all.fork,
            "fork + exec + wait, nothing else",
        ),
    ]);
    parts
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

    #[test]
    fn the_parts_are_the_whole() {
        let mut all = Times {
            fork: 500.0,
            read: 900.0,
            record: Some(12.0),
            warden: 1200.0,
            hop: 60.0,
            daemon: 1350.0,
            shim: 1500.0,
        };
        for record in [Some(12.0), None] {
            all.record = record;
            let parts = split(&all, &all);
            let sum: f64 = parts.iter().map(|part| part.p50).sum();
            assert!((sum - all.shim).abs() < 1e-6, "{sum}");
            assert!(parts.iter().all(|part| part.p10 == part.p50));
        }
    }
}
