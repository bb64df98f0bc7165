use std::fmt;
use std::str::FromStr;

const STATES: [&str; 13] = [
    "active",
    "inactive",
    "failed",
    "activating",
    "deactivating",
    "reloading",
    "running",
    "exited",
    "dead",
    "listening",
    "waiting",
    "auto-restart",
    "masked",
];
const NOT_FOUND: &str = "not-found";

/// Load, active or sub state of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitState(&'static str);

impl UnitState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for UnitState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut known = STATES.into_iter().chain([NOT_FOUND]);
        known
            .find(|word| *word == text)
            .map(Self)
            .ok_or("is no state")
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const PRIORITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// A range of priorities. A single name means that priority and all more severe ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priorities {
    gravest: usize,
    least: usize,
}

impl Priorities {
    #[must_use]
    pub fn name(number: usize) -> Option<&'static str> {
        PRIORITIES.get(number).copied()
    }

    fn number(text: &str) -> Option<usize> {
        let text = match text {
            "panic" => "emerg",
            "critical" => "crit",
            "error" => "err",
            "warn" => "warning",
            other => other,
        };
        let named = PRIORITIES.iter().position(|name| *name == text);
        named.or_else(|| (0..PRIORITIES.len()).find(|number| number.to_string() == text))
    }
}

impl FromStr for Priorities {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once("..").unwrap_or(("emerg", text));
        let number = |text| Self::number(text).ok_or("is no priority");
        let (from, to) = (number(from)?, number(to)?);
        Ok(Self {
            gravest: from.min(to),
            least: from.max(to),
        })
    }
}

impl fmt::Display for Priorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |number| Self::name(number).unwrap_or_default();
        match self.gravest {
            0 => f.write_str(name(self.least)),
            gravest => write!(f, "{}..{}", name(gravest), name(self.least)),
        }
    }
}

/// Regular expression for messages, as journalctl(1) takes it (pcre2pattern(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grep(String);

impl Grep {
    const MAX: usize = 512;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Grep {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("is empty");
        }
        if text.len() > Self::MAX {
            return Err("is longer than 512 bytes");
        }
        if text.chars().any(char::is_control) {
            return Err("has a control character");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Grep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootSelector {
    /// Number of boots before the present one.
    Before(u16),
    /// Boot id, 32 hexadecimal digits.
    Id(String),
}

impl FromStr for BootSelector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self::Id(text.to_ascii_lowercase()));
        }
        let digits = match text.strip_prefix('-') {
            Some(digits) => digits,
            None if text == "0" => text,
            None => return Err("is no boot"),
        };
        let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = plain.then(|| digits.parse().ok()).flatten();
        number.map(Self::Before).ok_or("is no boot")
    }
}

impl fmt::Display for BootSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(0) => f.write_str("0"),
            Self::Before(number) => write!(f, "-{number}"),
            Self::Id(id) => f.write_str(id),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines(u16);

impl Lines {
    pub const MAX: u16 = 2000;

    /// Returns the number, from 1 to [`Lines::MAX`].
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self(100)
    }
}

impl FromStr for Lines {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse().ok().filter(|_| plain) {
            Some(number) if (1..=Self::MAX).contains(&number) => Ok(Self(number)),
            Some(_) | None => Err("is no number from 1 to 2000"),
        }
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = &'static str> + ToString>(cases: &[(&str, Option<&str>)]) {
        for (text, expect) in cases {
            let found = text.parse::<T>().ok().map(|value| value.to_string());
            assert_eq!(found.as_deref(), *expect, "{text:?}");
        }
    }

    #[test]
    fn each_value_has_one_form() {
        check::<UnitState>(&[
            ("failed", Some("failed")),
            ("not-found", Some("not-found")),
            ("Failed", None),
            ("", None),
            ("-a", None),
        ]);
        check::<Priorities>(&[
            ("warning", Some("warning")),
            ("warn", Some("warning")),
            ("error", Some("err")),
            ("4", Some("warning")),
            ("0", Some("emerg")),
            ("err..warning", Some("err..warning")),
            ("warning..err", Some("err..warning")),
            ("emerg..err", Some("err")),
            ("8", None),
            ("-1", None),
            ("+3", None),
            ("err..", None),
            ("..err", None),
            ("err..info..debug", None),
            ("", None),
        ]);
        check::<Grep>(&[
            ("--output=x", Some("--output=x")),
            ("a|b", Some("a|b")),
            ("a\nb", None),
            ("a\u{85}", None),
            ("", None),
            (&"x".repeat(512), Some(&"x".repeat(512))),
            (&"x".repeat(513), None),
        ]);
        let id = "0123456789ABCDEF0123456789abcdef";
        check::<BootSelector>(&[
            ("0", Some("0")),
            ("-0", Some("0")),
            ("-1", Some("-1")),
            ("-9999", Some("-9999")),
            ("-10000", None),
            ("1", None),
            ("+1", None),
            ("--1", None),
            ("-", None),
            ("all", None),
            (id, Some(&id.to_lowercase())),
            (&id[1..], None),
        ]);
        check::<Lines>(&[
            ("1", Some("1")),
            ("2000", Some("2000")),
            ("0", None),
            ("2001", None),
            ("-5", None),
            ("+5", None),
            ("", None),
            ("all", None),
        ]);
    }
}
