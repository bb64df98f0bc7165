//! Gregorian calendar, in days since 1970-01-01.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns year, month (from 1) and day (from 1). `days` must be at most a few million.
#[must_use]
pub const fn date(days: u64) -> (u64, u64, u64) {
    // Years start on 0000-03-01, so that the leap day is the last day of its year. An era has 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    match month < 10 {
        true => (year, month + 3, day),
        false => (year + 1, month - 9, day),
    }
}

/// Returns days since 1970-01-01 for a date from 1970 on; month and day count from 1.
#[must_use]
pub const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = match month > 2 {
        true => (year, month - 3),
        false => (year.saturating_sub(1), month + 9),
    };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    (before + (153 * month + 2) / 5 + day).saturating_sub(719_469)
}

/// Returns the present time in milliseconds since 1970; 0 if the clock is before that.
#[must_use]
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Formats milliseconds since 1970 for people: `2026-11-20 22:10:05 UTC`.
#[must_use]
pub fn utc(unix_ms: u64) -> String {
    format!("{} UTC", date_and_time(unix_ms, ' '))
}

/// Formats milliseconds since 1970 as RFC 3339 does: `2026-11-20T22:10:05.007Z`.
#[must_use]
pub fn timestamp(unix_ms: u64) -> String {
    format!("{}.{:03}Z", date_and_time(unix_ms, 'T'), unix_ms % 1000)
}

fn date_and_time(unix_ms: u64, separator: char) -> String {
    let seconds = unix_ms / 1000;
    format!("{}{separator}{}", day(seconds / 86_400), clock(seconds))
}

/// Formats a day, in days since 1970-01-01: `2026-11-20`.
#[must_use]
pub fn day(days: u64) -> String {
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Formats the time of day, in seconds since 1970: `22:10:05`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// Returns the number of days of a month; 0 for an invalid month.
#[must_use]
pub const fn month_length(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_each_other_as_in_the_calendar() {
        // Values from `date -u -d @SECONDS`.
        for (days, expect) in [
            (0, (1970, 1, 1)),
            (11_015, (2000, 2, 28)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (20_777, (2026, 11, 20)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
            (2_932_896, (9999, 12, 31)),
        ] {
            assert_eq!(date(days), expect, "{days}");
            let (year, month, day) = expect;
            assert_eq!(super::days(year, month, day), days, "{days}");
        }
    }

    #[test]
    fn times_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_795_163_148, "2026-11-20 08:25:48 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds * 1000 + 999), text);
        }
    }

    #[test]
    fn months_are_as_long_as_the_days_say() {
        let mut expect = (1970, 1, 1);
        for days in 0..400_000 {
            assert_eq!(date(days), expect, "{days}");
            let (year, month, day) = expect;
            expect = match (month, day == month_length(year, month)) {
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
                (_, false) => (year, month, day + 1),
            };
        }
        assert_eq!([month_length(2026, 0), month_length(2026, 13)], [0, 0]);
    }
}
