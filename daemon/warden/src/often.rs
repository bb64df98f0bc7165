//! How often somebody did something lately. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// So many turns of each user within a time.
#[derive(Debug)]
pub struct Often {
    most: usize,
    within: Duration,
    turns: BTreeMap<u32, VecDeque<Instant>>,
}

impl Often {
    /// Nobody has had a turn yet.
    pub const fn new(most: usize, within: Duration) -> Self {
        Self {
            most,
            within,
            turns: BTreeMap::new(),
        }
    }

    /// Takes one turn of this user's. False: they have none left for now.
    pub fn take(&mut self, uid: u32, now: Instant) -> bool {
        let within = self.within;
        self.turns.retain(|_, times| {
            times.retain(|time| now.saturating_duration_since(*time) < within);
            !times.is_empty()
        });
        let times = self.turns.entry(uid).or_default();
        let room = times.len() < self.most;
        if room {
            times.push_back(now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_up_the_turns_of_another() {
        let within = Duration::from_secs(600);
        let (mut often, now) = (Often::new(16, within), Instant::now());
        let passed = (0..100).filter(|_| often.take(1, now)).count();
        assert_eq!(passed, 16);
        assert!(often.take(2, now) && !often.take(1, now));
        assert!(!often.take(1, now + within / 2));
        assert!(often.take(1, now + within) && often.turns.len() == 1);
    }
}
