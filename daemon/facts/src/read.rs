//! Reading text of the machine: bounded, never waiting, never panicking.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use remit_common::host::Gap;

/// A sentence that says why a fact could not be had.
pub(crate) type Why = String;

/// Bytes of a text kept in a report.
const TEXT: usize = 256;
/// Bytes of a line looked at.
const LINE: u64 = 64 << 10;
/// Gaps kept in a report.
const GAPS: usize = 64;
/// Entries of a directory looked at.
const ENTRIES: usize = 4096;

/// Opens for reading; a FIFO does not make it wait.
fn open(path: &Path) -> Result<File, Why> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(|err| cannot("read", path, &err))
}

/// `cannot VERB 'PATH': REASON`.
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

/// The bytes of a file of at most `cap` bytes.
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

/// The text of a file of at most `cap` bytes; what is no UTF-8 is replaced.
pub(crate) fn text(path: &Path, cap: u64) -> Result<String, Why> {
    Ok(String::from_utf8_lossy(&bytes(path, cap)?).into_owned())
}

/// The one line of a short file, as sysfs has them.
pub(crate) fn word(path: &Path) -> Result<String, Why> {
    let text = text(path, 4096)?;
    match text.trim_matches(|c: char| c.is_whitespace() || c == '\0') {
        "" => Err(format!("'{}' is empty", path.display())),
        word => Ok(shown(word)),
    }
}

/// The number a short file holds.
pub(crate) fn number(path: &Path) -> Result<u64, Why> {
    let word = word(path)?;
    word.parse()
        .map_err(|_| format!("'{}' holds no number: '{word}'", path.display()))
}

/// Gives `each` the lines of a file until it breaks, the file ends, or `cap` bytes were read.
///
/// # Errors
/// When the file cannot be read, or is longer than `cap`.
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
        // A line longer than LINE comes in pieces: no format read here has one that matters.
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

/// The paths in a directory, sorted by name with numbers in order, at most 4,096.
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>, Why> {
    let listing = std::fs::read_dir(path).map_err(|err| cannot("list", path, &err))?;
    let mut found: Vec<PathBuf> = listing
        .take(ENTRIES)
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.sort_by_cached_key(|path| {
        let name = name(path);
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, digits) = name.split_at(digits);
        (stem.to_owned(), digits.parse::<u64>().unwrap_or(0))
    });
    Ok(found)
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Text as a report may hold it: one line, cut, nothing that steers a terminal.
pub(crate) fn shown(text: &str) -> String {
    remit_common::text::line(text.as_bytes(), TEXT)
}

/// Collects why facts are missing.
#[derive(Default)]
pub(crate) struct Gaps(Vec<Gap>);

impl Gaps {
    /// Notes why `fact` is missing.
    pub(crate) fn note(&mut self, fact: impl Into<String>, why: impl Into<String>) {
        if self.0.len() < GAPS {
            self.0.push(Gap {
                fact: fact.into(),
                why: why.into(),
            });
        }
    }

    /// The value, or nothing and a note.
    pub(crate) fn known<T>(&mut self, fact: &str, value: Result<T, Why>) -> Option<T> {
        value.map_err(|why| self.note(fact, why)).ok()
    }

    /// All notes, in the order they came.
    pub(crate) fn into_list(self) -> Vec<Gap> {
        self.0
    }
}
