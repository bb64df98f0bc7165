//! Formats numbers, durations and times for people, for the width and the colors of their display.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use remit_common::calendar;
use remit_common::names::JobId;
use terminal_size::terminal_size_of;

pub fn name(job: JobId) -> String {
    let short = job.short();
    let (head, tail) = short.split_at_checked(4).unwrap_or((&short, ""));
    format!("{head}-{tail}")
}

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

pub fn count(number: impl TryInto<u64>, word: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    }
}

/// Formats seconds since 1970 in the one form for people: `2026-11-20 08:25:48 UTC`.
pub fn time(seconds: u64) -> String {
    calendar::utc(seconds.saturating_mul(1000))
}

/// For a terminal that does not know its width, such as a serial console.
const DEFAULT: usize = 80;
/// Narrower terminals are treated as this wide.
const LEAST: usize = 20;

/// Columns of the terminal; unlimited in a pipe or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(Option<usize>);

impl Width {
    pub const UNLIMITED: Self = Self(None);

    pub fn of_stdout() -> Self {
        match io::stdout().is_terminal() {
            true => Self::of_terminal(io::stdout()),
            false => Self::UNLIMITED,
        }
    }

    pub fn of_terminal(terminal: impl AsFd) -> Self {
        let columns = terminal_size_of(terminal).map_or(0, |(width, _)| usize::from(width.0));
        match columns {
            0 => Self(Some(DEFAULT)),
            columns => Self::columns(columns),
        }
    }

    pub fn columns(columns: usize) -> Self {
        Self(Some(columns.max(LEAST)))
    }

    pub fn limit(self) -> Option<usize> {
        self.0
    }

    /// Folds long lines between words. What follows is indented more than a fact's name, so no text can imitate one.
    pub fn fold(self, lines: &str) -> String {
        let Some(limit) = self.0 else {
            return lines.to_owned();
        };
        let mut folded = String::new();
        for line in lines.split_inclusive('\n') {
            fold(line, limit, &mut folded);
        }
        folded
    }
}

const VALUE: usize = 15;

fn fold(line: &str, limit: usize, folded: &mut String) {
    let (text, end) = match line.strip_suffix('\n') {
        Some(text) => (text, "\n"),
        None => (line, ""),
    };
    let indent = text.len() - text.trim_start_matches(' ').len();
    let is_fact = indent == 2 && text.as_bytes().get(VALUE - 1) == Some(&b' ');
    let indent = match (indent, is_fact) {
        (_, true) | (VALUE.., _) => VALUE,
        (indent, false) => indent + 4,
    };
    let mut rest = text;
    let mut available = limit;
    loop {
        let Some(at) = cut_at(
            rest,
            available,
            if rest.len() == text.len() { indent } else { 0 },
        ) else {
            folded.push_str(rest);
            break;
        };
        let (line, next) = rest.split_at(at);
        folded.push_str(line.trim_end());
        folded.push('\n');
        folded.extend(std::iter::repeat_n(' ', indent));
        rest = next.trim_start_matches(' ');
        available = limit.saturating_sub(indent).max(1);
    }
    folded.push_str(end);
}

/// Returns where to break the text: at the last space that fits, from `least` on, or in a word. `None`: it fits.
fn cut_at(text: &str, available: usize, least: usize) -> Option<usize> {
    let mut used = 0;
    let mut space = None;
    for (at, c) in text.char_indices() {
        if c == ' ' && at > least {
            space = Some(at);
        }
        used += char_columns(c);
        if used > available {
            return Some(space.unwrap_or(at.max(1)));
        }
    }
    None
}

/// Counts columns as terminals do, but all characters from Hangul on as wide.
pub fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    match c {
        ..'\u{1100}' | '\u{2010}'..='\u{2027}' | '\u{2190}'..='\u{22ff}' => 1,
        _ => 2,
    }
}

pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let rest = left.checked_sub(char_columns(*c));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Dim,
    Green,
    /// A person decides or decided.
    Yellow,
    Red,
}

impl Colour {
    /// Paints `text`, which must be sanitized already.
    pub fn paint(self, text: &str) -> String {
        let number = match self {
            Self::Plain => return text.to_owned(),
            Self::Dim => 2,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
        };
        format!("\x1b[{number}m{text}\x1b[0m")
    }
}

pub fn is_color_wanted() -> bool {
    io::stdout().is_terminal() && is_color_allowed()
}

/// Returns true unless `NO_COLOR` is set (no-color.org) or TERM is missing or dumb.
pub fn is_color_allowed() -> bool {
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !wants_none && !is_dumb
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

    #[test]
    fn long_lines_are_folded_between_words() {
        let width = Width::columns(40);
        for (line, expect) in [
            ("short\n", "short\n"),
            (
                "  name         a value that is longer than the line has room for\n",
                "  name         a value that is longer\n               than the line has room\n               for\n",
            ),
            (
                "a sentence at the margin that is longer than the line\n",
                "a sentence at the margin that is longer\n    than the line\n",
            ),
            (
                "  name         /a/word/that/is/longer/than/a/line/and/its/rest\n",
                "  name         /a/word/that/is/longer/th\n               an/a/line/and/its/rest\n",
            ),
            ("without an end", "without an end"),
        ] {
            assert_eq!(width.fold(line), expect);
            assert_eq!(Width::UNLIMITED.fold(line), line);
        }
    }

    #[test]
    fn folded_text_cannot_imitate_a_fact() {
        let width = Width::columns(40);
        for begin in ["  name         ", "  ", "", "  a name that is long "] {
            let text = format!(
                "{begin}{}  allowed      yes {}\n",
                "x ".repeat(30),
                "y".repeat(90)
            );
            let folded = width.fold(&text);
            for line in folded.lines().skip(1) {
                assert!(line.starts_with("    "), "{folded}");
            }
            assert!(folded.lines().all(|line| columns(line) <= 40), "{folded}");
        }
    }

    #[test]
    fn cut_text_has_a_mark_and_fits() {
        for (text, width, expect) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("ab cd", 4, "ab…"),
            ("gr\u{fc}n", 4, "gr\u{fc}n"),
            ("\u{6f22}\u{5b57}x", 4, "\u{6f22}…"),
            ("abc", 0, "…"),
        ] {
            assert_eq!(cut(text, width), expect, "{text}");
        }
    }
}
