//! Pseudo-random numbers, reproducible by seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64: short, and sufficient to choose points in time.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Takes the seed from this environment variable or the clock, and prints it to reproduce a failure.
    #[must_use]
    pub fn seeded_by(variable: &str) -> Self {
        let seed = match std::env::var(variable) {
            Ok(text) => text.parse().expect("a seed is a number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs() ^ u64::from(now.subsec_nanos())),
        };
        println!("{variable}={seed}");
        Self(seed)
    }

    /// Returns an independent sequence.
    #[must_use]
    pub fn branch(&mut self) -> Self {
        Self(self.next())
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `end` - 1. `end` must not be 0.
    pub const fn below(&mut self, end: u32) -> u32 {
        // The value is less than `end`, so it fits.
        (self.next() % end as u64) as u32
    }

    /// Returns true once in `times` times on average.
    pub const fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn seed_repeats_sequence_and_covers_range() {
        let row = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
        assert!((0..10).all(|number| row(3).contains(&number)));
    }
}
