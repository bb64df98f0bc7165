//! Points in time in a caller's notation. They are UTC unless RFC 3339 has an offset, and are printed in UTC as
//! systemd.time(7) reads them.

use std::fmt;
use std::str::FromStr;

use crate::{calendar, span};

/// Maximum age, about 27 years. No journal is older.
const MOST_SECONDS: u64 = 10_000 * 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Time {
    /// Seconds.
    Ago(u64),
    Now,
    /// Midnight at the start of this day.
    Today,
    Yesterday,
    /// This time today.
    Clock(Clock),
    Date(Date, Clock),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_matches(' ');
        match text {
            "now" => return Ok(Self::Now),
            "today" => return Ok(Self::Today),
            "yesterday" => return Ok(Self::Yesterday),
            _ => {}
        }
        let named = text.strip_suffix('Z').or_else(|| text.strip_suffix(" UTC"));
        let bare = named.unwrap_or(text);
        if let Some((date, clock)) = bare.split_once([' ', 'T'])
            && let Some(date) = date_of(date)
        {
            let (clock, offset) = match named {
                Some(_) => (clock, 0),
                None => {
                    split_offset(clock).ok_or("has no offset as +01:00 after its time of day")?
                }
            };
            let clock = clock_of(clock).ok_or("has no time of day after its date")?;
            return in_utc(date, clock, offset).ok_or("is not between the years 1970 and 9999");
        }
        if let Some(date) = date_of(bare) {
            return Ok(Self::Date(date, Clock::MIDNIGHT));
        }
        if let Some(clock) = clock_of(bare) {
            return Ok(Self::Clock(clock));
        }
        let age = text.strip_prefix('-').unwrap_or(text);
        match span::seconds_in_words(age.strip_suffix("ago").unwrap_or(age)) {
            Ok(seconds) if seconds <= MOST_SECONDS => Ok(Self::Ago(seconds)),
            Ok(_) | Err(_) => Err("is no time"),
        }
    }
}

impl Time {
    /// Returns milliseconds since 1970, given the present time `now_ms`; 0 for earlier times.
    #[must_use]
    pub const fn unix_ms(&self, now_ms: u64) -> u64 {
        const DAY: u64 = 86_400_000;
        let today = now_ms - now_ms % DAY;
        match self {
            Self::Ago(seconds) => now_ms.saturating_sub(seconds.saturating_mul(1000)),
            Self::Now => now_ms,
            Self::Today => today,
            Self::Yesterday => today.saturating_sub(DAY),
            Self::Clock(clock) => today.saturating_add(clock.ms()),
            Self::Date(Date { year, month, day }, clock) => {
                let days = calendar::days(*year as u64, *month as u64, *day as u64);
                days.saturating_mul(DAY).saturating_add(clock.ms())
            }
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(seconds) => write!(f, "-{seconds}s"),
            Self::Now => f.write_str("now"),
            Self::Today => f.write_str("today"),
            Self::Yesterday => f.write_str("yesterday"),
            Self::Clock(clock) => write!(f, "{clock}"),
            Self::Date(Date { year, month, day }, clock) => {
                write!(f, "{year:04}-{month:02}-{day:02} {clock}")
            }
        }
    }
}

impl Clock {
    const MIDNIGHT: Self = Self {
        hour: 0,
        minute: 0,
        second: 0,
        microsecond: 0,
    };

    const fn ms(&self) -> u64 {
        let minutes = self.hour as u64 * 60 + self.minute as u64;
        (minutes * 60 + self.second as u64) * 1000 + self.microsecond as u64 / 1000
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hour,
            minute,
            second,
            microsecond,
        } = self;
        write!(f, "{hour:02}:{minute:02}:{second:02}")?;
        match microsecond {
            0 => Ok(()),
            fraction => write!(f, ".{fraction:06}"),
        }
    }
}

fn number(text: &str, digits: usize, most: u16) -> Option<u16> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u16 = plain.then(|| text.parse().ok())??;
    (number <= most).then_some(number)
}

fn small(text: &str, most: u16) -> Option<u8> {
    u8::try_from(number(text, 2, most)?).ok()
}

fn date_of(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let date = Date {
        year: number(parts.next()?, 4, 9999)?,
        month: small(parts.next()?, 12)?,
        day: small(parts.next()?, 31)?,
    };
    let days = calendar::month_length(date.year.into(), date.month.into());
    let there =
        (1..=days).contains(&date.day.into()) && date.year >= 1970 && parts.next().is_none();
    there.then_some(date)
}

fn clock_of(text: &str) -> Option<Clock> {
    let (text, microsecond) = match text.split_once('.') {
        // Only a time with seconds may have a fraction.
        Some((text, part)) if text.len() == "00:00:00".len() => (text, millionths(part)?),
        Some(_) => return None,
        None => (text, 0),
    };
    let mut parts = text.split(':');
    let clock = Clock {
        hour: small(parts.next()?, 23)?,
        minute: small(parts.next()?, 59)?,
        second: parts.next().map_or(Some(0), |second| small(second, 59))?,
        microsecond,
    };
    parts.next().is_none().then_some(clock)
}

/// Smaller parts are left out.
fn millionths(digits: &str) -> Option<u32> {
    let plain = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| format!("{digits:0<6}").get(..6)?.parse().ok())?
}

