//! Patterns: regular expressions of an engine that takes linear time for any of them.
//!
//! Each stands twice: as written, for one line; and widened, for whole blocks of lines, which finds the next
//! line worth looking at as fast as memory is read. The widened one matches wherever the written one does, never
//! across a newline, and knows no assertions, for what they mean depends on where a line begins.

use std::cell::Cell;
use std::ops::Range;

use regex_automata::util::prefilter::Prefilter;
use regex_automata::{MatchKind, Span};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition,
};

use super::engine::{Engine, TooHard};

/// Bytes of an end that is worth looking for alone.
const END: usize = 3;
/// Groups inside groups.
const NESTED: u32 = 50;

/// A pattern, ready to search with.
#[derive(Debug)]
pub struct Pattern {
    line: Engine,
    block: Engine,
    /// What every match ends with, where none has such a beginning.
    end: Option<Prefilter>,
    /// Blocks take too long: every line is looked at.
    slow: Cell<bool>,
}

impl Pattern {
    /// Compiles a pattern. Takes milliseconds for large ones.
    ///
    /// # Errors
    /// The engine's reason, on one line.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let hir = ParserBuilder::new()
            .utf8(false)
            .nest_limit(NESTED)
            .build()
            .parse(pattern)
            .map_err(|error| reason(&error))?;
        let widened = widened(&hir);
        Ok(Self {
            line: Engine::new(&hir)?,
            block: Engine::new(&widened)?,
            end: end(&widened),
            slow: Cell::new(false),
        })
    }

    /// Where the first match lies in a line.
    ///
    /// # Errors
    /// That would take too long.
    pub fn find(&self, line: &[u8]) -> Result<Option<Range<usize>>, TooHard> {
        self.line.find(line)
    }

    /// A byte of the first line that may match, where it may: no line before it does.
    pub fn candidate(&self, lines: &[u8]) -> Option<usize> {
        if let Some(end) = &self.end {
            let found = end.find(lines, Span::from(0..lines.len()));
            return found.map(|found| found.start);
        }
        if self.slow.get() {
            return Some(0);
        }
        match self.block.find_fast(lines) {
            Ok(found) => found.map(|found| found.start),
            Err(TooHard) => {
                self.slow.set(true);
                Some(0)
            }
        }
    }
}

/// A few words that are found much faster than the whole, one of which every match ends with.
fn end(hir: &Hir) -> Option<Prefilter> {
    let kind = MatchKind::LeftmostFirst;
    if Prefilter::from_hir_prefix(kind, hir).is_some_and(|begin| begin.is_fast()) {
        return None;
    }
    let mut ends = Extractor::new().kind(ExtractKind::Suffix).extract(hir);
    ends.optimize_for_suffix_by_preference();
    if ends.min_literal_len().is_none_or(|length| length < END) {
        return None;
    }
    let ends: Vec<_> = ends.literals()?.iter().map(|end| end.as_bytes()).collect();
    Prefilter::new(kind, &ends).filter(Prefilter::is_fast)
}

fn reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => {
            format!("{}, at byte {}", error.kind(), error.span().start.offset)
        }
        regex_syntax::Error::Translate(error) => {
            format!("{}, at byte {}", error.kind(), error.span().start.offset)
        }
        other => other
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// What matches at least wherever `hir` matches within a line. As deep as [`NESTED`] allows.
fn widened(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Hir::empty(),
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => Hir::fail(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(widened(&repetition.sub)),
            ..*repetition
        }),
        HirKind::Capture(capture) => widened(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(widened).collect()),
        HirKind::Alternation(ways) => Hir::alternation(ways.iter().map(widened).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_at_every_line_that_matches() {
        for (pattern, text, expect) in [
            ("foo", "a\nb foo\n", Some(4)),
            ("^b", "ab\nb\n", Some(1)),
            ("a$", "b\nxa\r\n", Some(3)),
            (r"\Ab\z", "a\nb\n", Some(2)),
            (r"\bé\b", "x\né\n", Some(2)),
            // Never across lines, whatever the class says.
            (r"a\s+b", "a\nb\n", None),
            ("a[^x]b", "a\nb\n", None),
            ("(?s)a.b", "a\nb\n", None),
            (r"a\nb", "a\nb\n", None),
            ("(?-u)a\\xffb", "a\nb\n", None),
            (r"a\nb|c", "a\nb\nc", Some(4)),
            // By its end alone.
            (r"\d+ items$", "a\nitems\n7 items", Some(9)),
            (r"\w+ (one|two)", "x\nb two", Some(3)),
            (r"(?i)\w+ one", "x\nb ONE", Some(3)),
            ("", "a", Some(0)),
        ] {
            let found = Pattern::new(pattern).unwrap().candidate(text.as_bytes());
            assert_eq!(found, expect, "{pattern:?} in {text:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_on_one_line() {
        let deep = "(".repeat(60) + &")".repeat(60);
        for (pattern, told) in [
            ("(", "unclosed group"),
            ("a{2,1}", "repetition"),
            ("(?=a)", "look-around"),
            (r"(a)\1", "backreferences"),
            (r"\p{Nothing}", "Unicode property not found, at byte 0"),
            (&deep, "nest"),
            (r"\w{900}", "more than 2097152 bytes"),
            ("a\n(", "unclosed group, at byte 2"),
        ] {
            let error = Pattern::new(pattern).unwrap_err();
            assert!(
                error.contains(told) && !error.contains('\n'),
                "{pattern:?}: {error}"
            );
        }
    }
}
