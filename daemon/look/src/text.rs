//! Formats facts, tables, JSON lines, times (UTC, as the journal) and sizes; parses numbers. Pure but for the clock.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use remit_common::{calendar, text};
use serde::Serialize;

/// Exit status if the answer is not available.
pub const CANNOT: u8 = 1;
/// Bytes of a path.
const SHOWN: usize = 4096;

pub fn unseen(path: &[u8], errno: Errno) -> String {
    let path = shown(path);
    match errno {
        Errno::EACCES | Errno::EPERM => {
            format!("you may not look into '{path}', so what would change cannot be shown")
        }
        errno => format!("cannot look into '{path}': {errno}"),
    }
}

pub fn shown(path: &[u8]) -> String {
    text::line(path, SHOWN)
}

pub fn fact(to: &mut String, name: &str, value: impl AsRef<str>) {
    let value = value.as_ref();
    if !value.is_empty() {
        *to += &format!("  {name}: {value}\n");
    }
}

/// Pads each column to its widest cell, except the last column.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut add = |row: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    };
    add(head);
    for row in rows {
        add(row.each_ref().map(String::as_str));
    }
    text
}

pub fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("'{word}' is no number that fits"))
}

pub fn lines<T: Serialize>(all: impl IntoIterator<Item = T>) -> Result<ExitCode, String> {
    let mut out = BufWriter::new(io::stdout().lock());
    for one in all {
        let written = serde_json::to_writer(&mut out, &one)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"));
        written.map_err(cannot_write)?;
    }
    out.flush().map_err(cannot_write)?;
    Ok(ExitCode::SUCCESS)
}

/// A number of paths, and the first of them.
#[derive(Debug, Default)]
struct Paths {
    count: u64,
    named: Vec<String>,
}

impl Paths {
    const NAMED: usize = 5;

    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.named.len() < Self::NAMED {
            self.named
                .push(text::line(path.as_os_str().as_encoded_bytes(), 256));
        }
    }

    fn sentence(&self, what: &str) -> Option<String> {
        let more = match self.count - self.named.len() as u64 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (self.count > 0).then(|| format!("{what} {}{more}", self.named.join(", ")))
    }
}

/// What an answer leaves out.
#[derive(Debug, Default)]
pub struct Unseen {
    unreadable: Paths,
    subvolumes: Paths,
    of_programs: Paths,
    silent: Paths,
    patience: Duration,
    /// Directories of the host that the sandbox covers with its own.
    covered: Vec<&'static str>,
}

impl Unseen {
    pub fn add(&mut self, path: &Path) {
        self.unreadable.add(path);
    }

    /// One that has a device number of its own, as those of btrfs, and is no mount.
    pub fn add_subvolume(&mut self, path: &Path) {
        self.subvolumes.add(path);
    }

    /// A file system that was not asked.
    pub fn add_of_program(&mut self, path: &Path) {
        self.of_programs.add(path);
    }

    /// A file system that did not answer within this time.
    pub fn add_silent(&mut self, path: &Path, patience: Duration) {
        self.patience = patience;
        self.silent.add(path);
    }

    pub fn add_covered(&mut self, directory: &'static str) {
        self.covered.push(directory);
    }

    pub fn covered(&self) -> Option<String> {
        let covered = self.covered.join(", ");
        (!covered.is_empty())
            .then(|| format!("{covered} of the host, because this command has its own"))
    }

    /// Returns the sentences that [`Unseen::warn`] prints.
    pub fn said(&self) -> Vec<String> {
        let silent = format!("no answer within {} s from", self.patience.as_secs());
        let named = [
            (&self.unreadable, "cannot look at"),
            (
                &self.subvolumes,
                "did not look into subvolumes and snapshots, which can share what they hold:",
            ),
            (
                &self.of_programs,
                "not asked, because a program serves it and may never answer (FUSE):",
            ),
            (&self.silent, silent.as_str()),
        ];
        let covered = self
            .covered()
            .map(|paths| format!("cannot look at {paths}"));
        let named = named
            .iter()
            .filter_map(|(paths, what)| paths.sentence(what));
        covered.into_iter().chain(named).collect()
    }

    pub fn warn(&self) {
        for sentence in self.said() {
            eprintln!("remit-look: {sentence}");
        }
    }
}

/// Writes the items, and warns of what could not be read: the answer may be incomplete.
pub fn lines_but<T: Serialize>(
    all: impl IntoIterator<Item = T>,
    unseen: &Unseen,
) -> Result<ExitCode, String> {
    lines(all)?;
    unseen.warn();
    Ok(ExitCode::SUCCESS)
}

pub fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(cannot_write)
}

pub fn cannot_write(error: io::Error) -> String {
    format!("cannot write standard output: {error}")
}

/// In microseconds, the unit of the journal.
pub const SECOND: u64 = 1_000_000;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;

pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A time where its zone is said beside it, or in the head of its column.
pub fn time(seconds: u64) -> String {
    format!(
        "{} {}",
        calendar::day(seconds / DAY),
        calendar::clock(seconds)
    )
}

pub fn stamp(seconds: u64) -> String {
    calendar::utc(seconds.saturating_mul(1000))
}

pub fn exact(microseconds: u64) -> String {
    let (seconds, rest) = (microseconds / SECOND, microseconds % SECOND);
    format!("{}.{rest:06}", time(seconds))
}

pub fn time_text(seconds: u64, now: u64) -> String {
    let far = match now.checked_sub(seconds) {
        Some(past) => format!("{} ago", span(past)),
        None => format!("in {}", span(seconds.saturating_sub(now))),
    };
    format!("{} ({far})", time(seconds))
}

/// Formats the two largest units: `2 d 3 h`.
pub fn span(seconds: u64) -> String {
    let parts = [
        (seconds / DAY, "d"),
        (seconds % DAY / HOUR, "h"),
        (seconds % HOUR / MINUTE, "min"),
        (seconds % MINUTE, "s"),
    ];
    let time_text: Vec<String> = parts
        .iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    match time_text.is_empty() {
        true => "0 s".into(),
        false => time_text.join(" "),
    }
}

/// Formats bytes in the largest unit with a value of at least 1: `3.2 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let rows = [["a", "\u{fc}"], ["long", ""]].map(|row| row.map(str::to_owned));
        let expect = "NAME  X\na     \u{fc}\nlong\n";
        assert_eq!(table(["NAME", "X"], &rows), expect);
    }

    #[test]
    fn what_is_left_out_is_named_by_its_reason() {
        let mut unseen = Unseen::default();
        assert_eq!(unseen.said(), [""; 0]);
        unseen.add_covered("/tmp");
        (0..7).for_each(|name| unseen.add(Path::new(&format!("/{name}"))));
        unseen.add_of_program(Path::new("/pool"));
        unseen.add_silent(Path::new("/nas\n"), Duration::from_secs(5));
        let expect = [
            "cannot look at /tmp of the host, because this command has its own",
            "cannot look at /0, /1, /2, /3, /4 and 2 more",
            "not asked, because a program serves it and may never answer (FUSE): /pool",
            r"no answer within 5 s from /nas\n",
        ];
        assert_eq!(unseen.said(), expect);
    }

    #[test]
    fn spans_and_sizes_are_short() {
        for (seconds, expect) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_601, "1 h"),
            (3_660, "1 h 1 min"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(span(seconds), expect);
        }
        for (bytes, expect) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3_400_000, "3.2 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), expect);
        }
        assert_eq!(time_text(60, 180), "1970-01-01 00:01:00 (2 min ago)");
        assert_eq!(time_text(180, 60), "1970-01-01 00:03:00 (in 2 min)");
    }
}
