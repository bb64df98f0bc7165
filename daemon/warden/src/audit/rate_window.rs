//! Limits each user to a number of turns within a time. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct RateWindow {
    most: usize,
    within: Duration,
    turns: BTreeMap<u32, VecDeque<Instant>>,
}

impl RateWindow {
    pub const fn new(most: usize, within: Duration) -> Self {
        Self {
            most,
            within,
            turns: BTreeMap::new(),
        }
    }

    /// Takes one turn of the user. Returns false if none is left for now.
    pub fn take(&mut self, uid: u32, now: Instant) -> bool {
        let within = self.within;
        self.turns.retain(|_, times| {
            times.retain(|time| now.saturating_duration_since(*time) < within);
            !times.is_empty()
        });
        let times = self.turns.entry(uid).or_default();
        let is_allowed = times.len() < self.most;
        if is_allowed {
            times.push_back(now);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_counted_per_user() {
        let within = Duration::from_secs(600);
        let (mut window, now) = (RateWindow::new(16, within), Instant::now());
        let passed = (0..100).filter(|_| window.take(1, now)).count();
        assert_eq!(passed, 16);
        assert!(window.take(2, now) && !window.take(1, now));
        assert!(!window.take(1, now + within / 2));
        assert!(window.take(1, now + within) && window.turns.len() == 1);
    }
}
