//! Taking a job's secrets out of what is shown of its output: each byte of one stands as `*`.
//!
//! A byte's fate does not depend on where a page begins or ends: what stands around it is looked at too.
//! So offsets stay true and pages put together are the whole. Newlines stay, and with them the numbers of
//! lines. What is at the end and may be the beginning of a secret counts as one.

mod finder;
mod forms;

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::ops::Range;

use remit_common::wire::Bytes;

use self::finder::Finder;
use self::forms::Form;
use crate::grep::Text;
use crate::output;

/// What is known of a job's secrets. Nothing of it is ever written anywhere.
#[derive(Clone)]
pub enum Secrets {
    /// It has none.
    None,
    /// These.
    Known(Vec<Bytes>),
    /// It had some, and nobody knows them any more.
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
    /// Of a job that has some or not; the values, where they came along.
    pub fn of(has_some: bool, values: Vec<Bytes>) -> Self {
        match (has_some, values.is_empty()) {
            (_, false) => Self::Known(values),
            (true, true) => Self::Lost,
            (false, true) => Self::None,
        }
    }

    /// What finds them. Made for each answer: kept for every job it would take a thousand times the room.
    pub fn redactor(&self) -> Option<Redactor> {
        match self {
            Self::Known(values) => Some(Redactor::new(values)),
            Self::None | Self::Lost => None,
        }
    }

    /// Nothing of the output may be shown.
    pub fn are_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }
}

/// Finds secrets.
pub struct Redactor {
    /// Made when it is needed first: to hold back what may become a secret takes none. Absent where it
    /// could not be made: then everything is taken for a secret.
    finder: OnceCell<Option<Finder>>,
    forms: Vec<Form>,
    longest: usize,
}

/// Where some bytes are cut out of a stream in a place at which it is not known what stands beyond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    /// Before them.
    pub before: bool,
    /// After them.
    pub after: bool,
}

/// Bytes that may be shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// With stars.
    pub bytes: Vec<u8>,
    /// How many secrets, or parts of one, stand as stars.
    pub places: usize,
}

impl Redactor {
    /// Of these secrets.
    pub fn new(secrets: &[Bytes]) -> Self {
        let forms = forms::of(secrets);
        Self {
            finder: OnceCell::new(),
            longest: forms.iter().map(|form| form.bytes.len()).max().unwrap_or(0),
            forms,
        }
    }

    /// How much of what stands around some bytes decides what is shown of them.
    pub fn margin(&self) -> u64 {
        u64::try_from(self.longest)
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// How many bytes at the end of these may be the beginning of a secret.
    pub fn held(&self, bytes: &[u8]) -> usize {
        let begun = |form: &Form| {
            let most = form.bytes.len() - 1;
            let last = bytes.get(bytes.len().saturating_sub(most)..);
            form.with_spill(overlap(&form.bytes, last.unwrap_or(bytes).iter()))
        };
        let held = self.forms.iter().map(begun).max().unwrap_or(0);
        held.min(bytes.len())
    }

    /// How many bytes at the start of these may be the end of a secret.
    fn left(&self, bytes: &[u8]) -> usize {
        let over = |form: &Form| {
            let first = bytes.get(..form.bytes.len() - 1).unwrap_or(bytes);
            let backwards: Vec<u8> = form.bytes.iter().rev().copied().collect();
            form.with_spill(overlap(&backwards, first.iter().rev()))
        };
        let left = self.forms.iter().map(over).max().unwrap_or(0);
        left.min(bytes.len())
    }

    /// Those of `bytes` that are in `shown`; the others stand around them.
    pub fn masked(&self, mut bytes: Vec<u8>, shown: Range<usize>, open: Open) -> Masked {
        let ranges = self.ranges(&bytes, open);
        let mut places = 0;
        for range in ranges {
            places += usize::from(range.start < shown.end && range.end > shown.start);
            for byte in bytes.get_mut(range).unwrap_or_default() {
                if *byte != b'\n' {
                    *byte = b'*';
                }
            }
        }
        bytes.truncate(shown.end);
        bytes.drain(..shown.start.min(bytes.len()));
        Masked { bytes, places }
    }

    /// A part of a file of which `there` bytes are there. `open`: more will follow, or may have.
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

    /// Where secrets are, in their order, none touching another.
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

/// Adds a range that ends where the ones before do, or later, to those that touch none of each other.
fn join(ranges: &mut Vec<Range<usize>>, mut new: Range<usize>) {
    while let Some(last) = ranges.pop_if(|last| new.start <= last.end) {
        new = last.start.min(new.start)..last.end.max(new.end);
    }
    ranges.push(new);
}

/// How many at the end of `text` are those at the beginning of `pattern`. In linear time, as Knuth, Morris
/// and Pratt do it; the text is shorter than the pattern.
fn overlap<'a>(pattern: &[u8], text: impl Iterator<Item = &'a u8>) -> usize {
    // Of each beginning of the pattern: how much of its end is a beginning too.
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

/// A file to search, with stars.
pub struct Veiled {
    /// The file.
    pub file: File,
    /// What to take out.
    pub redactor: Option<Redactor>,
    /// Bytes there are.
    pub there: u64,
    /// More will follow, or may have.
    pub open: bool,
}

impl Text for Veiled {
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

    /// Secrets or not, newlines stand where they are.
    fn read_newlines_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        Text::read_at(&self.file, bytes, offset)
    }
}

#[cfg(test)]
mod tests;
