//! Formats numbers, durations and times for people. Pure.

use remit_common::calendar;

/// `1.5 GiB`: at most four digits and a binary unit.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    // For display only: f64 is exact enough for four digits.
    let mut value = bytes as f64;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {name}")
    }
}

/// `350 ms`, `2.4 s`, `3 min 5 s`, `4 h 2 min`, `9 d 3 h`.
pub fn duration(ms: u64) -> String {
    let s = ms / 1000;
    let (min, h, d) = (s / 60, s / 3600, s / 86400);
    match s {
        0 => format!("{ms} ms"),
        1..=59 => format!("{s}.{} s", ms % 1000 / 100),
        60..=3599 => format!("{min} min {} s", s % 60),
        3600..=86399 => format!("{h} h {} min", min % 60),
        _ => format!("{d} d {} h", h % 24),
    }
}

pub fn ordinal(number: u32) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        (_, _) => "th",
    };
    format!("{number}{end}")
}

pub fn count(number: u64, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

/// Formats seconds since 1970 in the one form for people: `2026-11-20 08:25:48 UTC`.
pub fn time(seconds: u64) -> String {
    calendar::utc(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_that_fits() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (24 << 30, "24.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn durations_have_at_most_two_parts() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (2_450, "2.4 s"),
            (185_000, "3 min 5 s"),
            (14_520_000, "4 h 2 min"),
            (788_400_000, "9 d 3 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn numbers_have_words() {
        for (number, text) in [
            (1, "1st"),
            (2, "2nd"),
            (3, "3rd"),
            (4, "4th"),
            (10, "10th"),
            (11, "11th"),
            (12, "12th"),
            (13, "13th"),
            (21, "21st"),
            (112, "112th"),
            (122, "122nd"),
        ] {
            assert_eq!(ordinal(number), text);
        }
        assert_eq!(count(0, "line"), "0 lines");
        assert_eq!(count(1, "byte"), "1 byte");
        assert_eq!(count(2, "byte"), "2 bytes");
    }
}
