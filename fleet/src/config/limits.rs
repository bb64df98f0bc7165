//! `[limits]` with defaults and bounds. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Hosts that are asked at the same time.
    pub parallel: u32,
    /// Seconds for one login.
    pub connect_s: u32,
    /// Master connections that are kept. 0: none.
    pub masters: u32,
    /// Minutes that an unused master connection is kept.
    pub persist_min: u32,
    /// Seconds without an answer after which a session is tried before its next use.
    pub idle_s: u32,
    /// Bytes of one answer about several hosts, as JSON.
    pub answer_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parallel: 16,
            connect_s: 15,
            masters: 64,
            persist_min: 10,
            idle_s: 30,
            answer_bytes: 24 << 10,
        }
    }
}

impl Limits {
    /// The name in `[limits]`, the value, and which values are accepted.
    fn all(&self) -> [(&'static str, u32, RangeInclusive<u32>); 6] {
        let Self {
            parallel,
            connect_s,
            masters,
            persist_min,
            idle_s,
            answer_bytes,
        } = *self;
        [
            ("parallel", parallel, 1..=64),
            ("connect_s", connect_s, 1..=45),
            // A master has 1.4 MB of private memory (measured).
            ("masters", masters, 0..=64),
            ("persist_min", persist_min, 1..=240),
            ("idle_s", idle_s, 1..=3600),
            // Clients cut results that are longer.
            ("answer_bytes", answer_bytes, 4096..=40_000),
        ]
    }

    /// Fails if a value is out of its bounds.
    pub fn check(&self) -> Result<(), String> {
        let mut all = self.all().into_iter();
        match all.find(|(_, value, range)| !range.contains(value)) {
            None => Ok(()),
            Some((name, value, range)) => {
                Err(format!("[limits] {name}: {value} is not in {range:?}"))
            }
        }
    }

    pub fn connect(&self) -> Duration {
        Duration::from_secs(self.connect_s.into())
    }

    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s.into())
    }

    pub fn masters(&self) -> usize {
        usize::try_from(self.masters).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_bounds() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn page_has_the_default_and_the_bounds_of_each() {
        let page = include_str!("../../../packaging/man/remit-fleet.1");
        for (name, default, range) in Limits::default().all() {
            let (start, end) = (range.start(), range.end());
            let entry = format!("\n.B {name}\n({default}, {start} to {end}): ");
            assert!(page.contains(&entry), "{entry}");
        }
    }
}
