//! The one grammar of durations: whole numbers with units, such as `90s`, `30m`, `30min`, `2h`, `1d`, `1w`, `1h30m`.

use std::fmt;

pub const UNITS: [(&str, u64); 6] = [
    ("w", 604_800),
    ("d", 86_400),
    ("h", 3600),
    ("min", 60),
    ("m", 60),
    ("s", 1),
];

/// More names of units, for times in sentences.
const WORDS: [(&str, u64); 14] = [
    ("week", 604_800),
    ("weeks", 604_800),
    ("day", 86_400),
    ("days", 86_400),
    ("hr", 3600),
    ("hour", 3600),
    ("hours", 3600),
    ("mins", 60),
    ("minute", 60),
    ("minutes", 60),
    ("sec", 1),
    ("secs", 1),
    ("second", 1),
    ("seconds", 1),
];

pub const EXAMPLES: &str = "90s, 30m, 2h, 1d, 1w";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADuration;

impl fmt::Display for NotADuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a duration; examples: {EXAMPLES}")
    }
}

impl std::error::Error for NotADuration {}

/// Returns the seconds. A number that is too large counts as [`u64::MAX`].
pub fn seconds(text: &str) -> Result<u64, NotADuration> {
    sum(text, &[]).ok_or(NotADuration)
}

/// As [`seconds`]; a number without a unit is in seconds.
pub fn seconds_or_number(text: &str) -> Result<u64, NotADuration> {
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_bare {
        true => Ok(text.parse().unwrap_or(u64::MAX)),
        false => seconds(text),
    }
}

/// As [`seconds`], for text such as `2 hours` and `1 h 30 min`: with spaces and long names of units.
pub fn seconds_in_words(text: &str) -> Result<u64, NotADuration> {
    let text: String = text.chars().filter(|c| *c != ' ').collect();
    sum(&text, &WORDS).ok_or(NotADuration)
}

/// Adds numbers with units of [`UNITS`] and `more`.
fn sum(text: &str, more: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    loop {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = after.find(|c: char| !c.is_ascii_lowercase());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let mut known = UNITS.iter().chain(more);
        let (_, worth) = known.find(|(name, _)| *name == unit)?;
        if digits.is_empty() {
            return None;
        }
        // Digits that do not parse are a number that is too large.
        let number = digits.parse::<u64>().unwrap_or(u64::MAX);
        seconds = seconds.saturating_add(number.saturating_mul(*worth));
        rest = after;
        if rest.is_empty() {
            return Some(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n32_one_grammar_of_time() {
        for (text, expect) in [
            ("1s", 1),
            ("30m", 1800),
            ("30min", 1800),
            ("2h", 7200),
            ("1d", 86_400),
            ("1w", 604_800),
            ("007s", 7),
            ("1h30min", 5400),
            ("1d1s", 86_401),
            ("99999999999999999999s", u64::MAX),
            ("18446744073709551615w", u64::MAX),
        ] {
            assert_eq!(seconds(text), Ok(expect), "{text}");
            assert_eq!(seconds_or_number(text), Ok(expect), "{text}");
            assert_eq!(seconds_in_words(text), Ok(expect), "{text}");
        }
        for wrong in [
            "", "30", "min", "-1h", "1.5h", "1 h", "1h30", "1hour", "1M", "1y",
        ] {
            assert_eq!(seconds(wrong), Err(NotADuration), "{wrong}");
        }
        for (text, expect) in [
            ("30", Ok(30)),
            ("", Err(NotADuration)),
            ("1 h", Err(NotADuration)),
        ] {
            assert_eq!(seconds_or_number(text), expect, "{text}");
        }
        for (text, expect) in [
            ("2 hours", 7200),
            ("1 h 30 min", 5400),
            ("1day2secs", 86_402),
        ] {
            assert_eq!(seconds_in_words(text), Ok(expect), "{text}");
        }
        assert_eq!(
            NotADuration.to_string(),
            "not a duration; examples: 90s, 30m, 2h, 1d, 1w"
        );
    }
}
