//! Redacts secrets in shown output: each of their bytes becomes `*`. The result for a byte does not depend on page
//! boundaries, because its surroundings are read too. Offsets stay true, and joined pages equal the whole. Newlines
//! stay, so line numbers stay. A possible start of a secret at the end counts as a secret.

mod forms;

mod recent;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use remit_wire::Bytes;

use self::forms::{Finder, Form};
use self::recent::KnownSecrets;
pub use self::recent::RecentRedactors;
use crate::output;
use crate::search::Text;

/// The secrets of a job. They are never written to a file or a log.
#[derive(Clone)]
pub enum Secrets {
    None,
    Known(Rc<KnownSecrets>),
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
    /// Of a job whose values are not there.
    pub fn without_values(has_some: bool) -> Self {
        match has_some {
            true => Self::Lost,
            false => Self::None,
        }
    }

    pub fn known(values: Vec<Bytes>, recent: &Rc<RecentRedactors>) -> Self {
        Self::Known(Rc::new(KnownSecrets::new(values, recent)))
    }

    /// Returns the job's redactor, of which a few are kept.
    pub fn redactor(&self) -> Option<Arc<Redactor>> {
        match self {
            Self::Known(known) => Some(known.redactor()),
            Self::None | Self::Lost => None,
        }
    }

    pub fn are_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }
}

