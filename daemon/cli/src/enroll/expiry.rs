//! When a key ends: what a person may write, and what sshd reads. Pure but for the clock it is given.
//!
//! sshd takes local time everywhere; a time in UTC only from OpenSSH 9.1 on (sshd(8), expiry-time).
//! So what stands in the file is always local.

use std::fmt;
use std::str::FromStr;

/// The longest time a key may be given, in seconds: 100 years.
const LONGEST: u64 = 100 * 366 * 86400;

/// A moment as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expires {
    /// Not at all.
    Never,
    /// By the clock on this machine's wall.
    Local(Stamp),
    /// In seconds since 1970: it was written with a `Z`.
    Unix(u64),
    /// So many seconds from now.
    After(u64),
}

/// Local time as 14 digits, `YYYYMMDDHHMMSS`. Their order is that of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(String);

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
                "it is neither YYYY-MM-DD, YYYY-MM-DDTHH:MM[:SS][Z], a number with m, h, d or w, nor never"
            }
            Self::NoSuchTime => "there is no such time",
            Self::Past => "it is in the past",
            Self::TooFar => "it is more than 100 years away",
        })
    }
}

impl std::error::Error for ExpiryError {}

impl Stamp {
    /// The 14 digits that date(1) prints for `+%Y%m%d%H%M%S`.
    pub fn parse(digits: &str) -> Option<Self> {
        (digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| Self(digits.to_owned()))
    }

    /// The digits, as sshd reads them.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stamp {
    /// As people read it: `2026-12-31 08:00:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, digit) in self.0.char_indices() {
            f.write_str(match at {
                4 | 6 => "-",
                8 => " ",
                10 | 12 => ":",
                _ => "",
            })?;
            write!(f, "{digit}")?;
        }
        Ok(())
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
        let digits = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
        Ok(Self::Local(Stamp(digits)))
    }
}

impl Expires {
    /// The moment in local time, if there is one. `now` is in seconds since 1970, and `local` tells local time.
    ///
    /// # Errors
    /// It is over, too far away, or `local` fails.
    pub fn at<E>(
        &self,
        now: u64,
        mut local: impl FnMut(u64) -> Result<Stamp, E>,
    ) -> Result<Result<Option<Stamp>, ExpiryError>, E> {
        let (stamp, over) = match self {
            Self::Never => return Ok(Ok(None)),
            Self::Local(stamp) => (stamp.clone(), *stamp <= local(now)?),
            Self::Unix(at) => (local(*at)?, *at <= now),
            Self::After(seconds) => (local(now.saturating_add(*seconds))?, false),
        };
        let latest = local(now.saturating_add(LONGEST))?;
        Ok(match (over, stamp > latest) {
            (true, _) => Err(ExpiryError::Past),
            (false, true) => Err(ExpiryError::TooFar),
            (false, false) => Ok(Some(stamp)),
        })
    }
}

/// `90m`, `12h`, `30d`, `4w` in seconds; nothing for what has no such form.
fn duration(text: &str) -> Result<Option<u64>, ExpiryError> {
    let unit = match text.chars().next_back() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86400,
        Some('w') => 7 * 86400,
        _ => return Ok(None),
    };
    let count = text.get(..text.len() - 1).unwrap_or_default();
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // All digits: only a number too large is no number.
    let seconds = count
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit));
    match seconds {
        Some(0) => Err(ExpiryError::Past),
        Some(seconds) if seconds <= LONGEST => Ok(Some(seconds)),
        Some(_) | None => Err(ExpiryError::TooFar),
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
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(leap(year)),
        _ => return None,
    };
    if !(1..=length).contains(&day) {
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

    /// A wall clock one hour ahead of UTC.
    fn local(unix: u64) -> Result<Stamp, Infallible> {
        let text = crate::human::time(unix + 3600);
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        Ok(Stamp::parse(&digits).unwrap())
    }

    fn at(text: &str) -> Result<String, ExpiryError> {
        let expires: Expires = text.parse()?;
        let Ok(at) = expires.at(NOW, local);
        Ok(at?.map_or_else(|| "never".to_owned(), |stamp| stamp.0))
    }

    #[test]
    fn every_form_becomes_local_time() {
        for (text, digits) in [
            ("2026-12-31", "20261231000000"),
            ("2026-12-31T08:00", "20261231080000"),
            ("2026-12-31 08:00:59", "20261231080059"),
            ("2026-12-31T08:00Z", "20261231090000"),
            ("2028-02-29", "20280229000000"),
            ("2026-11-20T09:25:49", "20261120092549"),
            ("2026-11-20T08:25:49Z", "20261120092549"),
            ("1m", "20261120092648"),
            ("12h", "20261120212548"),
            ("30d", "20261220092548"),
            ("2w", "20261204092548"),
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
            let text = crate::human::time(unix);
            let date = text.split(' ').next().unwrap();
            let [year, month, day] = numbers(date, '-', &[4, 2, 2]).unwrap();
            assert_eq!(days(year, month, day), Some(unix / 86_400), "{date}");
        }
    }

    #[test]
    fn a_stamp_is_read_by_people_too() {
        let stamp = Stamp::parse("20261231080059").unwrap();
        assert_eq!(stamp.to_string(), "2026-12-31 08:00:59");
        for text in ["", "2026123108005", "2026123108005x", "202612310800590"] {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
    }
}
