//! Types shared by many facts: decimals, and lists that count what they leave out.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A number with two decimals, written as one: 1.25 is 125 hundredths.
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "f64")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Hundredths(pub u32);

impl From<Hundredths> for f64 {
    fn from(number: Hundredths) -> Self {
        Self::from(number.0) / 100.0
    }
}

impl TryFrom<f64> for Hundredths {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, &'static str> {
        let scaled = (number * 100.0).round();
        if (0.0..=f64::from(u32::MAX)).contains(&scaled) {
            // The number is in range and whole, so the conversion loses nothing.
            Ok(Self(scaled as u32))
        } else {
            Err("not a number from 0 to 42949672.95")
        }
    }
}

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A list cut to a bound.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The entries, the most telling first.
    pub items: Vec<T>,
    /// Entries left out.
    pub more: u64,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            more: 0,
        }
    }
}

impl<T> List<T> {
    /// Keeps the first `max` of `items`.
    #[must_use]
    pub fn cut(items: Vec<T>, max: usize) -> Self {
        let mut list = Self { items, more: 0 };
        list.shrink(max);
        list
    }

    /// Leaves out all but the first `max` entries.
    pub fn shrink(&mut self, max: usize) {
        let over = self.items.len().saturating_sub(max);
        self.items.truncate(max);
        self.more = self.more.saturating_add(over as u64);
    }

    /// Entries kept and left out together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.more.saturating_add(self.items.len() as u64)
    }
}
