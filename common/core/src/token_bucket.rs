//! Token bucket: a burst at once, then a rate. Callers pass the time. Keeps only the time at which it is full again.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    burst: u64,
    /// Time in which an empty bucket gets full.
    refill: Duration,
    full_at: Instant,
}

impl TokenBucket {
    #[must_use]
    pub const fn new(burst: u64, refill: Duration, now: Instant) -> Self {
        Self {
            burst,
            refill,
            full_at: now,
        }
    }

    #[must_use]
    pub fn per_second(tokens: u32, burst: u32, now: Instant) -> Self {
        let refill = Duration::from_secs(burst.into()) / tokens.max(1);
        Self::new(burst.into(), refill, now)
    }

    /// Takes tokens if the bucket has them. Fails as [`Self::check`].
    pub fn take(&mut self, tokens: u64, now: Instant) -> Result<(), Duration> {
        self.check(tokens, now)?;
        self.charge(tokens.min(self.burst), now);
        Ok(())
    }

    /// Fails with the time until the bucket has so many tokens. More than the burst count as the burst.
    pub fn check(&self, tokens: u64, now: Instant) -> Result<(), Duration> {
        let missing = self.full_at.saturating_duration_since(now);
        let after = missing.saturating_add(self.time_for(tokens.min(self.burst)));
        match after.saturating_sub(self.refill) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Takes tokens even if the bucket has fewer. The rest is a debt, which is refilled first.
    pub fn charge(&mut self, tokens: u64, now: Instant) {
        let from = self.full_at.max(now);
        let until = from.checked_add(self.time_for(tokens));
        self.full_at = until.unwrap_or(from);
    }

    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    fn time_for(&self, tokens: u64) -> Duration {
        let nanos = u128::from(tokens) * self.refill.as_nanos();
        let nanos = nanos.div_ceil(u128::from(self.burst.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_the_average_then_full_again() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = TokenBucket::per_second(200, 400, start);
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
        let mut bucket = TokenBucket::per_second(1, 1, start);
        assert!(bucket.take(1, start).is_ok());
        assert!(bucket.take(1, start - Duration::from_secs(5)).is_err());
        assert!(bucket.take(1, start).is_err());
    }
}
