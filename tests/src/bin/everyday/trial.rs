//! Reads the results of a command from the files that `tests/everyday/each` writes. Judges nothing.
//! Splits output into numbers and other text.

use std::io;
use std::path::Path;

const NOTE: &str = "remit: note: ";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: String,
    pub stdout: String,
    pub stderr: String,
}

/// A command with three answers. Root runs it before and after the agent.
#[derive(Clone, Debug)]
pub struct Trial {
    pub command: String,
    pub root: Answer,
    pub remit: Answer,
    pub again: Answer,
}

impl Trial {
    fn read(dir: &Path) -> io::Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|error| {
                    io::Error::other(format!("cannot read '{}': {error}", path.display()))
                })
        };
        let answer = |run_name: &str| {
            Ok::<_, io::Error>(Answer {
                status: text(&format!("{run_name}.status"))?.trim().to_owned(),
                stdout: text(&format!("{run_name}.out"))?,
                stderr: text(&format!("{run_name}.err"))?,
            })
        };
        Ok(Self {
            command: text("command")?,
            root: answer("root")?,
            remit: answer("remit")?,
            again: answer("again")?,
        })
    }

    /// Reads all commands of a run in order. An error names the file.
    pub fn read_all(results: &Path) -> io::Result<Vec<Self>> {
        let mut dirs: Vec<_> = std::fs::read_dir(results)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        dirs.sort();
        dirs.iter().map(|dir| Self::read(dir)).collect()
    }

    /// Returns what only the agent sees on stderr: the first note of remit, otherwise the program's own first line.
    pub fn sentence(&self) -> Option<&str> {
        let lines = self.remit.stderr.lines();
        let mut notes = lines.filter_map(|line| line.strip_prefix(NOTE));
        notes.next().or_else(|| self.reason())
    }

    /// Returns the first stderr line of the program itself that only the agent got.
    pub fn reason(&self) -> Option<&str> {
        let known = normal(&format!("{}\n{}", self.root.stderr, self.again.stderr));
        self.remit.stderr.lines().find(|line| {
            let own = !line.starts_with(NOTE) && !line.trim().is_empty();
            own && !known.lines().any(|one| one == normal(line))
        })
    }
}

/// A run of digits and points, or the text between two numbers.
enum Piece<'a> {
    Number(&'a str),
    Words(&'a str),
}

/// Normalizes blanks, and replaces each number by `0`.
pub fn normal(text: &str) -> String {
    let with = |piece| match piece {
        Piece::Number(_) => "0",
        Piece::Words(words) => words,
    };
    pieces(&even(text)).map(with).collect()
}

pub fn numbers(text: &str) -> Vec<&str> {
    let number = |piece| match piece {
        Piece::Number(number) => Some(number),
        Piece::Words(_) => None,
    };
    pieces(text).filter_map(number).collect()
}

/// Replaces values that change with each run: process ids, job uids, dates. Keeps single digits.
pub fn timeless(text: &str) -> String {
    let with = |piece| match piece {
        Piece::Number(number) if number.len() > 1 => "#",
        Piece::Number(same) | Piece::Words(same) => same,
    };
    pieces(&even(text)).map(with).collect()
}

/// Matches `text` with `pattern`: `#` is any number, `*` any part of a word. Blanks are equal.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut patterns, mut words) = (pattern.split_whitespace(), text.split_whitespace());
    loop {
        match (patterns.next(), words.next()) {
            (None, None) => return true,
            (Some(pattern), Some(word)) if word_matches(pattern, word) => {}
            _ => return false,
        }
    }
}

fn word_matches(pattern: &str, word: &str) -> bool {
    let Some(wild) = pattern.find(['#', '*']) else {
        return pattern == word;
    };
    let (before, rest) = pattern.split_at(wild);
    let Some(word) = word.strip_prefix(before) else {
        return false;
    };
    let (is_number, rest) = match rest.strip_prefix('#') {
        Some(rest) => (true, rest),
        None => (false, rest.trim_start_matches('*')),
    };
    let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.map(|end| word.split_at(end))
        .take_while(|(part, _)| !is_number || part.chars().all(is_digit))
        .any(|(_, left)| word_matches(rest, left))
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// Reduces blanks to one, and drops empty lines.
fn even(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = text
        .lines()
        .map(line)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}

/// A number begins with a digit.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let number = rest.chars().next()?.is_ascii_digit();
        let end = match number {
            true => rest.find(|c| !is_digit(c)),
            false => rest.find(|c: char| c.is_ascii_digit()),
        };
        let (piece, left) = rest.split_at(end.unwrap_or(rest.len()));
        rest = left;
        Some(match number {
            true => Piece::Number(piece),
            false => Piece::Words(piece),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_is_last_line_only_agent_got() {
        let answer = |stderr: &str| Answer {
            status: "0".into(),
            stdout: String::new(),
            stderr: stderr.into(),
        };
        for (remit, expect) in [
            ("", None),
            ("warning 2\n", None),
            ("warning 2\nno\n", Some("no")),
            ("no\nremit: note: why\n", Some("why")),
        ] {
            let trial = Trial {
                command: String::new(),
                root: answer("warning 1\n"),
                remit: answer(remit),
                again: answer(""),
            };
            assert_eq!(trial.sentence(), expect, "{remit:?}");
            let reason = remit.contains("no\n").then_some("no");
            assert_eq!(trial.reason(), reason, "{remit:?}");
        }
    }

    #[test]
    fn numbers_and_blanks_are_equal() {
        for (a, b, same) in [
            ("load 0.15  12\n", "load 1.2 3", true),
            ("a\n\nb", "a\nb\n", true),
            ("eth0", "eth12", true),
            ("eth0", "lo", false),
            ("v1.2.3", "v4", true),
            ("3 files", "files", false),
        ] {
            assert_eq!(normal(a) == normal(b), same, "{a:?} {b:?}");
        }
    }

    #[test]
    fn numbers_are_found_in_their_order() {
        assert_eq!(numbers("eth0: 1.5 of\n 20%, v.3"), ["0", "1.5", "20", "3"]);
        assert_eq!(timeless("a 2001-02-03\n [77]: (8)"), "a #-#-#\n[#]: (8)");
    }

    #[test]
    fn patterns_are_narrow() {
        for (pattern, text, expect) in [
            ("", "", true),
            ("", "x", false),
            ("0 a", "0\n  a\n", true),
            ("a", "a b", false),
            ("uid #", "uid 1879048214", true),
            ("uid #", "uid 0x", false),
            ("uid #", "uid", false),
            ("eth#:", "eth10:", true),
            ("/tmp/tmp.*", "/tmp/tmp.Ab12", true),
            ("/tmp/tmp.*", "/tmp/tmp.", false),
            ("/tmp/tmp.*", "/var/tmp.A", false),
            ("/tmp/tmp.*", "/tmp/tmp.A b", false),
        ] {
            assert_eq!(matches(pattern, text), expect, "{pattern:?} {text:?}");
        }
    }
}
