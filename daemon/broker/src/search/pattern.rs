//! Compiles patterns: regular expressions with linear matching time, in two forms. The original matches single lines.
//! The widened one finds the next candidate line in a whole block at memory speed. It matches at least where the
//! original does, never across a newline, and has no assertions: their meaning depends on the start of the line.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::hybrid::regex::{self, Regex};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{BuildError, Compiler, Config, NFA, WhichCaptures};
use regex_automata::util::prefilter::Prefilter;
use regex_automata::{Input, MatchKind, Span};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition,
};

/// Minimum length in bytes of a suffix that is searched by itself.
const END: usize = 3;
const NESTED: u32 = 50;

#[derive(Debug)]
pub enum BadPattern {
    /// With the reason.
    Invalid(String),
    /// Compiled, it would take more bytes.
    Large { most: usize },
}

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
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        let hir = ParserBuilder::new()
            .utf8(false)
            .nest_limit(NESTED)
            .build()
            .parse(pattern)
            .map_err(|error| BadPattern::Invalid(reason(&error)))?;
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

/// Bytes of one compiled expression, and also of the lazy DFA cache for each direction.
const COMPILED: usize = 2 << 20;
// Cache clears before the lazy DFA gives up.
const CLEARS: usize = 2;
/// Maximum of bytes times states simulated for one answer. It takes tenths of a second.
const WORK: usize = 32 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooHard;

/// Matches one regular expression in bounded time. A lazy DFA takes a few nanoseconds for each byte; hostile
/// expressions need a new state for every byte, thousands of times slower, so it gives up after a few cache clears. A
/// PikeVM gets the rest, limited by the product of bytes and states.
#[derive(Debug)]
pub struct Engine {
    automaton: Regex,
    cache: RefCell<regex::Cache>,
    simulation: PikeVM,
    simulated: RefCell<Option<pikevm::Cache>>,
}

impl Engine {
    pub fn new(hir: &Hir) -> Result<Self, BadPattern> {
        let forward = compiled(hir, false)?;
        let prefilter =
            Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, hir).filter(Prefilter::is_fast);
        let config = dfa::Config::new()
            .specialize_start_states(prefilter.is_some())
            .prefilter(prefilter);
        let ends = lazy(forward.clone(), config.match_kind(MatchKind::LeftmostFirst))?;
        let begins = dfa::Config::new().match_kind(MatchKind::All);
        let begins = lazy(compiled(hir, true)?, begins)?;
        let automaton = Regex::builder().build_from_dfas(ends, begins);
        let simulation = PikeVM::new_from_nfa(forward).map_err(|error| build_error(&error))?;
        Ok(Self {
            cache: RefCell::new(automaton.create_cache()),
            automaton,
            simulation,
            simulated: RefCell::default(),
        })
    }

    pub fn find_fast(&self, bytes: &[u8]) -> Result<Option<Range<usize>>, TooHard> {
        let found = self
            .automaton
            .try_search(&mut self.cache.borrow_mut(), &Input::new(bytes));
        found
            .map(|found| found.map(|found| found.range()))
            .map_err(|_| TooHard)
    }

    pub fn find(&self, bytes: &[u8]) -> Result<Option<Range<usize>>, TooHard> {
        self.find_fast(bytes).or_else(|TooHard| {
            let states = self.simulation.get_nfa().states().len();
            if states.saturating_mul(bytes.len()) > WORK {
                return Err(TooHard);
            }
            let mut cache = self.simulated.borrow_mut();
            let cache = cache.get_or_insert_with(|| self.simulation.create_cache());
            let found = self.simulation.find(cache, bytes);
            Ok(found.map(|found| found.range()))
        })
    }
}

fn compiled(hir: &Hir, reverse: bool) -> Result<NFA, BadPattern> {
    let captures = match reverse {
        true => WhichCaptures::None,
        false => WhichCaptures::Implicit,
    };
    let config = Config::new()
        .utf8(false)
        .reverse(reverse)
        .nfa_size_limit(Some(COMPILED))
        .which_captures(captures);
    Compiler::new()
        .configure(config)
        .build_from_hir(hir)
        .map_err(|error| build_error(&error))
}

fn lazy(nfa: NFA, config: dfa::Config) -> Result<DFA, BadPattern> {
    let config = config
        .unicode_word_boundary(true)
        .cache_capacity(COMPILED)
        // Otherwise the largest expressions, which need slightly more, are refused.
        .skip_cache_capacity_check(true)
        .minimum_cache_clear_count(Some(CLEARS));
    dfa::Builder::new()
        .configure(config)
        .build_from_nfa(nfa)
        .map_err(|error| BadPattern::Invalid(error.to_string()))
}

fn build_error(error: &BuildError) -> BadPattern {
    match error.size_limit() {
        Some(most) => BadPattern::Large { most },
        None => BadPattern::Invalid(error.to_string()),
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
            (r"a\s+b", "a\nb\n", None),
            ("a[^x]b", "a\nb\n", None),
            ("(?s)a.b", "a\nb\n", None),
            (r"a\nb", "a\nb\n", None),
            ("(?-u)a\\xffb", "a\nb\n", None),
            (r"a\nb|c", "a\nb\nc", Some(4)),
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
            ("(a{1000}){1000}", "more than 2097152 bytes"),
            ("a\n(", "unclosed group, at byte 2"),
        ] {
            let error = match Pattern::new(pattern).unwrap_err() {
                BadPattern::Invalid(reason) => reason,
                BadPattern::Large { most } => format!("more than {most} bytes"),
            };
            assert!(
                error.contains(expected) && !error.contains('\n'),
                "{pattern:?}: {error}"
            );
        }
    }
}