/// Splits the offset from UTC, in minutes, from a time of day.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, 0));
    };
    let (clock, offset) = text.split_at(at);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = i64::from(small(hours, 23)?) * 60 + i64::from(small(minutes, 59)?);
    let is_east = offset.starts_with('+');
    Some((clock, if is_east { minutes } else { -minutes }))
}

fn in_utc(date: Date, clock: Clock, offset: i64) -> Option<Time> {
    let days = calendar::days(date.year.into(), date.month.into(), date.day.into());
    let minutes = (days * 24 + u64::from(clock.hour)) * 60 + u64::from(clock.minute);
    let minutes = minutes.checked_add_signed(-offset)?;
    let (year, month, day) = calendar::date(minutes / (24 * 60));
    let date = Date {
        year: u16::try_from(year).ok().filter(|year| *year <= 9999)?,
        month: u8::try_from(month).ok()?,
        day: u8::try_from(day).ok()?,
    };
    let clock = Clock {
        hour: u8::try_from(minutes / 60 % 24).ok()?,
        minute: u8::try_from(minutes % 60).ok()?,
        ..clock
    };
    Some(Time::Date(date, clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_the_one_way() {
        for (text, expect) in [
            ("now", "now"),
            ("today", "today"),
            ("yesterday", "yesterday"),
            ("-2h", "-7200s"),
            ("2h", "-7200s"),
            ("30min", "-1800s"),
            ("5m", "-300s"),
            ("1h30min", "-5400s"),
            ("1 h 30 min", "-5400s"),
            ("2 hours ago", "-7200s"),
            ("1 day ago", "-86400s"),
            ("-0s", "-0s"),
            ("10000d", "-864000000s"),
            ("10:00", "10:00:00"),
            ("2026-11-20", "2026-11-20 00:00:00"),
            ("2026-11-20 10:00", "2026-11-20 10:00:00"),
            ("2026-11-20T10:00:59Z", "2026-11-20 10:00:59"),
            ("2026-11-20 10:00 UTC", "2026-11-20 10:00:00"),
            ("2026-11-20 10:00:00.5", "2026-11-20 10:00:00.500000"),
            ("2026-11-20 10:00:00.000001Z", "2026-11-20 10:00:00.000001"),
            ("10:00:00.000000", "10:00:00"),
            ("2026-11-20T10:00:00+00:00", "2026-11-20 10:00:00"),
            ("2026-11-20T10:00:00-00:00", "2026-11-20 10:00:00"),
            ("2026-11-20T10:00:00+01:00", "2026-11-20 09:00:00"),
            ("2026-11-20 10:00+01:00", "2026-11-20 09:00:00"),
            ("2027-01-01T00:15:00+05:45", "2026-12-31 18:30:00"),
            ("2024-02-28T23:30:00-00:30", "2024-02-29 00:00:00"),
            (
                "2026-11-20T10:00:00.123456789-23:59",
                "2026-11-21 09:59:00.123456",
            ),
            ("2026-11-20T10:00:00.0000009Z", "2026-11-20 10:00:00"),
            ("2024-02-29", "2024-02-29 00:00:00"),
            ("2000-02-29", "2000-02-29 00:00:00"),
        ] {
            let time: Time = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(time.to_string(), expect, "{text}");
            assert_eq!(expect.parse(), Ok(time), "{text}");
        }
    }

    #[test]
    fn times_are_points_in_time() {
        const NOW: u64 = 1_795_163_148_042; // 2026-11-20 08:25:48.042
        for (text, ms) in [
            ("now", NOW),
            ("today", 1_795_132_800_000),
            ("yesterday", 1_795_046_400_000),
            ("-1h", NOW - 3_600_000),
            ("10000d", NOW - 864_000_000_000),
            ("08:25:48.0425", 1_795_163_148_042),
            ("2026-11-20 08:25:48.042Z", NOW),
            ("2000-02-29", 951_782_400_000),
            ("1970-01-01", 0),
            ("2100-03-01T00:00Z", 4_107_542_400_000),
        ] {
            let time: Time = text.parse().unwrap();
            assert_eq!(time.unix_ms(NOW), ms, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            " ",
            "-",
            "ago",
            "h",
            "2",
            "-2",
            "2x",
            "2 H",
            "2h -1h",
            "--2h",
            "2h;reboot",
            "10001d",
            "18446744073709551616s",
            "99999999999999999999d",
            "tomorrow",
            "2026-13-01",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "1969-12-31",
            "2026-1-1",
            "2026-11-20 24:00",
            "2026-11-20 10:60",
            "2026-11-20 10",
            "2026-11-20 10:00:00:00",
            "2026-11-20 10:00:00.",
            "2026-11-20 10:00:00.1234567890",
            "2026-11-20T10:00:00+1:00",
            "2026-11-20T10:00:00+0100",
            "2026-11-20T10:00:00+24:00",
            "2026-11-20T10:00:00+01:60",
            "2026-11-20T10:00:00+01:00Z",
            "2026-11-20T10:00:00+01:00+01:00",
            "2026-11-20T+01:00",
            "2026-11-20+01:00",
            "10:00+01:00",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2026-11-20 10:00:00.+1",
            "2026-11-20 10:00.5",
            "2026-11-20.5",
            "2026-11-20 10:00 CET",
            "@1",
            "+2h",
            "２h",
            "2h\n",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text:?}");
        }
    }
}
