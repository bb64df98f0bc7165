//! Parses the expiry of a key and names of accounts and groups. Pure: looks no name up; the clock is passed in. For
//! sshd the expiry is in UTC (OpenSSH 9.1, sshd(8), expiry-time): for local time sshd ignores daylight saving.

use std::fmt;
use std::str::FromStr;

use remit_common::calendar;
use remit_common::span::{self, NotADuration};
use serde::{Deserialize, Serialize};

use crate::render::units;

/// 100 years, in seconds.
const LONGEST: u64 = 100 * 366 * 86400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expires {
    Never,
    /// Local time of this machine: `2026-12-31 08:00:00`.
    Local(String),
    /// Seconds since 1970, from a text with `Z`.
    Unix(u64),
    /// Seconds from now.
    After(u64),
}

/// In seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End(u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpiryError {
    Form,
    NoSuchTime,
    Past,
    TooFar,
}

impl fmt::Display for ExpiryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(
                f,
                "{NotADuration}; dates are 2026-12-31, 2026-12-31T08:00, 2026-12-31T08:00Z; or never"
            ),
            Self::NoSuchTime => f.write_str("there is no such time"),
            Self::Past => f.write_str("it is in the past"),
            Self::TooFar => f.write_str("it is more than 100 years away"),
        }
    }
}

impl std::error::Error for ExpiryError {}

impl End {
    pub fn is_over(self, now: u64) -> bool {
        self.0 <= now
    }

    pub fn json(self) -> String {
        units::time(self.0).replace(" UTC", "Z")
    }

    pub fn sshd(self) -> String {
        let mut digits = units::time(self.0);
        digits.retain(|c| c.is_ascii_digit());
        digits + "Z"
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::time(self.0))
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
            // A day without a time starts at local midnight, so `Z` is an error.
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
    /// Resolves the moment. `now` is in seconds since 1970. Fails if it has passed or is too far away, unless it `is_accepted`.
    pub fn at<E>(
        &self,
        now: u64,
        is_accepted: impl Fn(End) -> bool,
        unix: impl FnOnce(&str) -> Result<u64, E>,
    ) -> Result<Result<Option<End>, ExpiryError>, E> {
        let at = match self {
            Self::Never => return Ok(Ok(None)),
            Self::Local(text) => unix(text)?,
            Self::Unix(at) => *at,
            Self::After(seconds) => now.saturating_add(*seconds),
        };
        Ok(match at {
            at if is_accepted(End(at)) => Ok(Some(End(at))),
            at if at <= now => Err(ExpiryError::Past),
            at if at > now.saturating_add(LONGEST) => Err(ExpiryError::TooFar),
            at => Ok(Some(End(at))),
        })
    }
}

fn duration(text: &str) -> Result<Option<u64>, ExpiryError> {
    match span::seconds(text) {
        Err(NotADuration) => Ok(None),
        Ok(0) => Err(ExpiryError::Past),
        Ok(seconds) if seconds <= LONGEST => Ok(Some(seconds)),
        Ok(_) => Err(ExpiryError::TooFar),
    }
}

/// Parses three numbers with exactly these digit counts.
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

fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_valid = year >= 1970 && (1..=calendar::month_length(year, month)).contains(&day);
    is_valid.then(|| calendar::days(year, month, day))
}

/// In bytes (useradd(8)).
const NAME: usize = 32;

/// A name that useradd(8) accepts, and that no program can mistake for an option or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName;

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it must be a small letter or '_', then small letters, digits, '_' or '-', 32 at most",
        )
    }
}

impl std::error::Error for NotAName {}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let later = |byte: u8| first(byte) || byte.is_ascii_digit() || byte == b'-';
        let good =
            text.bytes().next().is_some_and(first) && text.bytes().all(later) && text.len() <= NAME;
        good.then(|| Self(text.to_owned())).ok_or(NotAName)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const NOW: u64 = 1_795_163_148;

    fn at(text: &str) -> Result<String, ExpiryError> {
        after(text, None)
    }

    fn after(text: &str, kept: Option<End>) -> Result<String, ExpiryError> {
        let expires: Expires = text.parse()?;
        let unix = |text: &str| match format!("{}Z", text.replace(' ', "T")).parse() {
            Ok(Expires::Unix(at)) => Ok::<_, Infallible>(at.saturating_sub(3600)),
            other => panic!("{text}: {other:?}"),
        };
        let Ok(at) = expires.at(NOW, |end| kept == Some(end), unix);
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
    fn an_end_that_is_kept_may_have_passed() {
        let kept = Some(End(NOW - 148));
        for (text, expect) in [
            ("2026-11-20T08:23:20Z", Ok("20261120082320Z")),
            ("2026-11-20T09:23:20", Ok("20261120082320Z")),
            ("2026-11-20T08:23:21Z", Err(ExpiryError::Past)),
            ("2026-11-20T08:23:19Z", Err(ExpiryError::Past)),
        ] {
            assert_eq!(after(text, kept), expect.map(str::to_owned), "{text}");
        }
        for (end, is_over) in [(NOW - 1, true), (NOW, true), (NOW + 1, false)] {
            assert_eq!(End(end).is_over(NOW), is_over, "{end}");
        }
    }

    #[test]
    fn days_agree_with_the_calendar_of_human() {
        for unix in (0..200_000).map(|day| day * 86_400) {
            let text = units::time(unix);
            let date = text.split(' ').next().unwrap();
            let [year, month, day] = numbers(date, '-', &[4, 2, 2]).unwrap();
            assert_eq!(days(year, month, day), Some(unix / 86_400), "{date}");
        }
    }

    #[test]
    fn an_end_is_read_by_people_too() {
        assert_eq!(End(NOW).to_string(), "2026-11-20 08:25:48 UTC");
        assert_eq!(End(NOW).json(), "2026-11-20 08:25:48Z");
    }

    #[test]
    fn a_name_is_one_for_every_program() {
        for text in ["a", "_a", "agent-7", "x_1", &"a".repeat(32)] {
            assert_eq!(text.parse::<Name>().map(|name| name.0).as_deref(), Ok(text));
        }
        for text in [
            "",
            "-a",
            "--help",
            "1a",
            "A",
            "a b",
            "a.b",
            "a/b",
            "../a",
            "a\n",
            "a:b",
            "a,b",
            "a$",
            "\u{fc}",
            "%u",
            &"a".repeat(33),
        ] {
            assert_eq!(text.parse::<Name>(), Err(NotAName), "{text:?}");
        }
    }
}
