//! Bounds what one user's requests write to the audit log within an hour. It refuses before anything is recorded or
//! runs. An admitted request is recorded completely, because not started, because it cannot be recorded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use remit_common::token_bucket::TokenBucket;

#[derive(Debug)]
pub struct Budget {
    /// Bytes per hour, and at once after an hour without records.
    hour: u64,
    spent: BTreeMap<u32, TokenBucket>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Budget {
    /// Above this number of users, those without a charge are removed.
    const KEPT: usize = 1024;

    pub const fn new(hour: u64) -> Self {
        let spent = BTreeMap::new();
        Self { hour, spent }
    }

    pub const fn hour(&self) -> u64 {
        self.hour
    }

    /// Returns an error with the time until this user may write again.
    pub fn ask(&self, uid: u32, now: Instant) -> Result<(), Duration> {
        match self.spent.get(&uid) {
            // Root could write the file itself.
            Some(bucket) if uid != 0 => bucket.check(1, now),
            Some(_) | None => Ok(()),
        }
    }

    pub fn take(&mut self, uid: u32, bytes: usize, now: Instant) {
        if self.spent.len() >= Self::KEPT {
            self.spent.retain(|_, bucket| !bucket.is_full(now));
        }
        let full = TokenBucket::new(self.hour, HOUR, now);
        let bucket = self.spent.entry(uid).or_insert(full);
        bucket.charge(bytes as u64, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn s09_hourly_budget_refills() {
        let (mut budget, start) = (Budget::new(MIB), Instant::now());
        let mut written = 0;
        while budget.ask(7, start).is_ok() {
            budget.take(7, 10_000, start);
            written += 10_000;
        }
        assert!((MIB..MIB + 10_000).contains(&written), "{written}");
        let wait = budget.ask(7, start).unwrap_err();
        assert!(wait <= Duration::from_secs(36), "{wait:?}");
        assert!(budget.ask(7, start + wait).is_ok());
        assert!(budget.ask(7, start + wait / 2).is_err());
        // A day's total is 24 hours and the initial burst.
        let mut day = 0;
        for second in 0..86_400 {
            let now = start + Duration::from_secs(second);
            while budget.ask(8, now).is_ok() {
                budget.take(8, 5_000, now);
                day += 5_000;
            }
        }
        assert!(day <= 25 * MIB + 5_000, "{day}");
        assert!(day >= 24 * MIB, "{day}");
    }

    #[test]
    fn s09_budget_is_per_user_root_is_exempt() {
        let (mut budget, now) = (Budget::new(MIB), Instant::now());
        for uid in 0..5000 {
            budget.take(uid, 2 << 20, now);
        }
        assert!(budget.ask(0, now).is_ok());
        assert!(budget.ask(4999, now).is_err());
        assert!(budget.ask(5000, now).is_ok());
        let later = now + 3 * HOUR;
        budget.take(1, 1, later);
        assert!(
            budget.spent.len() < Budget::KEPT,
            "who has all is forgotten"
        );
        assert!(budget.ask(4999, later).is_ok());
    }
}
