//! Durations and their quantiles. Pure.

use std::time::Duration;

use serde::Serialize;

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
