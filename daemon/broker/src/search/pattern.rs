//! Compiles patterns: regular expressions with linear matching time.
//!
//! Each pattern has two forms. The original one matches single lines. The widened one finds the next candidate line
//! in a whole block at memory speed. It matches at least where the original one does, never across a newline. It has
//! no assertions, because their meaning depends on the start of the line.

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

/// Minimum length in bytes of a suffix that is searched by itself.
const END: usize = 3;
const NESTED: u32 = 50;

#[derive(Debug)]
pub struct Pattern {
    line: Engine,
    block: Engine,
    /// Prefilter for suffixes of all matches, if there is no fast prefix.
    end: Option<Prefilter>,
    /// The widened form gave up: every line is a candidate.
    slow: Cell<bool>,
}

impl Pattern {
    /// Compiles a pattern, which can take milliseconds. An error is one line.
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

    pub fn find(&self, line: &[u8]) -> Result<Option<Range<usize>>, TooHard> {
        self.line.find(line)
    }

    /// Returns a byte of the first line that can match; no earlier line matches.
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

/// Builds a prefilter for required suffixes, if it is much faster than the whole pattern.
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

/// Returns a pattern that matches at least where `hir` matches within a line. Recursion is limited by [`NESTED`].
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
            // Never across lines, whatever the class contains.
            (r"a\s+b", "a\nb\n", None),
            ("a[^x]b", "a\nb\n", None),
            ("(?s)a.b", "a\nb\n", None),
            (r"a\nb", "a\nb\n", None),
            ("(?-u)a\\xffb", "a\nb\n", None),
            (r"a\nb|c", "a\nb\nc", Some(4)),
            // By the suffix prefilter.
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
    fn invalid_pattern_error_is_one_line() {
        let deep = "(".repeat(60) + &")".repeat(60);
        for (pattern, expected) in [
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
                error.contains(expected) && !error.contains('\n'),
                "{pattern:?}: {error}"
            );
        }
    }
}
