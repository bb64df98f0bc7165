//! Numbers that look random, and come again for the same seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64: short, and good enough to choose moments by.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From the seed in this variable of the environment, else from the clock. Prints it: a failure can be
    /// had again, as far as the kernel's scheduler lets it.
    ///
    /// # Panics
    /// When the variable holds no number.
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

    /// Another row of numbers.
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

    /// 0 to `end`, without `end`, which must not be 0.
    pub const fn below(&mut self, end: u32) -> u32 {
        // Less than `end`, so it fits.
        (self.next() % end as u64) as u32
    }

    /// True once in so many times.
    pub const fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_all_of_them() {
        let row = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
        assert!((0..10).all(|number| row(3).contains(&number)));
    }
}
