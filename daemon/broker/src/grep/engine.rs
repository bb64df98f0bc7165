//! One expression, matched in bounded time whatever it is and whatever it meets.
//!
//! An automaton is built while it runs, as far as the bytes need it: a few nanoseconds for each of them. Hostile
//! expressions make it build a new state for every byte, thousands of times slower; so it may begin anew only a
//! few times, and then gives up. What it does not decide, the simulation does that takes so much for each byte
//! and each state: for so many of both at most.

use std::cell::RefCell;
use std::ops::Range;

use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::hybrid::regex::{self, Regex};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{BuildError, Compiler, Config, NFA, WhichCaptures};
use regex_automata::util::prefilter::Prefilter;
use regex_automata::{Input, MatchKind};
use regex_syntax::hir::Hir;

/// Bytes of one compiled expression, and as many for what each direction remembers while it searches.
const COMPILED: usize = 2 << 20;
/// How often the automaton begins anew.
const CLEARS: usize = 2;
/// Bytes times states that are simulated for one answer: tenths of a second.
const WORK: usize = 32 << 20;

/// No answer in reasonable time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooHard;

/// An expression, ready to search with.
#[derive(Debug)]
pub struct Engine {
    automaton: Regex,
    cache: RefCell<regex::Cache>,
    simulation: PikeVM,
    simulated: RefCell<Option<pikevm::Cache>>,
}

impl Engine {
    /// Compiles an expression. Takes milliseconds for large ones.
    ///
    /// # Errors
    /// The reason, on one line.
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

    /// Where the first match lies, if the automaton can tell.
    ///
    /// # Errors
    /// It gave up, now or before; or it met what it does not know: a word's edge beside what is not ASCII.
    pub fn find_fast(&self, bytes: &[u8]) -> Result<Option<Range<usize>>, TooHard> {
        let found = self
            .automaton
            .try_search(&mut self.cache.borrow_mut(), &Input::new(bytes));
        found
            .map(|found| found.map(|found| found.range()))
            .map_err(|_| TooHard)
    }

    /// Where the first match lies.
    ///
    /// # Errors
    /// That would take too long.
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
        // For the largest expressions it takes a little more.
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
