//! Matches one regular expression in bounded time, for any expression and any input.
//!
//! A lazy DFA takes a few nanoseconds for each byte. Hostile expressions need a new state for every byte, which is
//! thousands of times slower. So the DFA gives up after a few cache clears. Undecided input goes to a PikeVM. Its
//! time grows with bytes times states, so this product is limited.

use std::cell::RefCell;
use std::ops::Range;

use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::hybrid::regex::{self, Regex};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{BuildError, Compiler, Config, NFA, WhichCaptures};
use regex_automata::util::prefilter::Prefilter;
use regex_automata::{Input, MatchKind};
use regex_syntax::hir::Hir;

/// Bytes of one compiled expression, and also of the lazy DFA cache for each direction.
const COMPILED: usize = 2 << 20;
// Cache clears before the lazy DFA gives up.
const CLEARS: usize = 2;
/// Maximum of bytes times states simulated for one answer. It takes tenths of a second.
const WORK: usize = 32 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooHard;

#[derive(Debug)]
pub struct Engine {
    automaton: Regex,
    cache: RefCell<regex::Cache>,
    simulation: PikeVM,
    simulated: RefCell<Option<pikevm::Cache>>,
}

impl Engine {
    /// Compiles an expression, which can take milliseconds. An error is one line.
    pub fn new(hir: &Hir) -> Result<Self, String> {
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
        let simulation = PikeVM::new_from_nfa(forward).map_err(|error| reason(&error))?;
        Ok(Self {
            cache: RefCell::new(automaton.create_cache()),
            automaton,
            simulation,
            simulated: RefCell::default(),
        })
    }

    /// Returns the first match by the lazy DFA. [`TooHard`]: it gave up, now or earlier, or met a Unicode word
    /// boundary next to non-ASCII bytes.
    pub fn find_fast(&self, bytes: &[u8]) -> Result<Option<Range<usize>>, TooHard> {
        let found = self
            .automaton
            .try_search(&mut self.cache.borrow_mut(), &Input::new(bytes));
        found
            .map(|found| found.map(|found| found.range()))
            .map_err(|_| TooHard)
    }

    /// Returns the first match, or [`TooHard`] if the simulation would exceed its limit.
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

fn compiled(hir: &Hir, reverse: bool) -> Result<NFA, String> {
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
        .map_err(|error| reason(&error))
}

fn lazy(nfa: NFA, config: dfa::Config) -> Result<DFA, String> {
    let config = config
        .unicode_word_boundary(true)
        .cache_capacity(COMPILED)
        // Otherwise the largest expressions, which need slightly more, are refused.
        .skip_cache_capacity_check(true)
        .minimum_cache_clear_count(Some(CLEARS));
    dfa::Builder::new()
        .configure(config)
        .build_from_nfa(nfa)
        .map_err(|error| error.to_string())
}

fn reason(error: &BuildError) -> String {
    match error.size_limit() {
        Some(limit) => format!("compiled, it would take more than {limit} bytes"),
        None => error.to_string(),
    }
}
