//! The display of the user: the width that text has to fit, and colors.

use std::io::{self, IsTerminal};

use terminal_size::terminal_size_of;

/// For a terminal that does not know its width, such as a serial console.
const DEFAULT: usize = 80;
/// Narrower terminals are treated as this wide.
const LEAST: usize = 40;

/// Columns of the terminal; unlimited in a pipe or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(Option<usize>);

impl Width {
    pub const UNLIMITED: Self = Self(None);

    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self::UNLIMITED;
        }
        let columns = terminal_size_of(stdout).map_or(0, |(width, _)| usize::from(width.0));
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

    /// Folds lines that are too long, between words. A value of [`super::table::fact`] continues below its begin. Other
    /// lines continue farther right than any name of a fact, so no text can imitate one.
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

/// Columns before the value of a fact.
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

/// Cuts a text to `width` columns, with `…` at the end.
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
    /// No change to the machine.
    Dim,
    /// A change was made, or may be made.
    Green,
    /// A person decides or decided.
    Yellow,
    /// Refusal or fault.
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

/// Returns true if stdout is a terminal and [`is_color_allowed`].
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
