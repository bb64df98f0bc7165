//! When a key ends: what a person may write, and what sshd reads. Pure but for the clock it is given.
//!
//! What stands in the file is always UTC, which sshd takes from OpenSSH 9.1 on (sshd(8), expiry-time).
//! It takes local time too, but reads it as if there were no summer time: in summer the key would live an
//! hour longer.

use std::fmt;
use std::str::FromStr;

use remit_common::{calendar, span};
use serde::{Deserialize, Serialize};

use crate::human;

/// The longest time a key may be given, in seconds: 100 years.
const LONGEST: u64 = 100 * 366 * 86400;

/// A moment as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expires {
    /// Not at all.
    Never,
    /// By the clock on this machine's wall: `2026-12-31 08:00:00`.
    Local(String),
    /// In seconds since 1970: it was written with a `Z`.
    Unix(u64),
    /// So many seconds from now.
    After(u64),
}

/// When a key ends, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End(u64);

/// Why a text names no moment in the future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpiryError {
    /// It is none of the forms.
    Form,
    /// There is no such day or hour.
    NoSuchTime,
    /// It is over already.
    Past,
    /// It is further away than anybody can mean.
    TooFar,
}

impl fmt::Display for ExpiryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => {
                "it is neither YYYY-MM-DD, YYYY-MM-DDTHH:MM[:SS][Z], a length such as 30min, 12h or 30d, nor never"
            }
            Self::NoSuchTime => "there is no such time",
            Self::Past => "it is in the past",
            Self::TooFar => "it is more than 100 years away",
        })
    }
}

impl std::error::Error for ExpiryError {}

impl End {
    /// As sshd reads it.
    pub fn sshd(self) -> String {
        let mut digits = human::time(self.0);
        digits.retain(|c| c.is_ascii_alphanumeric());
        digits
    }
}

impl fmt::Display for End {
    /// As people read it: `2026-12-31 08:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human::time(self.0))
    }
}

impl FromStr for Expires {
    type Err = ExpiryError;

    fn from_str(text: &str) -> Result<Self, ExpiryError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Some(seconds) = duration(text)? {
            return Ok(Self::After(seconds));
        }
        let (text, utc) = match text.strip_suffix('Z') {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (date, time),
            // A day alone begins by the wall's clock, not by another's.
            None if utc => return Err(ExpiryError::Form),
            None => (text, "00:00"),
        };
        let [year, month, day] = numbers(date, '-', &[4, 2, 2])?;
        let time = match time.len() {
            5 => format!("{time}:00"),
            _ => time.to_owned(),
        };
        let [hour, minute, second] = numbers(&time, ':', &[2, 2, 2])?;
        let days = days(year, month, day).ok_or(ExpiryError::NoSuchTime)?;
        if hour > 23 || minute > 59 || second > 59 {
            return Err(ExpiryError::NoSuchTime);
        }
        if utc {
            return Ok(Self::Unix(
                days * 86400 + hour * 3600 + minute * 60 + second,
            ));
        }
        Ok(Self::Local(format!("{date} {time}")))
    }
}

impl Expires {
    /// The moment, if there is one. `now` is in seconds since 1970, and `unix` makes such of local time.
    ///
    /// # Errors
    /// It is over, too far away, or `unix` fails.
    pub fn at<E>(
        &self,
        now: u64,
        unix: impl FnOnce(&str) -> Result<u64, E>,
    ) -> Result<Result<Option<End>, ExpiryError>, E> {
        let at = match self {
            Self::Never => return Ok(Ok(None)),
            Self::Local(text) => unix(text)?,
            Self::Unix(at) => *at,
            Self::After(seconds) => now.saturating_add(*seconds),
        };
        Ok(match at {
            at if at <= now => Err(ExpiryError::Past),
            at if at > now.saturating_add(LONGEST) => Err(ExpiryError::TooFar),
            at => Ok(Some(End(at))),
        })
    }
}

/// A length of time in seconds; nothing if the text has no such form.
fn duration(text: &str) -> Result<Option<u64>, ExpiryError> {
    match span::seconds(text) {
        None => Ok(None),
        Some(0) => Err(ExpiryError::Past),
        Some(seconds) if seconds <= LONGEST => Ok(Some(seconds)),
        Some(_) => Err(ExpiryError::TooFar),
    }
}

