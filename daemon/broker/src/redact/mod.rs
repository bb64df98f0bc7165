//! Redacts secrets in shown output: each of their bytes becomes `*`. The result for a byte does not depend on page
//! boundaries, because its surroundings are read too. Offsets stay true, and joined pages equal the whole. Newlines
//! stay, so line numbers stay. A possible start of a secret at the end counts as a secret.

mod finder;
mod forms;

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::ops::Range;

use remit_common::wire::Bytes;

use self::finder::Finder;
use self::forms::Form;
use crate::output;
use crate::search::Text;

/// The secrets of a job. They are never written to a file or a log.
#[derive(Clone)]
pub enum Secrets {
    None,
    Known(Vec<Bytes>),
    /// The job had secrets, but they are no longer known.
    Lost,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Known(_) => "Known",
            Self::Lost => "Lost",
        })
    }
}

impl Secrets {
    /// Values can be missing although the job has secrets: then they are lost.
    pub fn of(has_some: bool, values: Vec<Bytes>) -> Self {
        match (has_some, values.is_empty()) {
            (_, false) => Self::Known(values),
            (true, true) => Self::Lost,
            (false, true) => Self::None,
        }
    }

    /// Builds the redactor for each answer: kept for every job, it would take a thousand times the memory.
    pub fn redactor(&self) -> Option<Redactor> {
        match self {
            Self::Known(values) => Some(Redactor::new(values)),
            Self::None | Self::Lost => None,
        }
    }

    pub fn are_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }
}

pub struct Redactor {
    /// Built on first use, because `held` does not need it. `None` if it cannot be built: then everything is
    /// redacted.
    finder: OnceCell<Option<Finder>>,
    forms: Vec<Form>,
    longest: usize,
}

/// Sides on which the bytes next to an excerpt are unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    pub before: bool,
    pub after: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Masked {
    pub bytes: Vec<u8>,
    pub redactions: usize,
}

impl Redactor {
    pub fn new(secrets: &[Bytes]) -> Self {
        let forms = forms::of(secrets);
        Self {
            finder: OnceCell::new(),
            longest: forms.iter().map(|form| form.bytes.len()).max().unwrap_or(0),
            forms,
        }
    }

    /// Returns how many bytes on each side of an excerpt affect its redaction.
    pub fn margin(&self) -> u64 {
        u64::try_from(self.longest)
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// Returns how many bytes at the end can be the start of a secret.
    pub fn held(&self, bytes: &[u8]) -> usize {
        let partial_length = |form: &Form| {
            let most = form.bytes.len() - 1;
            let last = bytes.get(bytes.len().saturating_sub(most)..);
            form.with_spill(overlap(&form.bytes, last.unwrap_or(bytes).iter()))
        };
        let held = self.forms.iter().map(partial_length).max().unwrap_or(0);
        held.min(bytes.len())
    }

    /// Returns how many bytes at the start can be the end of a secret.
    fn left(&self, bytes: &[u8]) -> usize {
        let over = |form: &Form| {
            let first = bytes.get(..form.bytes.len() - 1).unwrap_or(bytes);
            let backwards: Vec<u8> = form.bytes.iter().rev().copied().collect();
            form.with_spill(overlap(&backwards, first.iter().rev()))
        };
        let left = self.forms.iter().map(over).max().unwrap_or(0);
        left.min(bytes.len())
    }

    /// Returns the redacted bytes of the range `shown`; the other bytes are context.
    pub fn masked(&self, mut bytes: Vec<u8>, shown: Range<usize>, open: Open) -> Masked {
        let ranges = self.ranges(&bytes, open);
        let mut redactions = 0;
        for range in ranges {
            redactions += usize::from(range.start < shown.end && range.end > shown.start);
            for byte in bytes.get_mut(range).unwrap_or_default() {
                if *byte != b'\n' {
                    *byte = b'*';
                }
            }
        }
        bytes.truncate(shown.end);
        bytes.drain(..shown.start.min(bytes.len()));
        Masked { bytes, redactions }
    }

    /// Reads and redacts a part of a file of `there` bytes. `open`: more bytes follow, now or later.
    pub fn read(&self, file: Option<&File>, part: Range<u64>, there: u64, open: bool) -> Masked {
        let margin = self.margin();
        let start = part.start.saturating_sub(margin);
        let end = part.end.saturating_add(margin).min(there);
        let bytes = output::read(file, start, end.saturating_sub(start));
        let index = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        let open = Open {
            before: false,
            after: open && end == there,
        };
        self.masked(bytes, index(part.start)..index(part.end), open)
    }

    fn ranges(&self, bytes: &[u8], open: Open) -> Vec<Range<usize>> {
        let Some(finder) = self.finder.get_or_init(|| Finder::new(&self.forms)) else {
            return std::iter::once(0..bytes.len()).collect();
        };
        let mut all = finder.find(bytes);
        if open.before {
            all.push(0..self.left(bytes));
        }
        if open.after {
            all.push(bytes.len() - self.held(bytes)..bytes.len());
        }
        all.retain(|range| !range.is_empty());
        all.sort_by_key(|range| range.start);
        let mut merged = Vec::new();
        for range in all {
            join(&mut merged, range);
        }
        merged
    }
}

/// Adds a range whose end is not before the earlier ones, and merges it with those it touches.
fn join(ranges: &mut Vec<Range<usize>>, mut new: Range<usize>) {
    while let Some(last) = ranges.pop_if(|last| new.start <= last.end) {
        new = last.start.min(new.start)..last.end.max(new.end);
    }
    ranges.push(new);
}

/// Returns the length of the longest suffix of `text` that is a prefix of `pattern`, in linear time (Knuth, Morris,
/// Pratt). The text must be shorter than the pattern.
fn overlap<'a>(pattern: &[u8], text: impl Iterator<Item = &'a u8>) -> usize {
    // For each prefix of the pattern: the length of its longest border.
    let mut shorter = vec![0_usize];
    let next = |shorter: &[usize], mut known: usize, byte: u8| {
        while known > 0 && pattern.get(known) != Some(&byte) {
            known = shorter.get(known - 1).copied().unwrap_or(0);
        }
        known + usize::from(pattern.get(known) == Some(&byte))
    };
    for byte in pattern.iter().skip(1) {
        let known = shorter.last().copied().unwrap_or(0);
        let known = next(&shorter, known, *byte);
        shorter.push(known);
    }
    text.fold(0, |known, byte| next(&shorter, known, *byte))
}

pub struct RedactedFile {
    pub file: File,
    pub redactor: Option<Redactor>,
    pub there: u64,
    /// More bytes follow, now or later.
    pub open: bool,
}

impl Text for RedactedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let Some(redactor) = &self.redactor else {
            return Text::read_at(&self.file, bytes, offset);
        };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let part = offset..offset.saturating_add(length).min(self.there.max(offset));
        let masked = redactor
            .read(Some(&self.file), part, self.there, self.open)
            .bytes;
        for (to, from) in bytes.iter_mut().zip(&masked) {
            *to = *from;
        }
        Ok(masked.len())
    }

    /// Redaction does not move newlines, so the raw bytes are sufficient.
    fn read_newlines_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        Text::read_at(&self.file, bytes, offset)
    }
}

#[cfg(test)]
mod tests;
