//! One grammar for lengths of time: a whole number and a unit, such as `90s`, `30m`, `30min`, `2h`, `1d`, `1w`.
//! Pure.

/// The units and their seconds.
pub const UNITS: [(&str, u64); 6] = [
    ("w", 604_800),
    ("d", 86_400),
    ("h", 3600),
    ("min", 60),
    ("m", 60),
    ("s", 1),
];

/// Examples for a message.
pub const EXAMPLES: &str = "90s, 30min, 2h, 1d, 1w";

/// Returns the seconds; nothing if the text has another form. A number that is too large counts as [`u64::MAX`].
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let (_, worth) = UNITS.iter().find(|(name, _)| *name == unit)?;
    if digits.is_empty() {
        return None;
    }
    // Only digits: whatever does not parse is too large.
    let number = digits.parse::<u64>().unwrap_or(u64::MAX);
    Some(number.saturating_mul(*worth))
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
            ("99999999999999999999s", u64::MAX),
            ("18446744073709551615w", u64::MAX),
        ] {
            assert_eq!(seconds(text), Some(expect), "{text}");
        }
        for wrong in ["", "30", "min", "-1h", "1.5h", "1 h", "1h30m", "1M", "1y"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
