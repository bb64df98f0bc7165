//! Bounds what one user's requests write to the audit log within an hour. It refuses before anything is recorded or
//! runs. An admitted request is recorded completely, because not started, because it cannot be recorded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Budget {
    /// Bytes per hour, and at once after an hour without records.
    hour: u64,
    spent: BTreeMap<u32, Spent>,
}

#[derive(Debug)]
struct Spent {
    bytes: u64,
    at: Instant,
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
        let left = self
            .spent
            .get(&uid)
            .map_or(0, |spent| self.left(spent, now));
        match left.checked_sub(self.hour) {
            // Root could write the file itself.
            _ if uid == 0 => Ok(()),
            None => Ok(()),
            Some(over) => Err(self.time_for(over.saturating_add(1))),
        }
    }

    pub fn take(&mut self, uid: u32, bytes: usize, now: Instant) {
        if self.spent.len() >= Self::KEPT {
            let hour = self.hour;
            self.spent
                .retain(|_, spent| refilled_bytes(hour, spent.at, now) < spent.bytes);
        }
        let before = self
            .spent
            .get(&uid)
            .map_or(0, |spent| self.left(spent, now));
        let bytes = before.saturating_add(bytes as u64);
        self.spent.insert(uid, Spent { bytes, at: now });
    }

    fn left(&self, spent: &Spent, now: Instant) -> u64 {
        let back = refilled_bytes(self.hour, spent.at, now);
        spent.bytes.saturating_sub(back)
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * HOUR.as_nanos()).div_ceil(u128::from(self.hour.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn refilled_bytes(hour: u64, from: Instant, to: Instant) -> u64 {
    let passed = to.saturating_duration_since(from).as_nanos();
    let bytes = u128::from(hour) * passed / HOUR.as_nanos();
    u64::try_from(bytes).unwrap_or(u64::MAX)
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