pub struct Redactor {
    /// Built on first use, because `held` does not need it. `None` if it cannot be built: then everything is redacted.
    finder: OnceLock<Option<Finder>>,
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
        #[cfg(test)]
        tests::BUILT.set(tests::BUILT.get() + 1);
        let forms = forms::of(secrets);
        Self {
            finder: OnceLock::new(),
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
        if part.is_empty() {
            return Masked::default();
        }
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
        if bytes.is_empty() {
            return Vec::new();
        }
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

/// Returns the length of the longest suffix of `text` that begins the longer `pattern`, in linear time (KMP).
fn overlap<'a>(pattern: &[u8], text: impl Iterator<Item = &'a u8>) -> usize {
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
    pub redactor: Option<Arc<Redactor>>,
    pub there: u64,
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
pub mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::output::spool::tests::Scratch;
    use remit_common::names::JobId;
    use remit_wire::outcome::Stream;

    thread_local! {
        pub static BUILT: Cell<usize> = const { Cell::new(0) };
    }

    fn of(secrets: &[&str]) -> Redactor {
        let secrets: Vec<Bytes> = secrets
            .iter()
            .map(|secret| Bytes::from(secret.as_bytes()))
            .collect();
        Redactor::new(&secrets)
    }

    const CLOSED: Open = Open {
        before: false,
        after: false,
    };

    fn masked(redactor: &Redactor, text: &str, open: Open) -> (String, usize) {
        let all = 0..text.len();
        let masked = redactor.masked(text.as_bytes().to_vec(), all, open);
        (String::from_utf8(masked.bytes).unwrap(), masked.redactions)
    }

    #[test]
    fn only_secret_bytes_become_stars() {
        for (secrets, text, shown, redactions) in [
            (&["hunter2"][..], "x hunter2 y", "x ******* y", 1),
            (&["hunter2"], "hunter2hunter2", "**************", 1),
            (&["hunter2"], "hunter hunter", "hunter hunter", 0),
            (&["hunter2\n"], "hunter2 hunter2\n", "******* *******\n", 2),
            (&["abab", "babc"], "xababcx", "x*****x", 1),
            (&["abcdef", "cdef", "bcde"], "abcdexcdef", "a****x****", 2),
            (&["one\ntwo three"], "one\ntwo three", "***\n*********", 1),
            (&["one\ntwo three"], "> two three", "> *********", 1),
            (&["p\u{fc}ss"], "p\u{fc}ss", "*****", 1),
            (&["hunter2"], "a=aHVudGVyMg==;", "a=**********==;", 1),
            (&["hunter2"], "68756e74657232", "**************", 1),
            (&["a b/c"], "?q=a%20b%2Fc&", "?q=*********&", 1),
            (&["a\"b\\c"], r#"{"k":"a\"b\\c"}"#, r#"{"k":"*******"}"#, 1),
            (&[], "hunter2", "hunter2", 0),
        ] {
            let expect = (shown.to_owned(), redactions);
            assert_eq!(masked(&of(secrets), text, CLOSED), expect, "{text:?}");
        }
    }

    #[test]
    fn partial_secret_at_open_edge_is_redacted() {
        let redactor = of(&["hunter2"]);
        let before = Open {
            before: true,
            after: false,
        };
        let after = Open {
            before: false,
            after: true,
        };
        for (text, open, shown) in [
            ("er2 x hun", CLOSED, "er2 x hun"),
            ("er2 x hun", before, "*** x hun"),
            ("er2 x hun", after, "er2 x ***"),
            ("hunter", after, "******"),
            ("unter2", before, "******"),
            ("hunter2", before, "*******"),
            ("", after, ""),
        ] {
            assert_eq!(masked(&redactor, text, open).0, shown, "{text:?} {open:?}");
        }
        assert_eq!(redactor.held(b"x hunte"), 5);
        assert_eq!(
            redactor.held(b"x hunter2"),
            0,
            "whole, it is held no longer"
        );
    }

    #[test]
    fn the_worst_text_takes_linear_time() {
        let secrets: Vec<String> = (0..64).map(|n| "a".repeat(4000 + n)).collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let redactor = of(&secrets);
        let text = "a".repeat(3999);
        let open = Open {
            before: true,
            after: true,
        };
        assert_eq!(masked(&redactor, &text, open).0, "*".repeat(3999));
        assert_eq!(masked(&redactor, &text, CLOSED).0, text);
    }

    /// The requester chooses the secret and often the output: here many nested lines match at each byte.
    #[test]
    fn nested_secrets_take_linear_time_and_memory() {
        let lines: Vec<String> = (8..83).map(|n| "a".repeat(n)).collect();
        let redactor = of(&[&lines.join("\n")]);
        let text = "a".repeat(1 << 20);
        let start = std::time::Instant::now();
        let ranges = redactor.ranges(text.as_bytes(), CLOSED);
        assert!(ranges.iter().eq([&(0..text.len())]), "{ranges:?}");
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn finder_covers_each_form(
            text in "[ab+]{0,60}", secrets in prop::collection::vec("[ab]{1,6}", 1..6),
        ) {
            let redactor = of(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            let mut covered = vec![false; text.len()];
            for form in &redactor.forms {
                for (at, part) in text.as_bytes().windows(form.bytes.len()).enumerate() {
                    if part != form.bytes { continue; }
                    let mut range = at..at + part.len();
                    if form.spills {
                        range = at.saturating_sub(1)..(range.end + 1).min(text.len());
                    }
                    covered[range].fill(true);
                }
            }
            let shown = masked(&redactor, &text, CLOSED).0;
            for (at, byte) in shown.bytes().enumerate() {
                prop_assert_eq!(byte == b'*', covered[at], "{} of {:?} in {}", at, secrets, text);
            }
        }

        #[test]
        fn pages_together_are_the_whole(text in "[ab\n]{0,120}", secret in "[ab]{4,9}", size in 1..20_usize) {
            let scratch = Scratch::new();
            let file = scratch.spool.create(JobId([1; 16]), Stream::Stdout).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).unwrap();
            let redactor = of(&[&secret]);
            let whole = masked(&redactor, &text, CLOSED).0;
            prop_assert!(!whole.contains(&secret));
            let there = text.len() as u64;
            let mut joined = Vec::new();
            for start in (0..text.len()).step_by(size) {
                let part = start as u64..((start + size) as u64).min(there);
                let page = redactor.read(Some(&file), part, there, false);
                joined.extend(page.bytes);
            }
            prop_assert_eq!(String::from_utf8(joined).unwrap(), whole);
            prop_assert_eq!(text.matches('\n').count(), masked(&redactor, &text, CLOSED).0.matches('\n').count());
        }

        /// Shown bytes of a growing text never change later, and never reveal the start of a secret.
        #[test]
        fn possible_secret_start_is_held_back(text in "[abc]{0,60}", secret in "[abc]{4,9}") {
            let redactor = of(&[&secret]);
            let whole = masked(&redactor, &text, CLOSED).0;
            for end in 0..=text.len() {
                let now = &text[..end];
                let shown = end - redactor.held(now.as_bytes());
                let seen = masked(&redactor, now, CLOSED).0;
                prop_assert_eq!(&seen[..shown], &whole[..shown]);
            }
        }
    }
}
