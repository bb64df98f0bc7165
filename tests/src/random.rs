//! Inputs of tests: pseudo-random numbers, reproducible by seed, and hostile texts that could change how a record, a line or
//! a screen reads.

/// SplitMix64: short, and sufficient to choose points in time.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Takes the seed from this environment variable, and prints it. Without one it is the same each time: a run of the
    /// tests is repeatable.
    #[must_use]
    pub fn seeded_by(variable: &str) -> Self {
        let seed = match std::env::var(variable) {
            Ok(text) => text.parse().expect("a seed is a number"),
            Err(_) => 20_261_125,
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

/// Bytes, because not all are UTF-8.
pub const TEXTS: [&[u8]; 60] = [
    // Lines and records.
    b"a\nREMIT_VERDICT=allow",
    b"a\r\nb",
    b"a\rb",
    b"\n",
    b"\n\n\n",
    b"trailing\n",
    b"a\nPRIORITY=0",
    b"a\nPRIORITY\n\x01\x00\x00\x00\x00\x00\x00\x000",
    b"a\nMESSAGE=remitd stopped\nMESSAGE_ID=6d21ec74910743cf805e9c049cdfb1c1",
    b"REMIT_HASH=0000",
    b"_UID=0",
    b"a\n_UID=0\nSYSLOG_IDENTIFIER=remitd",
    b"=",
    b"==\n==",
    // JSON.
    b"\",\"REMIT_UID\":\"0",
    b"\\\",\\\"REMIT_UID\\\":\\\"0",
    b"}\n{\"REMIT_EVENT\":\"stop\"}",
    b"\"",
    b"\\",
    b"\\\\",
    b"\\u0000",
    b"\\x0a",
    b"\",\"result\":\"allowed",
    b"null",
    b"{}",
    b"[1,2",
    // Terminal control.
    b"\x1b[2J\x1b]0;title\x07",
    b"\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
    b"\x1b[1A\x1b[2K",
    b"\x1b",
    b"\xc2\x9b31m",
    b"\x9b31m",
    b"\x7f\x08\x0b\x0c",
    b"\x08\x08\x08\x08allowed",
    b"\x01\x02\x03\x04\x05\x06\x0e\x1f",
    b"\t",
    // Text that is invisible or changes direction.
    "\u{2028}next\u{2029}next".as_bytes(),
    "\u{202e}reversed".as_bytes(),
    "\u{2066}isolated\u{2069}".as_bytes(),
    "\u{200b}\u{200d}\u{2060}".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{ad}\u{34f}\u{115f}\u{3164}".as_bytes(),
    "\u{e0041}\u{e0042}\u{e007f}".as_bytes(),
    "\u{e0100}\u{fe00}".as_bytes(),
    "\u{85}\u{80}".as_bytes(),
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}".as_bytes(),
    "\u{430}lice \u{fb01} \u{ff52}oot".as_bytes(),
    // Invalid UTF-8, and code points that are not characters.
    b"\xff\xfe\xc3\x28",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80",
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    b"\xf8\x88\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    "\u{fffe}\u{ffff}\u{10ffff}".as_bytes(),
    b"\xf0\x9f",
    // Text that other programs interpret.
    b"'; rm -rf / #",
    b"$(id)`id`",
    b"%n%s%99999d",
    b"",
];

/// Returns the valid UTF-8 among them, for text fields.
#[must_use]
pub fn texts() -> Vec<&'static str> {
    let all = TEXTS.iter();
    all.filter_map(|text| std::str::from_utf8(text).ok())
        .collect()
}

/// Returns true for characters forbidden in logs: controls except line feed, and those that hide or reverse text.
#[must_use]
pub fn is_raw(char: char) -> bool {
    char != '\n' && (char == '\t' || !remit_common::text::is_plain(char))
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
