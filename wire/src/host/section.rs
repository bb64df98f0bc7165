//! Sections of the `host` answer that a caller can name, and shared types: decimals, lists that count their rest.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    Os,
    Load,
    Cpu,
    Memory,
    Disks,
    Mounts,
    Network,
    Ports,
    Units,
    Users,
    Boots,
    Containers,
    Packages,
    Updates,
}

impl Section {
    /// Every section, in the order of the report.
    pub const ALL: [Self; 14] = [
        Self::Os,
        Self::Load,
        Self::Cpu,
        Self::Memory,
        Self::Disks,
        Self::Mounts,
        Self::Network,
        Self::Ports,
        Self::Units,
        Self::Users,
        Self::Boots,
        Self::Containers,
        Self::Packages,
        Self::Updates,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::Load => "load",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disks => "disks",
            Self::Mounts => "mounts",
            Self::Network => "network",
            Self::Ports => "ports",
            Self::Units => "units",
            Self::Users => "users",
            Self::Boots => "boots",
            Self::Containers => "containers",
            Self::Packages => "packages",
            Self::Updates => "updates",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSection(String);

impl fmt::Display for UnknownSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown section '{}': it is none of",
            self.0.escape_debug()
        )?;
        Section::ALL
            .iter()
            .try_for_each(|section| write!(f, " {section}"))
    }
}

impl core::error::Error for UnknownSection {}

impl FromStr for Section {
    type Err = UnknownSection;

    /// Errors: `name` is no section's name; quotes its first 32 characters.
    fn from_str(name: &str) -> Result<Self, UnknownSection> {
        Self::ALL
            .into_iter()
            .find(|section| section.name() == name)
            .ok_or_else(|| UnknownSection(name.chars().take(32).collect()))
    }
}

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

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The entries, the most telling first.
    pub items: Vec<T>,
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
