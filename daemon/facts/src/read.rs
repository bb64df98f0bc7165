//! What is read: sections of the report, directories, and text files of the machine, bounded, non-blocking, without panics.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use remit_common::calendar;
use remit_wire::host::{Gap, Section};

pub(crate) type Why = String;

const TEXT: usize = 256;
const LINE: u64 = 64 << 10;
const GAPS: usize = 64;
const ENTRIES: usize = 16_384;

/// Opens for reading without blocking on a FIFO.
fn open(path: &Path) -> Result<File, Why> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(|err| cannot("read", path, &err))
}

pub(crate) fn cannot(verb: &str, path: &Path, err: &std::io::Error) -> Why {
    let reason = match err.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => err.to_string(),
    };
    format!(
        "cannot {verb} '{}': {reason}",
        shown(&path.to_string_lossy())
    )
}

/// Reads a file. Fails if it is longer than `cap` bytes.
pub(crate) fn bytes(path: &Path, cap: u64) -> Result<Vec<u8>, Why> {
    let mut bytes = Vec::new();
    open(path)?
        .take(cap.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|err| cannot("read", path, &err))?;
    if bytes.len() as u64 > cap {
        return Err(format!("'{}' is longer than {cap} bytes", path.display()));
    }
    Ok(bytes)
}

/// Reads a file of at most `cap` bytes as text. Replaces invalid UTF-8.
pub(crate) fn text(path: &Path, cap: u64) -> Result<String, Why> {
    Ok(String::from_utf8_lossy(&bytes(path, cap)?).into_owned())
}

pub(crate) fn word(path: &Path) -> Result<String, Why> {
    let text = text(path, 4096)?;
    match text.trim_matches(|c: char| c.is_whitespace() || c == '\0') {
        "" => Err(format!("'{}' is empty", path.display())),
        word => Ok(shown(word)),
    }
}

pub(crate) fn number(path: &Path) -> Result<u64, Why> {
    let word = word(path)?;
    word.parse()
        .map_err(|_| format!("'{}' has '{word}' instead of a number", path.display()))
}

/// Passes lines to `each` until it breaks or the file ends. Fails if the file is unreadable or longer than `cap`.
pub(crate) fn lines(
    path: &Path,
    cap: u64,
    mut each: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), Why> {
    let mut reader = BufReader::with_capacity(64 << 10, open(path)?);
    let mut line = Vec::new();
    let mut left = cap;
    loop {
        line.clear();
        // A line longer than LINE is split. No format read here has relevant lines of that length.
        let read = (&mut reader)
            .take(LINE)
            .read_until(b'\n', &mut line)
            .map_err(|err| cannot("read", path, &err))? as u64;
        if read == 0 {
            return Ok(());
        }
        left = left
            .checked_sub(read)
            .ok_or_else(|| format!("'{}' is longer than {cap} bytes", path.display()))?;
        if each(String::from_utf8_lossy(&line).trim_end_matches('\n')).is_break() {
            return Ok(());
        }
    }
}

/// Returns the paths in a directory. Sorts by name, trailing numbers by value. Fails if there are more than [`ENTRIES`].
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>, Why> {
    entries_up_to(path, ENTRIES)
}

fn entries_up_to(path: &Path, most: usize) -> Result<Vec<PathBuf>, Why> {
    let listing = std::fs::read_dir(path).map_err(|err| cannot("list", path, &err))?;
    let mut found: Vec<PathBuf> = listing
        .take(most + 1)
        .flatten()
        .map(|entry| entry.path())
        .collect();
    if found.len() > most {
        let path = shown(&path.to_string_lossy());
        return Err(format!("'{path}' has more than {most} entries"));
    }
    found.sort_by_cached_key(|path| {
        let name = name(path);
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, digits) = name.split_at(digits);
        (stem.to_owned(), digits.parse::<u64>().unwrap_or(0))
    });
    Ok(found)
}

pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Makes text safe for a report: one truncated line without control characters.
pub(crate) fn shown(text: &str) -> String {
    remit_common::text::line(text.as_bytes(), TEXT)
}

#[derive(Default)]
pub(crate) struct Gaps(Vec<Gap>);

impl Gaps {
    pub(crate) fn note(&mut self, fact: impl Into<String>, why: impl Into<String>) {
        if self.0.len() < GAPS {
            self.0.push(Gap {
                fact: fact.into(),
                why: why.into(),
            });
        }
    }

    pub(crate) fn known<T>(&mut self, fact: &str, value: Result<T, Why>) -> Option<T> {
        value.map_err(|why| self.note(fact, why)).ok()
    }

    pub(crate) fn into_list(self) -> Vec<Gap> {
        self.0
    }
}

/// Directories to read the facts from. [`Sources::host`] is the real machine; tests use their own tree.
#[derive(Clone, Debug)]
pub struct Sources {
    pub proc: PathBuf,
    pub sys: PathBuf,
    pub etc: PathBuf,
    pub run: PathBuf,
    pub usr: PathBuf,
    pub var: PathBuf,
    /// Selects the use of netlink and statvfs(3), which only describe the real machine.
    pub kernel: Kernel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    Asked,
    /// These facts become gaps.
    NotAsked,
}

impl Sources {
    #[must_use]
    pub fn host() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            etc: "/etc".into(),
            run: "/run".into(),
            usr: "/usr".into(),
            var: "/var".into(),
            kernel: Kernel::Asked,
        }
    }
}

pub(crate) fn wants(sections: &[Section], section: Section) -> bool {
    sections.is_empty() || sections.contains(&section)
}

pub(crate) fn now() -> u64 {
    calendar::now_ms() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn directory_of_too_many_entries_is_an_error() {
        let scratch = Scratch::new();
        for (name, is_read) in [("1", true), ("2", true), ("3", false)] {
            File::create(scratch.path().join(name)).unwrap();
            let found = entries_up_to(scratch.path(), 2);
            assert_eq!(found.is_ok(), is_read, "{name}");
            let says = |why: Why| why.ends_with("has more than 2 entries");
            assert!(found.err().is_none_or(says), "{name}");
        }
    }
}
