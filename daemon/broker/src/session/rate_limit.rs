//! A token bucket: an average rate per second and a burst.

use std::time::{Duration, Instant};

/// Fractions of a token, so that slow refills lose nothing to rounding.
const PART: u64 = 1_000_000;

#[derive(Debug)]
pub struct Bucket {
    per_second: u64,
    burst: u64,
    parts: u64,
    filled: Instant,
}

impl Bucket {
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = u64::from(burst) * PART;
        Self {
            per_second: u64::from(per_second).max(1),
            burst,
            parts: burst,
            filled: now,
        }
    }

    pub fn take(&mut self, cost: u32, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.parts = self
            .parts
            .saturating_add(passed.saturating_mul(self.per_second))
            .min(self.burst);
        self.filled = now.max(self.filled);
        let cost = (u64::from(cost) * PART).min(self.burst);
        match self.parts.checked_sub(cost) {
            Some(left) => {
                self.parts = left;
                Ok(())
            }
            None => Err(Duration::from_micros(
                (cost - self.parts).div_ceil(self.per_second),
            )),
        }
    }

    /// Returns true if the bucket is full: it can be dropped, because a new one would be equal.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.take(0, now).is_ok() && self.parts == self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_the_average_then_full_again() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = Bucket::new(200, 400, start);
        assert!((0..400).all(|_| bucket.take(1, start).is_ok()));
        assert_eq!(bucket.take(1, start), Err(Duration::from_millis(5)));
        assert!(bucket.take(1, at(4)).is_err());
        assert!(bucket.take(1, at(5)).is_ok());
        assert!((0..200).all(|_| bucket.take(1, at(1005)).is_ok()));
        assert!(bucket.take(1, at(1005)).is_err());
        assert!(!bucket.is_full(at(1005)));
        assert!(bucket.is_full(at(9000)));
        assert!(
            bucket.take(1_000_000, at(9000)).is_ok(),
            "a cost above the burst is the burst"
        );
    }

    #[test]
    fn clock_stalled_or_set_back_refills_nothing() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(1, 1, start);
        assert!(bucket.take(1, start).is_ok());
        assert!(bucket.take(1, start - Duration::from_secs(5)).is_err());
        assert!(bucket.take(1, start).is_err());
    }
}