/// Three numbers with exactly these many digits.
fn numbers(text: &str, between: char, digits: &[usize; 3]) -> Result<[u64; 3], ExpiryError> {
    let mut parts = text.split(between);
    let mut next = |digits: usize| {
        let part = parts.next().ok_or(ExpiryError::Form)?;
        let good = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| part.parse().ok())
            .flatten()
            .ok_or(ExpiryError::Form)
    };
    let [first, second, third] = digits;
    let found = [next(*first)?, next(*second)?, next(*third)?];
    match parts.next() {
        None => Ok(found),
        Some(_) => Err(ExpiryError::Form),
    }
}

/// Days since 1970 of a day that exists, from 1970 on.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=calendar::month_length(year, month)).contains(&day) {
        return None;
    }
    // Years that begin in March put the leap day last; the first such year is 0.
    let (year, month) = match month {
        1 | 2 => (year.checked_sub(1)?, month + 9),
        _ => (year, month - 3),
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// 2026-11-20 08:25:48 in UTC.
    const NOW: u64 = 1_795_163_148;

    fn at(text: &str) -> Result<String, ExpiryError> {
        let expires: Expires = text.parse()?;
        // A wall clock one hour ahead of UTC.
        let unix = |text: &str| match format!("{}Z", text.replace(' ', "T")).parse() {
            Ok(Expires::Unix(at)) => Ok::<_, Infallible>(at.saturating_sub(3600)),
            other => panic!("{text}: {other:?}"),
        };
        let Ok(at) = expires.at(NOW, unix);
        Ok(at?.map_or_else(|| "never".to_owned(), End::sshd))
    }

    #[test]
    fn every_form_becomes_utc() {
        for (text, digits) in [
            ("2026-12-31", "20261230230000Z"),
            ("2026-12-31T08:00", "20261231070000Z"),
            ("2026-12-31 08:00:59", "20261231070059Z"),
            ("2026-12-31T08:00Z", "20261231080000Z"),
            ("2028-02-29", "20280228230000Z"),
            ("2026-11-20T09:25:49", "20261120082549Z"),
            ("2026-11-20T08:25:49Z", "20261120082549Z"),
            ("1m", "20261120082648Z"),
            ("1min", "20261120082648Z"),
            ("60s", "20261120082648Z"),
            ("12h", "20261120202548Z"),
            ("30d", "20261220082548Z"),
            ("2w", "20261204082548Z"),
            ("never", "never"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(digits), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_to_come_is_refused() {
        use ExpiryError::*;
        for (text, error) in [
            ("", Form),
            ("d", Form),
            ("-1d", Form),
            ("1.5d", Form),
            ("1y", Form),
            ("tomorrow", Form),
            ("2026-1-2", Form),
            ("2026-12-31Z", Form),
            ("2026-12-31T", Form),
            ("2026-12-31T8:00", Form),
            ("2026-12-31T08:00:00:00", Form),
            ("2026-12-31T08:00+01:00", Form),
            ("20261231", Form),
            ("2026-12-31\",pty,x=\"", Form),
            ("2026-00-10", NoSuchTime),
            ("2026-13-10", NoSuchTime),
            ("2026-02-29", NoSuchTime),
            ("2026-04-31", NoSuchTime),
            ("2026-12-31T24:00", NoSuchTime),
            ("2026-12-31T23:60", NoSuchTime),
            ("1969-12-31", NoSuchTime),
            ("0d", Past),
            ("2026-11-20", Past),
            ("2026-11-20T09:25:48", Past),
            ("2026-11-20T08:25:48Z", Past),
            ("9999-01-01", TooFar),
            ("9999-01-01T00:00Z", TooFar),
            ("36601d", TooFar),
            ("99999999999999999999d", TooFar),
        ] {
            assert_eq!(at(text), Err(error), "{text}");
        }
    }

    #[test]
    fn days_agree_with_the_calendar_of_human() {
        for unix in (0..200_000).map(|day| day * 86_400) {
            let text = human::time(unix);
            let date = text.split(' ').next().unwrap();
            let [year, month, day] = numbers(date, '-', &[4, 2, 2]).unwrap();
            assert_eq!(days(year, month, day), Some(unix / 86_400), "{date}");
        }
    }

    #[test]
    fn an_end_is_read_by_people_too() {
        assert_eq!(End(NOW).to_string(), "2026-11-20 08:25:48Z");
    }
}
